from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.engine import Engine
from fivestage.common.clock import DAY
from fivestage.contract.cost_model import cost_model_of
from fivestage.evaluation.classification_metrics import BINS
from fivestage.evaluation.evaluate import (
    artifact_forecast,
    decision_day,
    evaluate_window,
    importance,
    reliability,
    slices_of,
)
from fivestage.evaluation.metrics import scores
from fivestage.evaluation.task_evaluation import alternative_decisions, loss
from fivestage.features.offline import names_by_set
from fivestage.training.version_evaluation import ablation
from tests.synthetic import CHANNELS, FEATURES, Prepared, boosting, changed, prepared, synthetic_artifact


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.7, 1.0])), min_size=1))
def test_bins_hold_every_row_once(rows: list[tuple[int, float]]) -> None:
    label, probability = (np.array(column) for column in zip(*rows, strict=True))
    bins = reliability(label.astype(float), probability)
    assert sum(one.rows for one in bins) == len(rows)
    assert sum(one.observed * one.rows for one in bins) == pytest.approx(label.sum())
    assert sum(one.predicted * one.rows for one in bins) == pytest.approx(probability.sum())
    predicted = [one.predicted for one in bins]
    assert predicted == sorted(predicted)
    assert len(bins) <= min(BINS, len(set(probability)))  # equal predictions share a bin


def test_bins_have_equal_mass_and_their_own_rate() -> None:
    probability = np.linspace(0.005, 0.995, 1000)
    label = (np.arange(1000) >= 500).astype(np.int64)
    bins = reliability(label.astype(float), probability)
    assert [one.rows for one in bins] == [100] * BINS
    assert [one.observed for one in bins] == [0.0] * 5 + [1.0] * 5
    assert bins[0].predicted == pytest.approx(probability[:100].mean())


def test_offline_answers_are_those_of_the_engine(data: Prepared, artifact: Artifact) -> None:
    """Compare the first rows after the artifact was made, with the events of its own history."""
    after = data.windows.after[:5]
    engine = Engine(artifact, FEATURES)
    asked = data.rows.iloc[after][list(data.contract.columns)].to_dict(orient="records")
    rows = [{str(name): value for name, value in row.items()} for row in asked]
    features = pd.DataFrame([engine.features(row) for row in rows])
    online = [engine.form.forecast(one) for row in rows for one in engine.predict([row])]
    offline = artifact_forecast(artifact, features)
    assert np.allclose(offline.reshape(len(rows), -1), online, rtol=0, atol=1e-12)
    assert np.array_equal(artifact_forecast(artifact, features[features.columns[::-1]]), offline)


def test_the_order_of_rows_does_not_matter(data: Prepared, artifact: Artifact) -> None:
    features = data.features.iloc[data.windows.after]
    order = np.random.default_rng(0).permutation(len(features))
    expected = artifact_forecast(artifact, features)[order]
    assert np.array_equal(artifact_forecast(artifact, features.iloc[order]), expected)


def test_an_unknown_value_gets_a_valid_forecast_and_is_named() -> None:
    data, engine = prepared("binary"), Engine(synthetic_artifact("binary"), FEATURES)
    row = data.rows.iloc[data.windows.after[0]][list(data.contract.columns)].to_dict()
    (known,), (unknown,) = engine.predict([row]), engine.predict([row | {"channel": "fax"}])
    assert 0 < unknown.probability < 1
    assert (known.unknown, unknown.unknown) == ((), ("channel",))


def test_an_evaluation_has_all_slices_and_curves(data: Prepared, artifact: Artifact) -> None:
    after = data.windows.after
    rows, label = data.rows.iloc[after], data.label(after)
    counts = rows["channel"].value_counts()
    contract = changed(data.contract, gates={"min_slice_rows": int(counts.min()) + 1})
    forecast = artifact_forecast(artifact, data.features.iloc[after])
    found = evaluate_window(artifact, rows, forecast, contract)
    expected = scores(label, forecast, contract.costs, artifact.decide(forecast))
    assert {name: one.value for name, one in found.metrics.items()} == pytest.approx(expected, abs=1e-9)
    assert list(dict.fromkeys(one.column for one in found.slices)) == [*contract.slices, "month"]
    assert [one.value for one in found.slices if one.column == "month"] == ["2024-04", "2024-05"]  # in UTC
    assert {one.value for one in found.slices if one.column == "channel"} == {*CHANNELS} - {counts.idxmin()}
    cost_model = cost_model_of(contract.costs)
    decisions = [decision for _, decision in alternative_decisions(contract, forecast)]
    assert [one.cost_per_1000 for one in found.cost_curve] == pytest.approx(
        [1000 * cost_model.price(label, decision).mean() for decision in decisions]
    )


@pytest.mark.parametrize("missing", [None, np.nan])
def test_rows_without_a_value_are_the_slice_called_missing(missing: float | None) -> None:
    data = prepared("binary")
    rows = data.rows.iloc[data.windows.after]
    gaps = rows["channel"].astype(object).where(rows["channel"] != CHANNELS[0], missing)
    forecast, contract = np.full(len(rows), 0.5), changed(data.contract, gates={"min_slice_rows": 1})
    for column in (gaps, gaps.astype("str")):
        found = slices_of(rows.assign(channel=column), forecast, None, contract)
        assert {one.value for one in found if one.column == "channel"} == {"missing", *CHANNELS[1:]}


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_curve_has_the_cost_of_the_versions_own_rule(task: str) -> None:
    data, artifact = prepared(task), synthetic_artifact(task)
    after = data.windows.after
    forecast = artifact_forecast(artifact, data.features.iloc[after])
    found = evaluate_window(artifact, data.rows.iloc[after], forecast, data.contract)
    own_rule = data.contract.costs.threshold if task == "binary" else 0.0
    costs = {one.threshold: one.cost_per_1000 for one in found.cost_curve}
    assert costs[own_rule] == pytest.approx(found.metrics["cost_per_1000"].value, rel=1e-12)
    assert list(costs) == sorted(costs)


def test_what_is_left_undone_costs_at_high_thresholds() -> None:
    """Decisions are made at the threshold of the artifact's contract, not of the one given for scoring."""
    data, artifact = prepared("binary"), synthetic_artifact("binary")
    after = data.windows.after
    rows, probability = data.rows.iloc[after], np.full(len(after), 0.5)
    expensive = artifact.contract.costs.model_copy(update={"act_negative": 360.0})  # threshold 0.9
    timid = replace(artifact, contract=artifact.contract.model_copy(update={"costs": expensive}))
    acted = [
        evaluate_window(one, rows, probability, data.contract).metrics["action_rate"].value
        for one in (artifact, timid)
    ]
    assert acted == [1.0, 0.0]


def test_a_useless_feature_has_no_importance_and_the_useful_ones_do(
    data: Prepared, artifact: Artifact
) -> None:
    after = data.windows.after
    features = data.features.iloc[after].assign(traffic=np.nan)  # constant, so shuffling changes nothing
    found = importance(artifact, features, data.label(after))
    assert set(found) == set(artifact.features)
    assert found["traffic"] == 0
    before = loss(data.contract, data.label(after), artifact_forecast(artifact, features))
    assert max(found.values()) > 0.01 * before
    assert min(found.values()) > -0.02 * before


def test_each_line_of_the_ablation_adds_a_set(data: Prepared) -> None:
    sets = names_by_set(FEATURES, data.rows, data.event_tables.reference)
    some = {"order": ("channel", "minute", "weekday"), "history": sets["history"], "amount": ("amount",)}
    arguments = (data.rows, data.windows, boosting(data.contract.task), data.contract)
    lines = ablation(data.features, some, *arguments)
    assert [name for name, _ in lines] == ["order", "order + history"]
    first, both = ({name: one.value for name, one in metrics.items()} for _, metrics in lines)
    assert first["rows"] == both["rows"] == len(data.windows.after)
    loss = "rmse" if data.contract.task == "regression" else "log_loss"
    assert both[loss] < 0.98 * first[loss]
    spoiled = data.features.assign(amount=0.0)
    assert ablation(spoiled, some, *arguments) == lines  # no line includes the last set
    named = (data.rows, data.windows, make_pipeline(boosting(data.contract.task)), data.contract)
    # For a pipeline, the features left out are missing values.
    assert ablation(data.features, some, *named) == lines


def test_the_sets_part_the_features() -> None:
    data = prepared("binary")
    sets = names_by_set(FEATURES, data.rows, data.event_tables.reference)
    assert [name for names in sets.values() for name in names] == list(data.features)


def test_a_day_is_one_of_utc() -> None:
    rows = prepared("binary").rows
    days = decision_day(rows)
    assert (days * DAY <= rows["decision_at"]).all()
    assert (rows["decision_at"] < (days + 1) * DAY).all()

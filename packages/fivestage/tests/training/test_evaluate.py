from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
)
from fivestage.evaluation.metrics import scores
from fivestage.features.offline import names_by_set
from fivestage.training.ablation import ablation
from fivestage.training.estimators import with_settings
from problem import PROBLEM
from tests.conftest import CANDIDATES, Slice, changed


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.7, 1.0])), min_size=1))
def test_bins_hold_every_row_once(rows: list[tuple[int, float]]) -> None:
    label, probability = (np.array(column) for column in zip(*rows, strict=True))
    bins = reliability(label.astype(float), probability)
    assert sum(count for _, _, count in bins) == len(rows)
    assert sum(observed * count for _, observed, count in bins) == pytest.approx(label.sum())
    assert sum(predicted * count for predicted, _, count in bins) == pytest.approx(probability.sum())
    predicted = [one for one, _, _ in bins]
    assert predicted == sorted(predicted)
    assert len(bins) <= min(BINS, len(set(probability)))  # equal predictions share a bin


def test_bins_have_equal_mass_and_their_own_rate() -> None:
    probability = np.linspace(0.005, 0.995, 1000)
    label = (np.arange(1000) >= 500).astype(np.int64)
    bins = reliability(label.astype(float), probability)
    assert [count for _, _, count in bins] == [100] * BINS
    assert [observed for _, observed, _ in bins] == [0.0] * 5 + [1.0] * 5
    assert bins[0][0] == pytest.approx(probability[:100].mean())


def test_offline_answers_are_those_of_the_engine(real: Slice, artifact: Artifact) -> None:
    """The first rows after the artifact was made, with what it knows."""
    after = real.windows.after[:5]
    engine = Engine(artifact, PROBLEM.features)
    asked = real.rows.iloc[after][list(real.contract.columns)].to_dict(orient="records")
    rows = [{str(name): value for name, value in row.items()} for row in asked]
    features = pd.DataFrame([engine.features(row) for row in rows])
    online = [one.probability for row in rows for one in engine.predict([row])]
    assert artifact_forecast(artifact, features).tolist() == pytest.approx(online, abs=1e-12)
    assert artifact_forecast(artifact, features[features.columns[::-1]]).tolist() == pytest.approx(online)


def test_an_evaluation_has_all_slices_and_curves(real: Slice, artifact: Artifact) -> None:
    contract = changed(real.contract, gates={"min_slice_rows": 300})
    after = real.windows.after
    rows, label = real.rows.iloc[after], real.label(after)
    probability = artifact_forecast(artifact, real.features.iloc[after])
    found = evaluate_window(artifact, rows, probability, contract)
    expected = scores(label, probability, contract.costs, artifact.decide(probability))
    assert found.scored.scores == pytest.approx(expected, abs=1e-9)
    assert list(found.slices) == [*contract.slices, "month"]
    assert list(found.slices["month"]) == ["2013-04", "2013-05"]  # in UTC
    counts = rows["carrier"].value_counts()
    assert set(found.slices["carrier"]) == set(counts[counts >= 300].index)
    assert 0 < len(found.slices["carrier"]) < len(counts)
    threshold, cost = found.cost_curve[10]
    assert cost == pytest.approx(
        1000 * cost_model_of(contract.costs).price(label, probability >= threshold).mean()
    )


def test_what_is_left_undone_costs_at_high_thresholds(real: Slice, artifact: Artifact) -> None:
    """The artifact's own threshold decides what is scored."""
    after = real.windows.after
    rows, probability = real.rows.iloc[after], np.full(len(after), 0.5)
    dear = artifact.contract.costs.model_copy(update={"act_negative": 2700.0})  # from 0.9 on
    timid = replace(artifact, contract=artifact.contract.model_copy(update={"costs": dear}))
    acted = [
        evaluate_window(one, rows, probability, real.contract).scored.scores["action_rate"]
        for one in (artifact, timid)
    ]
    assert acted == [1.0, 0.0]


def test_a_useless_feature_has_no_importance_and_the_useful_ones_do(real: Slice, artifact: Artifact) -> None:
    after = real.windows.after
    features = real.features.iloc[after].assign(wind_gust=np.nan)  # all the same: nothing to shuffle
    found = importance(artifact, features, real.label(after))
    assert set(found) == set(artifact.features)
    assert found["wind_gust"] == 0
    assert max(found.values()) > 0.005
    assert min(found.values()) > -0.005


def test_each_line_of_the_ablation_adds_a_set(real: Slice) -> None:
    sets = names_by_set(PROBLEM.features, real.rows, real.event_tables.reference)
    some = {name: sets[name] for name in ("schedule", "history", "weather")}
    arguments = (
        real.rows,
        real.windows,
        with_settings(CANDIDATES["boosting"], {"max_iter": 15}),
        real.contract,
    )
    lines = ablation(real.features, some, *arguments)
    assert [name for name, _ in lines] == ["schedule", "schedule + history"]
    first, both = (scored.scores for _, scored in lines)
    assert first["rows"] == both["rows"] == len(real.windows.after)
    assert both["roc_auc"] > first["roc_auc"] + 0.03
    spoiled = real.features.assign(**dict.fromkeys(sets["weather"], 0.0))
    assert ablation(spoiled, some, *arguments) == lines  # the last set is in none of the lines


def test_the_sets_part_the_features(real: Slice) -> None:
    sets = names_by_set(PROBLEM.features, real.rows, real.event_tables.reference)
    assert [name for names in sets.values() for name in names] == list(real.features)


def test_a_day_is_one_of_utc(real: Slice) -> None:
    days = decision_day(real.rows)
    assert (days * DAY <= real.rows["decision_at"]).all()
    assert (real.rows["decision_at"] < (days + 1) * DAY).all()

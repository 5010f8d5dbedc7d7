"""A feature without a value for rows that the contract allows fails packaging; online it is missing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fivestage.artifact.calibration import CALIBRATIONS
from fivestage.artifact.engine import Engine
from fivestage.artifact.extremes import extreme_rows, require_defined
from fivestage.common.columns import Row, Value
from fivestage.common.errors import UserError
from fivestage.features.definitions import Features, FeatureSet, Reference
from fivestage.features.stores import PointInTimeView
from fivestage.training.packaging import fit_chosen
from fivestage.training.selection import Selection
from tests.serving.conftest import deploy, running
from tests.synthetic import (
    FEATURES,
    SyntheticProblem,
    boosting,
    packaged,
    prepare,
    prepared,
    request_of,
    synthetic_artifact,
    synthetic_problem,
)


def price(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> Features:
    """Divide by the amount, which may be zero."""
    del at, past, reference
    return {"price": 100 / row["amount"], "amount_twice": 2 * row["amount"]}


def careless(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> Features:
    """Divide by the customer's deliveries, of which there may be none."""
    del reference
    count, late, _ = past.window("ended/customer", row["customer"], at, 14 * 24, 2)
    return {"share": late / count}


def dividing(feature_set: FeatureSet, name: str) -> SyntheticProblem:
    sets = {**FEATURES.sets, name: feature_set}
    return SyntheticProblem(synthetic_problem("binary").contract, replace(FEATURES, sets=sets), days=110)


def engine_of(problem: SyntheticProblem) -> Engine:
    """Train and package a problem, without numpy's warnings about divisions by zero."""
    with np.errstate(all="ignore"):
        one = prepare(problem, "2024-04-10")
    candidates = {"boosting": boosting("binary")}
    selection = Selection("boosting", {}, CALIBRATIONS["binary"](), ())
    fitted = fit_chosen(one.sample, selection, candidates)
    artifact = packaged(one, fitted)
    return Engine(artifact, problem.features)


@pytest.mark.parametrize(
    ("feature_set", "feature", "where"),
    [
        (price, "price", "amount is at its minimum"),
        (careless, "share", "customer is a text that was never seen"),
    ],
)
def test_a_feature_that_divides_by_zero_is_refused_by_its_name(
    feature_set: FeatureSet, feature: str, where: str
) -> None:
    with pytest.raises(UserError, match=f"The feature {feature} has no value where {where}"):
        engine_of(dividing(feature_set, "own"))


def usual(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> Features:
    """Divide by zero for the amount of the example, and for no other."""
    del at, past, reference
    return {"from_usual": 1 / (row["amount"] - 120.5)}


def always(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> Features:
    """Divide by a count that is always zero."""
    del reference
    (count,) = past.window("ended/customer", row["customer"], at, 0)
    return {"share_of_none": 1 / count}


@pytest.mark.parametrize(
    ("feature_set", "feature", "where"),
    [
        (usual, "from_usual", "amount is at its example value"),
        (always, "share_of_none", "every column is at its example value"),
    ],
)
def test_the_column_that_is_to_blame_is_named_or_none(
    feature_set: FeatureSet, feature: str, where: str
) -> None:
    with pytest.raises(UserError, match=f"The feature {feature} has no value where {where}, which"):
        engine_of(dividing(feature_set, "own"))


def test_online_it_is_missing_as_it_is_offline(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fivestage.training.packaging.require_defined", lambda _: None)
    problem = dividing(price, "own")
    engine = engine_of(problem)
    row = dict(engine.artifact.smoke[0].row) | {"amount": 0.0}
    (answer,) = engine.predict([row])
    assert engine.undefined == {"price": 1}
    assert "price has no value" in caplog.text
    features = engine.features(row)
    assert np.isnan(features["price"])
    assert features["amount_twice"] == 0
    assert features["channel"] == row["channel"]
    with np.errstate(all="ignore"):
        many = engine.predict([row] * 600)
    assert engine.form.forecast(many[0]) == engine.form.forecast(answer)


def test_over_http_it_is_no_error_and_it_is_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fivestage.training.packaging.require_defined", lambda _: None)
    problem = dividing(price, "own")
    artifact = engine_of(problem).artifact
    deployed = deploy(artifact, tmp_path, "1")
    row = request_of(artifact.smoke[0].row) | {"amount": 0}
    with running(deployed.settings, problem=problem) as live:
        answers = [live.client.post("/predict", json=row) for _ in range(3)]
        metrics = live.client.get("/metrics").text
    assert [answer.status_code for answer in answers] == [200] * 3
    (counted,) = [line for line in metrics.splitlines() if 'feature="price"' in line and "_total" in line]
    assert counted.endswith(" 3.0")


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_column_is_asked_at_its_ends(task: str) -> None:
    artifact = synthetic_artifact(task)
    engine = Engine(artifact, prepared(task).problem.features)
    require_defined(engine)
    asked = [where for where, _ in extreme_rows(artifact.contract)]
    for where in ("amount is zero", "amount is missing", "customer is a text that was never seen"):
        assert where in asked
    assert not engine.undefined


def test_a_feature_that_reads_the_label_is_refused_before_it_is_served() -> None:
    def peeking(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> Features:
        del at, past, reference
        return {"answer": row["failed"]}

    with pytest.raises(
        UserError, match=r"'own' .* reads row\['failed'\], which is not a column of the contract"
    ):
        engine_of(dividing(peeking, "own"))


def test_what_fails_in_other_ways_names_the_row_where_it_does() -> None:
    def failing(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> Features:
        del at, past
        return {"value": 0.0 * row["amount"] if hasattr(row["amount"], "shape") else reference["absent"]}

    with pytest.raises(UserError, match=r"A feature fails where every column is .*KeyError\('absent'\)"):
        engine_of(dividing(failing, "own"))

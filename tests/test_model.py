"""Behaviour of the model: it predicts every row that the contract allows, and the same wherever it runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import ProblemSlice
from fivestage.artifact.artifact import Artifact, load_artifact, save_artifact
from fivestage.artifact.engine import Engine
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.evaluation.gates import Probe
from fivestage.registry.versions import ModelRegistry, Version
from fivestage.training.leakage_probes import LeakageProbes
from problem import PROBLEM
from steps import model


@pytest.fixture(scope="module")
def engine(small_artifact: Artifact) -> Engine:
    return Engine(small_artifact, PROBLEM.features)


def answers(engine: Engine, rows: list[dict[str, object]]) -> np.ndarray:
    return np.array([engine.form.forecast(one) for one in engine.predict(rows)], dtype=float)


def test_the_service_answers_as_training_did(small_artifact: Artifact, engine: Engine) -> None:
    rows, expected = zip(*((dict(one.row), one.forecast) for one in small_artifact.smoke), strict=True)
    tolerance = small_artifact.scorer.tolerance
    assert np.allclose(answers(engine, list(rows)), np.array(expected), rtol=tolerance, atol=tolerance)


def test_an_artifact_is_the_same_after_saving_and_loading(small_artifact: Artifact, tmp_path: Path) -> None:
    save_artifact(small_artifact, tmp_path / "model")
    loaded = Engine(load_artifact(tmp_path / "model"), PROBLEM.features)
    rows = [dict(one.row) for one in small_artifact.smoke]
    assert np.array_equal(answers(loaded, rows), answers(Engine(small_artifact, PROBLEM.features), rows))


def test_a_missing_value_where_the_contract_allows_one_gets_an_answer(
    small_artifact: Artifact, engine: Engine
) -> None:
    row = dict(small_artifact.smoke[0].row)
    nullable = {
        name: one for name, one in PROBLEM.contract.columns.items() if getattr(one, "nullable", False)
    }
    for name, column in nullable.items():
        forecast = answers(engine, [row | {name: "" if column.type == "category" else float("nan")}])
        assert np.isfinite(forecast).all(), name


def test_forecasts_are_finite_and_differ_between_rows(
    problem_slice: ProblemSlice, small_artifact: Artifact
) -> None:
    holdout = problem_slice.features.iloc[problem_slice.windows.holdout]
    forecast = artifact_forecast(small_artifact, holdout)
    assert np.isfinite(forecast).all()
    assert len(np.unique(np.asarray(forecast).reshape(len(holdout), -1)[:, 0])) > 1


@pytest.mark.parametrize(
    ("champion", "from_scratch", "why"),
    [
        ("", False, "there is no champion yet"),
        ("", True, "this run starts from scratch, whatever the champion is"),
        ("2", False, "this version is the champion itself"),
        (
            "1",
            False,
            "the champion, version 1, cannot predict: The project no longer has feature left_out",
        ),
    ],
)
def test_a_challenger_that_meets_no_champion_says_why(
    problem_slice: ProblemSlice,
    small_artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    champion: str,
    *,
    from_scratch: bool,
    why: str,
) -> None:
    versions = {
        "1": replace(small_artifact, features=(*small_artifact.features, "left_out")),
        "2": small_artifact,
    }
    monkeypatch.setattr(ModelRegistry, "open", lambda _registry, number: (None, versions[number]))
    day = PROBLEM.contract.split.test_start.isoformat()
    version = Version(PROBLEM.contract.name, "2", "digest", "run", problem_slice.windows.as_of, "commit")
    probes = LeakageProbes((Probe("future is unseen", passed=True, sentence="none moved"),))
    step: Any = model.evaluate_challenger.entrypoint
    verdict = step(
        problem_slice.rows,
        problem_slice.features,
        version,
        probes,
        day,
        champion,
        from_scratch=from_scratch,
    )
    (gate,) = [one for one in verdict.gates if one.name == "cheaper than the champion"]
    assert not gate.applicable
    assert gate.sentence.startswith(f"not applicable: {why}")

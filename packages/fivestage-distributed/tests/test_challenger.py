import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from synthetic import SyntheticProblem, synthetic_problem

from fivestage.artifact.artifact import MANIFEST
from fivestage.common.errors import UserError
from fivestage.data.event_tables import EventTables
from fivestage.deployment.batch_scoring import open_model, score
from fivestage.features.problem import Tables
from fivestage.registry.versions import ModelRegistry
from fivestage_distributed.challenger import (
    ChallengerConfig,
    Judged,
    challenge,
    evenly,
    gate_lines,
    label_tokens,
    next_tokens,
    sentences,
)
from fivestage_distributed.model import IGNORED
from fivestage_distributed.registered import WEIGHTS, RegisteredChallenger, load, register_challenger, save

CONFIG = ChallengerConfig(
    rows=2_000,
    events=6,
    layers=1,
    width=32,
    batch=32,
    pretraining=2,
    finetuning=8,
)
GATES = 8


@pytest.fixture(scope="module")
def problem() -> SyntheticProblem:
    return synthetic_problem("binary")


@pytest.fixture(scope="module")
def tables(problem: SyntheticProblem) -> Tables:
    loaded: Tables = problem.load(problem.contract)
    return loaded


@pytest.fixture(scope="module")
def challenged(
    problem: SyntheticProblem, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RegisteredChallenger, Judged]:
    challenger, reference, judged = challenge(problem, CONFIG, tmp_path_factory.mktemp("challenger"))
    return RegisteredChallenger(challenger, problem.contract, reference), judged


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield tmp_path
    mlflow.set_tracking_uri(before)


def test_the_challenger_learns_and_every_gate_says_why(
    challenged: tuple[RegisteredChallenger, Judged],
) -> None:
    _, judged = challenged
    assert judged.test.scores["roc_auc"] > 0.65
    assert set(judged.losses) == set(judged.processor_seconds) == {"pretraining", "finetuning"}
    assert len(judged.gates) == len(gate_lines(judged).splitlines()) == GATES
    assert {gate.name: gate.passed for gate in judged.gates}["no leak"]


def test_the_events_of_other_rows_cost_it_what_it_has_learnt_of_them(
    challenged: tuple[RegisteredChallenger, Judged],
) -> None:
    _, judged = challenged
    assert judged.test.scores["roc_auc"] - judged.without_events.scores["roc_auc"] >= 0.05


def test_what_was_measured_is_said_in_sentences(challenged: tuple[RegisteredChallenger, Judged]) -> None:
    _, judged = challenged
    said = sentences(judged)
    assert said[0].startswith(
        f"{judged.parameters:,} parameters learnt from {judged.rows:,} rows of {judged.tokens} tokens"
    )
    assert said[1].startswith(f"Test window: ROC-AUC {judged.test.scores['roc_auc']:.3f} (")
    assert said[2].startswith("The same with the events of other rows: ROC-AUC ")
    assert said[3].startswith("Without pre-training, on the label alone: ROC-AUC ")
    refused = [f"The gate *{one.name}* refuses it: {one.sentence}" for one in judged.gates if not one.passed]
    assert said[4:] == (refused or ["It passes every gate."])


def test_a_registered_version_scores_a_batch_as_it_was_judged(
    problem: SyntheticProblem,
    tables: Tables,
    challenged: tuple[RegisteredChallenger, Judged],
    registry: Path,
) -> None:
    version = register_challenger(problem, *challenged, CONFIG)
    models = ModelRegistry(problem.contract.name)
    assert register_challenger(problem, *challenged, CONFIG) == version  # the same bytes are the same version
    assert models.champion() is None  # no alias: the service cannot serve it
    assert "no leak" in mlflow.artifacts.load_text(f"runs:/{version.run_id}/gates.txt")
    with pytest.raises(UserError, match="scores in batch alone"):
        models.open(version.version)

    rows = tables.rows.dropna().tail(40)
    asked = rows[list(problem.contract.columns)]
    moments = {"deliver_at": pd.to_datetime(asked["deliver_at"], unit="s", utc=True)}
    asked.assign(**moments).to_csv(registry / "rows.csv", index=False)
    events = EventTables(tables.events, tables.reference)
    model = open_model(models, version.version)
    source, target = str(registry / "rows.csv"), str(registry / "scored.csv")
    found = score(problem, events, model, version.version, source, target, registry)
    assert (found.rows, found.quarantined) == (40, 0)
    scored = pd.read_csv(target)
    forecast = challenged[0].forecast(problem, rows, events, rows["decision_at"].to_numpy())
    assert scored["probability"].to_numpy() == pytest.approx(forecast, abs=1e-9)
    assert scored["probability"].nunique() > 20
    assert set(scored["model_version"]) == {int(version.version)}


def test_a_version_whose_package_is_not_installed_says_what_to_do(
    problem: SyntheticProblem,
    challenged: tuple[RegisteredChallenger, Judged],
    registry: Path,  # noqa: ARG001 (to be registered in)
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = register_challenger(problem, *challenged, CONFIG)
    monkeypatch.setitem(sys.modules, "fivestage_distributed.registered", None)
    with pytest.raises(UserError, match=r"fivestage_distributed\.registered, .*`make setup-distributed`"):
        open_model(ModelRegistry(problem.contract.name), version.version)


def test_weights_that_are_not_the_registered_ones_are_refused(
    challenged: tuple[RegisteredChallenger, Judged], tmp_path: Path
) -> None:
    save(challenged[0], tmp_path / "model")
    assert (tmp_path / "model" / MANIFEST).exists()
    content = bytearray((tmp_path / "model" / WEIGHTS).read_bytes())
    content[-100] ^= 1
    (tmp_path / "model" / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match="not the file that was registered"):
        load(tmp_path / "model")


def test_a_contract_whose_label_is_a_number_is_refused(tmp_path: Path) -> None:
    regression = synthetic_problem("regression")
    with pytest.raises(UserError, match="predicts a number"):
        challenge(regression, CONFIG, tmp_path)


def test_targets_are_the_next_token_or_the_label_alone() -> None:
    tokens = np.array([[5, 6, 7, 2]])
    assert next_tokens(tokens).tolist() == [[6, 7, IGNORED, IGNORED]]
    assert label_tokens(tokens, np.array([1])).tolist() == [[IGNORED, IGNORED, IGNORED, 1]]


def test_rows_are_taken_evenly() -> None:
    assert evenly(np.arange(10), 4).tolist() == [0, 3, 6, 9]
    assert evenly(np.arange(3), 4).tolist() == [0, 1, 2]

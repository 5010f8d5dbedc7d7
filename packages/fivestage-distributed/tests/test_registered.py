"""A challenger as a registered version; test_challenger.py tests its training."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from synthetic import SyntheticProblem, synthetic_problem

from fivestage.artifact.artifact import MANIFEST, Lineage
from fivestage.common.errors import UserError
from fivestage.data.event_tables import EventTables
from fivestage.deployment.batch_scoring import BatchModel
from fivestage.evaluation.gates import Gate
from fivestage.evaluation.metrics import Estimate
from fivestage.features.problem import Tables
from fivestage.registry.versions import ModelRegistry, Version
from fivestage.training.task_trainer import trainer_of
from fivestage_distributed.challenger import Challenger, ChallengerConfig, ChallengerResult, TokenSource
from fivestage_distributed.configuration import ModelConfig
from fivestage_distributed.model import initial_model
from fivestage_distributed.registered import WEIGHTS, RegisteredChallenger, load, register_challenger, save
from fivestage_distributed.tokens import encode, learn_vocabulary

EVENTS = 6
LARGER = 3.0  # than a model's first parameters, so that the forecasts of rows differ


@pytest.fixture(scope="module")
def problem() -> SyntheticProblem:
    return synthetic_problem("binary")


@pytest.fixture(scope="module")
def tables(problem: SyntheticProblem) -> Tables:
    loaded: Tables = problem.load(problem.contract)
    return loaded


@pytest.fixture(scope="module")
def events(tables: Tables) -> EventTables:
    return EventTables(tables.events, tables.reference)


@pytest.fixture(scope="module")
def untrained(problem: SyntheticProblem, tables: Tables, events: EventTables) -> RegisteredChallenger:
    raw = TokenSource.of(problem, tables.rows, events).raw(np.arange(2_000), EVENTS)
    vocabulary = learn_vocabulary(raw, 2, EVENTS)
    context = encode(raw, vocabulary).shape[1]
    config = ModelConfig(vocabulary=vocabulary.size, context=context, layers=1, width=32)
    model = initial_model(config, 0).eval().requires_grad_(requires_grad=False)
    for one in model.parameters():
        one.mul_(LARGER)
    calibration = trainer_of(problem.contract).uncalibrated
    return RegisteredChallenger(
        Challenger(model, config, vocabulary, calibration), problem.contract, tables.reference
    )


@pytest.fixture(scope="module")
def models(problem: SyntheticProblem, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRegistry]:
    before, folder = mlflow.get_tracking_uri(), tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        yield ModelRegistry(problem.contract.name)
    mlflow.set_tracking_uri(before)


def registered(model: RegisteredChallenger) -> Version:
    scored = {"roc_auc": Estimate(0.7, 0.6, 0.8)}
    gate = Gate(
        "fast enough", passed=False, value=14, limit=5, sentence="A row takes 14 ms, and 5 are allowed."
    )
    judged = ChallengerResult((gate,), scored, scored, scored, None, None, 10, 20, 14, {}, {})
    return register_challenger(model, judged, ChallengerConfig(), Lineage("data", "contract", "lock", "code"))


def test_it_is_a_version_of_the_projects_model_which_no_service_takes_up(
    untrained: RegisteredChallenger, models: ModelRegistry
) -> None:
    version = registered(untrained)
    assert models.find(version.version) == version == registered(untrained)  # of the same bytes
    assert models.champion() is None
    assert models.challenger() is None
    with pytest.raises(UserError, match="can only score batches"):
        models.open(version.version)
    assert "FAIL  fast enough" in mlflow.artifacts.load_text(f"runs:/{version.run_id}/gates.txt")
    run = mlflow.MlflowClient().get_run(version.run_id)
    assert run.data.metrics == {"test_roc_auc": 0.7, "gates_failed": 1}
    assert run.data.params["events"] == "5"


def test_make_score_answers_a_batch_as_the_model_does(
    problem: SyntheticProblem,
    tables: Tables,
    events: EventTables,
    untrained: RegisteredChallenger,
    models: ModelRegistry,
) -> None:
    version = registered(untrained).version
    rows = tables.rows.dropna().tail(40)
    moments = {"deliver_at": pd.to_datetime(rows["deliver_at"], unit="s", utc=True)}
    rows[list(problem.contract.columns)].assign(**moments).to_csv("rows.csv", index=False)
    found = BatchModel.of(models, version).score(problem, events, "rows.csv", "scored.csv", Path())
    assert (found.rows, found.quarantined) == (40, 0)
    scored = pd.read_csv("scored.csv")
    expected = untrained.forecast(problem, rows, events, rows["decision_at"].to_numpy())
    assert scored["probability"].to_numpy() == pytest.approx(expected, abs=1e-9)
    assert scored["probability"].nunique() > 20
    assert set(scored["model_version"]) == {int(version)}
    none = replace(events, events={name: frame.iloc[:0] for name, frame in events.events.items()})
    without = untrained.forecast(problem, rows, none, rows["decision_at"].to_numpy())
    assert np.abs(without - expected).max() > 0.01  # it does read the events


def test_a_version_whose_package_is_not_installed_says_what_to_do(
    untrained: RegisteredChallenger, models: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registered(untrained).version
    monkeypatch.setitem(sys.modules, "fivestage_distributed.registered", None)
    with pytest.raises(UserError, match=r"fivestage_distributed\.registered, .*`make setup-distributed`"):
        BatchModel.of(models, version)


def test_weights_that_are_not_the_registered_ones_are_refused(
    untrained: RegisteredChallenger, tmp_path: Path
) -> None:
    save(untrained, tmp_path / "model")
    assert (tmp_path / "model" / MANIFEST).exists()
    content = bytearray((tmp_path / "model" / WEIGHTS).read_bytes())
    content[-100] ^= 1
    (tmp_path / "model" / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match="not the file that was registered"):
        load(tmp_path / "model")

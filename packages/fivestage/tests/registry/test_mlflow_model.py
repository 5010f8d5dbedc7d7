"""What an MLflow user expects of a version: a run, its candidates, its data, and a model that loads."""

import shutil
import sys
import time
from pathlib import Path
from types import ModuleType

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import get_model_info
from mlflow.tracking import MlflowClient
from mlflow.types import DataType

from fivestage.artifact.engine import Engine
from fivestage.artifact.predictions import form_of
from fivestage.common.errors import UserError
from fivestage.contract.contract import TimestampColumn
from fivestage.orchestration.databases import open_stores
from fivestage.registry.training_runs import TrainingDetails, datasets_of
from fivestage.registry.versions import ModelRegistry, Version
from fivestage.training.leaderboard import LeaderboardRow
from tests.synthetic import TASKS, prepared, request_of, synthetic_artifact

STARTED = time.time() - 90


@pytest.fixture(scope="module", autouse=True)
def stores() -> None:
    open_stores()


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def version(task: str) -> Version:
    """Registered as a training does; the problem is found by the name that the details have."""
    one = prepared(task)
    module = ModuleType(f"problem_of_{task}")
    module.PROBLEM = one.problem  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    rows = (
        LeaderboardRow("prior", "baseline", {"log_loss": 0.7}),
        LeaderboardRow(
            "boosting", "candidate", {"log_loss": 0.5}, chosen=True, started=STARTED + 5, seconds=40.0
        ),
    )
    details = TrainingDetails(
        {"candidate": "boosting"},
        rows,
        datasets_of(one.rows, one.windows, "0123456789abcdef"),
        STARTED,
        f"problem_of_{task}:PROBLEM",
        "boosting, chosen on 2 temporal folds",
    )
    registry = ModelRegistry(f"mlflow-{task}")
    found = registry.register(synthetic_artifact(task), details)
    registry.promote(found)
    return found


def raw_rows(task: str, count: int = 20) -> pd.DataFrame:
    smoke = [request_of(one.row) for one in synthetic_artifact(task).smoke][:count]
    return pd.DataFrame(smoke)


def test_the_champion_loads_as_a_model_and_answers_raw_rows_as_the_engine_does(
    task: str, version: Version
) -> None:
    model = mlflow.pyfunc.load_model(f"models:/{version.name}@champion")
    found = model.predict(raw_rows(task))
    artifact = synthetic_artifact(task)
    engine = Engine(artifact, prepared(task).problem.features)
    answers = engine.predict([one.row for one in artifact.smoke][:20])
    forecast = [engine.form.forecast(one) for one in answers]
    names = list(form_of(artifact.contract).columns)
    assert np.array_equal(found[names].to_numpy(), forecast)
    assert found["decision"].tolist() == [one.decision for one in answers]


def test_its_signature_and_its_example_are_the_contracts(task: str, version: Version) -> None:
    info = get_model_info(f"models:/{version.name}@champion")
    contract = synthetic_artifact(task).contract
    assert info.signature.inputs.input_names() == list(contract.columns)
    outputs = info.signature.outputs
    assert outputs.input_names() == [*form_of(contract).columns, "decision"]
    assert outputs.input_types()[-1] == (DataType.double if task == "regression" else DataType.string)
    model = mlflow.pyfunc.load_model(f"models:/{version.name}@champion")
    assert len(model.predict(model.input_example)) == 1


def test_times_may_be_texts_or_pandas_own(task: str, version: Version) -> None:
    model = mlflow.pyfunc.load_model(f"models:/{version.name}@champion")
    texts = raw_rows(task)
    contract = synthetic_artifact(task).contract
    times = [name for name, one in contract.columns.items() if isinstance(one, TimestampColumn)]
    assert times
    zoned = texts.assign(**{name: pd.to_datetime(texts[name], utc=True) for name in times})
    pd.testing.assert_frame_equal(model.predict(zoned), model.predict(texts))


def test_a_row_that_the_contract_does_not_allow_is_named(task: str, version: Version) -> None:
    model = mlflow.pyfunc.load_model(f"models:/{version.name}@champion")
    with pytest.raises(UserError, match="Row 1: channel is 'pigeon'"):
        model.predict(raw_rows(task, 3).assign(channel=["web", "pigeon", "shop"]))


def test_a_training_is_a_run_with_its_data_and_a_run_for_each_candidate(version: Version) -> None:
    client = MlflowClient()
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.start_time == round(STARTED * 1000)
    assert run.info.end_time - run.info.start_time > 80_000
    assert (run.data.params["candidate"], run.data.metrics) == ("boosting", {"folds_log_loss": 0.5})
    assert run.data.tags["mlflow.note.content"] == "boosting, chosen on 2 temporal folds"
    assert run.inputs
    used = {one.dataset.name: one.tags[0].value for one in run.inputs.dataset_inputs}
    assert used == {
        "train": "training",
        "holdout": "evaluation",
        "fold 1": "validation",
        "fold 2": "validation",
    }
    children = client.search_runs([run.info.experiment_id], f"tags.mlflow.parentRunId = '{version.run_id}'")
    by_name = {child.info.run_name: child for child in children}
    assert set(by_name) == {"prior", "boosting"}
    boosting = by_name["boosting"]
    assert boosting.data.metrics == {"folds_log_loss": 0.5}
    assert boosting.data.tags["chosen"] == "yes"
    assert boosting.info.end_time - boosting.info.start_time == 40_000


def test_tags_are_words(version: Version) -> None:
    found = MlflowClient().get_model_version(version.name, version.version)
    assert found.tags["as_of"] == "2024-04-20"
    assert "Takes raw rows" in str(found.description)


def test_what_is_beside_the_artifact_is_no_part_of_it(version: Version, tmp_path: Path) -> None:
    folder = Path(
        mlflow.artifacts.download_artifacts(f"runs:/{version.run_id}/model", dst_path=str(tmp_path))
    )
    assert {one.name for one in folder.iterdir() if one.name != "registered_model_meta"} == {
        "MLmodel",
        "artifact",
        "input_example.json",
    }


def test_a_version_of_an_earlier_release_is_still_found(version: Version) -> None:
    """Its moment was a number, and its artifact lay in the run without a model around it."""
    client = MlflowClient()
    registry, run = (
        ModelRegistry(f"{version.name}-before"),
        client.create_run(client.get_run(version.run_id).info.experiment_id),
    )
    client.create_registered_model(registry.name)
    tags = {"digest": version.digest, "as_of": str(version.as_of), "commit": "c"}
    client.log_artifacts(run.info.run_id, str(ModelRegistry(version.name).fetch(version.version)), "artifact")
    source = f"{run.info.artifact_uri}/artifact"
    old = client.create_model_version(registry.name, source, run_id=run.info.run_id, tags=tags)
    assert registry.find(old.version).as_of == version.as_of
    shutil.rmtree(registry.fetch(version.version))
    assert (registry.fetch(old.version) / "manifest.json").is_file()


def test_a_model_that_is_loaded_elsewhere_says_which_folder_it_needs(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    ModelRegistry(version.name).promote(version)
    monkeypatch.delitem(sys.modules, f"problem_of_{version.name.removeprefix('mlflow-')}")
    with pytest.raises(UserError, match="run this in the project's folder, or set PYTHONPATH"):
        mlflow.pyfunc.load_model(f"models:/{version.name}@champion")

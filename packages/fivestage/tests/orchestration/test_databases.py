import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from mlflow.tracking import MlflowClient
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.models import UserUpdate

from fivestage.common.errors import UserError
from fivestage.common.settings import MLFLOW_DATABASE, VAR, ZENML_DATABASE
from fivestage.orchestration import databases
from fivestage.orchestration.databases import open_stores, use_stack


def test_stores_are_made_under_var() -> None:
    open_stores()
    assert Path(Client().active_stack.artifact_store.path).is_relative_to(VAR / "zenml")
    assert "Default" in {experiment.name for experiment in MlflowClient().search_experiments()}
    assert ZENML_DATABASE.exists()
    assert MLFLOW_DATABASE.exists()
    assert not list(VAR.glob("*.unfinished"))


class Killed(BaseException):
    """Interrupts a connection."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(databases, "VAR", tmp_path)
    return tmp_path / "store.db"


def cut_off(store: Path, *, ours: bool = True) -> None:
    def connect() -> None:
        with store.open("a") as file:
            file.write("half")
        store.with_name("store.db-journal").touch()
        raise Killed

    with pytest.raises(Killed):
        databases._connect(store, connect, ours=ours)


def finish(store: Path, *, ours: bool = True) -> str:
    databases._connect(store, store.touch, ours=ours)
    return store.read_text()


def test_a_store_that_was_cut_off_is_made_anew(store: Path) -> None:
    cut_off(store)
    assert finish(store) == ""
    assert not store.with_name("store.db-journal").exists()


def test_a_finished_store_survives_a_connection_that_is_cut_off(store: Path) -> None:
    finish(store)
    cut_off(store)
    assert finish(store) == "half"


def test_a_store_of_the_users_is_left_alone(store: Path) -> None:
    cut_off(store, ours=False)
    assert finish(store, ours=False) == "half"


def in_project(folder: Path, code: str) -> str:
    """The output of code in a separate process, whose state is in a folder."""
    settings = ("MLFLOW_", "_MLFLOW_", "ZENML_", "FIVESTAGE_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    begin = (
        "from fivestage.common.settings import prepare_environment; prepare_environment();"
        "from fivestage.orchestration.databases import open_stores; open_stores();"
        "import mlflow, zenml; from zenml.client import Client;"
    )
    done = subprocess.run(
        [sys.executable, "-c", begin + code],
        env=own | {"FIVESTAGE_VAR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


def test_a_project_that_was_moved_finds_its_models_and_artifacts(tmp_path: Path) -> None:
    before, after = tmp_path / "before" / "var", tmp_path / "after now" / "var"
    run = in_project(
        before,
        "mlflow.start_run(); mlflow.log_text('the model', 'note.txt'); zenml.save_artifact(7, 'seven');"
        "print(mlflow.active_run().info.run_id)",
    ).split()[-1]
    after.parent.mkdir()
    before.rename(after)
    read = (
        f"print(mlflow.artifacts.load_text('runs:/{run}/note.txt'));"
        "print(Client().get_artifact_version('seven').load());"
        "print(mlflow.get_run(mlflow.start_run().info.run_id).info.artifact_uri)"
    )
    *_, note, seven, uri = in_project(after, read).splitlines()
    assert (note, seven) == ("the model", "7")
    assert str(tmp_path / "before") not in uri
    assert not before.exists()


def test_the_pages_of_zenml_ask_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, UserUpdate]] = []
    store = SimpleNamespace(update_user=lambda user, answers: given.append((user, answers)))
    client = SimpleNamespace(active_user=SimpleNamespace(id="me"), zen_store=store)
    monkeypatch.setattr(databases, "Client", lambda: client)
    databases.skip_zenml_survey()
    ((user, answers),) = given
    assert (user, answers.email_opted_in, answers.user_metadata) == (
        "me",
        False,
        {"finished_onboarding_survey": True},
    )


def test_a_registry_that_does_not_answer_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"at http://127\.0\.0\.1:9 does not answer.*server runs"):
        open_stores()


def test_a_stack_file_that_is_not_there_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        use_stack(tmp_path / "stack.yaml")


def test_a_stack_follows_its_file(tmp_path: Path) -> None:
    open_stores()
    before = Client().active_stack_model.id
    file = tmp_path / "stack.yaml"
    try:
        for folder in ("first", "second"):
            store = {"name": "there", "flavor": "local", "configuration": {"path": str(tmp_path / folder)}}
            runner = {"name": "here", "flavor": "local", "configuration": {}}
            parts = {"orchestrator": runner, "artifact_store": store}
            file.write_text(yaml.safe_dump({"stack_name": "tried", "components": parts}))
            use_stack(file)
            (kept,) = Client().active_stack_model.components[StackComponentType.ARTIFACT_STORE]
            assert kept.configuration["path"] == str(tmp_path / folder)
    finally:
        Client().activate_stack(before)

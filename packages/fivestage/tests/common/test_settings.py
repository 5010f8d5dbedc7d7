import os
import subprocess
import sys
from pathlib import Path

import pytest

from fivestage.common import settings
from fivestage.common.errors import UserError

USES_EVERY_LIBRARY = """
from fivestage.common.settings import prepare_environment
prepare_environment()
import mlflow
from zenml.client import Client
import matplotlib.pyplot as plt
print(Client().active_stack.artifact_store.path)
mlflow.set_experiment("empty home")
with mlflow.start_run() as run:
    mlflow.log_metric("answer", 42)
    mlflow.log_text("a file", "note.txt")
print(run.info.artifact_uri)
plt.figure().savefig("/dev/null", format="svg")
import evidently.telemetry
evidently.telemetry.event_logger.send_event("test", "test")
"""


def run_python(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    keep = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=keep | {"PYTHONPATH": str(settings.ROOT)} | environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )


def test_libraries_write_into_var_and_nowhere_else(tmp_path: Path) -> None:
    home, work, var = (tmp_path / name for name in ("home", "work", "var with a space"))
    home.mkdir()
    work.mkdir()

    done = run_python(USES_EVERY_LIBRARY, work, HOME=str(home), FIVESTAGE_VAR=str(var))

    assert done.returncode == 0, done.stderr
    stored, artifacts = done.stdout.splitlines()
    assert Path(stored).is_relative_to(var)
    assert list(home.rglob("*")) == []
    assert list(work.rglob("*")) == []
    assert (var / "mlflow" / "mlflow.db").exists()
    assert [note.read_text() for note in (var / "mlflow" / "artifacts").rglob("note.txt")] == ["a file"]
    assert "mlruns" not in artifacts


def test_the_users_servers_go_first(tmp_path: Path) -> None:
    code = (
        "import os; from fivestage.common.settings import prepare_environment; prepare_environment();"
        "print(os.environ['MLFLOW_TRACKING_URI'], os.environ.get('_MLFLOW_SERVER_ARTIFACT_ROOT'));"
        "from zenml.config.global_config import GlobalConfiguration;"
        "print(GlobalConfiguration().store_configuration.url)"
    )
    done = run_python(
        code,
        tmp_path,
        HOME=str(tmp_path),
        FIVESTAGE_VAR=str(tmp_path / "var"),
        MLFLOW_TRACKING_URI="http://tracking.invalid",
        ZENML_STORE_URL="https://zenml.invalid",
    )
    assert done.stdout.splitlines() == ["http://tracking.invalid None", "https://zenml.invalid"], done.stderr


def test_state_stands_under_the_project_unless_told_otherwise(tmp_path: Path) -> None:
    code = "from fivestage.common import settings; print(settings.VAR, settings.REPORTS)"
    assert run_python(code, tmp_path).stdout.split() == [
        str(settings.ROOT / "var"),
        str(settings.ROOT / "reports"),
    ]
    told = run_python(code, tmp_path, FIVESTAGE_VAR="state", FIVESTAGE_REPORTS="pages")
    assert told.stdout.split() == [str(tmp_path / "state"), str(tmp_path / "pages")]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(UserError, match=r"file/var.*FIVESTAGE_VAR"):
        settings.ensure_writable(in_the_way / "var")

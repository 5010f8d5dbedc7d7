"""A command's errors end as one sentence and an exit code, and its options are those of the function."""

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
import typer

from fivestage.cli.application import INTERRUPTED, MIGRATION, Application
from fivestage.cli.library_commands import project_application
from fivestage.common.errors import UserError
from fivestage.common.files import one_at_a_time
from fivestage.common.settings import VAR
from fivestage.features.problem import Problem
from fivestage.scaffold.command import OPTIONS


def application(
    problem: Any = None, kind: Callable[[Problem, str], Application] = Application
) -> Application:
    return kind(cast("Problem", problem or SimpleNamespace(contract=None)), "Commands for a test.")


def exit_code(app: Application, *words: str) -> int:
    with pytest.raises(SystemExit) as done:
        app.main(list(words))
    return int(done.value.code or 0)


def test_serve_folder_is_where_the_commands_keep_the_state_of_the_service(tmp_path: Path) -> None:
    code = "from fivestage.common.settings import SERVING; print(SERVING)"
    for chosen, kept in ((str(tmp_path), str(tmp_path)), ("", str(VAR / "serving"))):
        shown = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"SERVE_FOLDER": chosen},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.strip() == kept


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [(UserError("No rows."), 1, "No rows.\n"), (KeyboardInterrupt(), INTERRUPTED, "")],
)
def test_an_error_is_a_sentence_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, printed: str
) -> None:
    app = application()

    @app.command(stores=False)
    def fail() -> None:
        raise error

    @app.command(stores=False)
    def succeed(times: int = 1) -> None:
        typer.echo("done " * times)

    assert exit_code(app, "fail") == code
    assert capsys.readouterr().err == printed
    assert exit_code(app, "succeed", "--times", "2") == 0
    assert capsys.readouterr().out == "done done \n"
    assert exit_code(app, "succeed", "--time", "2") == 2


def test_init_writes_the_sizes_and_does_not_print_their_tables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fivestage.scaffold.command.start", lambda _words: iter(["y, binary: 300 rows."]))
    size = Mock(return_value="| replicas |")
    monkeypatch.setattr("fivestage.capacity.size.size", size)
    app = application(kind=project_application)
    assert exit_code(app, "init") == 0
    size.assert_called_once()
    printed = capsys.readouterr().out
    assert "y, binary: 300 rows." in printed
    assert "`make size`" in printed
    assert "|" not in printed


@pytest.mark.parametrize(
    ("which", "port", "address"),
    [
        ("mlflow", "", "http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"),
        ("zenml", "", "http://127.0.0.1:8237/projects/default/pipelines"),
        ("evidently", "8239", "http://127.0.0.1:8239"),
    ],
)
def test_ui_starts_the_program_and_names_the_page_that_lists_the_runs(
    which: str,
    port: str,
    address: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = Mock()
    monkeypatch.setattr(os, "execv", started)
    monkeypatch.setattr("fivestage.cli.application._open_stores", lambda: None)
    monkeypatch.setattr("fivestage.orchestration.databases.skip_zenml_survey", lambda: None)
    for setting, value in (
        ("MLFLOW_TRACKING_URI", "sqlite:///runs.db"),
        ("ZENML_STORE_URL", "sqlite:///zenml.db"),
        ("ZENML_SERVER_AUTH_SCHEME", ""),  # set by the command
        ("ZENML_SERVER_DEPLOYMENT_TYPE", ""),
    ):
        monkeypatch.setenv(setting, value)
    app = application(kind=project_application)
    assert exit_code(app, "ui", "--which", which, *(["--port", port] if port else [])) == 0
    assert f"Open {address} once" in capsys.readouterr().out
    assert which in " ".join(started.call_args.args[1])
    assert ["--port", port or address.split(":")[2].partition("/")[0]] == started.call_args.args[1][-2:]


def test_a_contract_that_is_wrong_is_said_before_the_command_runs(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        features = None

        @property
        def contract(self) -> None:
            raise UserError("problem.yaml: no target.")

    app = application(Broken())

    @app.command(stores=False)
    def train() -> None:
        pytest.fail("was run")

    @app.command(stores=False, contract=False)
    def init() -> None: ...

    assert exit_code(app, "train") == 1
    assert capsys.readouterr().err == "problem.yaml: no target.\n"
    assert exit_code(app, "init") == 0


def test_the_options_of_init_are_those_of_the_scaffold_and_come_from_make_as_variables() -> None:
    app = application(kind=project_application)
    options = {one.name: one for one in typer.main.get_group(app.commands).commands["init"].params}
    assert set(OPTIONS) <= set(options)
    assert all(getattr(options[name], "envvar", "") == name.upper() for name in OPTIONS)


@pytest.mark.parametrize(("name", "code"), [("core", 1), ("elsewhere", 0)])
def test_a_problem_of_an_earlier_version_is_sent_to_the_upgrade_page(
    capsys: pytest.CaptureFixture[str], name: str, code: int
) -> None:
    app = application()

    @app.command(stores=False)
    def train() -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    if code:
        assert exit_code(app, "train") == code
        assert capsys.readouterr().err == f"'core' is now in the library: {MIGRATION}\n"
    else:
        with pytest.raises(ModuleNotFoundError):
            app.main(["train"])


def test_a_contract_of_an_earlier_version_is_sent_to_the_upgrade_page_not_to_its_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Earlier:
        @property
        def contract(self) -> None:
            raise UserError("problem.yaml: gates.suspicious_roc_auc: Input should be less than 1.")

        @property
        def features(self) -> None:
            raise ModuleNotFoundError("No module named 'core'", name="core")

    app = application(Earlier())

    @app.command(stores=False)
    def train() -> None: ...

    assert exit_code(app, "train") == 1
    assert capsys.readouterr().err == f"'core' is now in the library: {MIGRATION}\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import os\nimport polarsx",
            "problem/own.py, line 2: No module named 'polarsx'. Fix the name, or add the package",
        ),
        ("from os import nothing", "problem/own.py, line 1: cannot import name 'nothing' from 'os'"),
        ("x = 1\ny = (", "problem/own.py, line 2: '(' was never closed. Fix that line."),
    ],
)
def test_what_cannot_be_imported_is_named_with_its_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    code: str,
    said: str,
) -> None:
    monkeypatch.setattr("fivestage.cli.application.ROOT", tmp_path)
    path = tmp_path / "problem" / "own.py"
    path.parent.mkdir()
    path.write_text(code, encoding="utf-8")
    app = application()

    @app.command(stores=False)
    def train() -> None:
        runpy.run_path(str(path))

    assert exit_code(app, "train") == 1
    assert capsys.readouterr().err.startswith(said)
    monkeypatch.setenv("FIVESTAGE_TRACEBACK", "1")
    with pytest.raises((ImportError, SyntaxError)):
        app.main(["train"])


def test_a_command_that_runs_alone_refuses_a_second_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fivestage.cli.application.VAR", tmp_path)
    app = application()

    @app.command(stores=False, alone=True)
    def retrain() -> None:
        typer.echo("trained")

    assert exit_code(app, "retrain") == 0
    with one_at_a_time(tmp_path / "retrain.lock", "this test"):
        assert exit_code(app, "retrain") == 1
    captured = capsys.readouterr()
    assert captured.out == "trained\n"
    assert "running `make retrain`: wait for it" in captured.err

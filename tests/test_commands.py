"""Tests of the commands in run.py: output, files, and a whole run from raw tables to a scored file."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pandas as pd
import pytest

import run
from fivestage.artifact.artifact import load_artifact
from fivestage.common.settings import ROOT
from fivestage.contract.contract import TimestampColumn
from fivestage.deployment.service_client import Deployment, json_rows
from fivestage.evaluation.gates import Gate
from fivestage.monitoring.exposition import exposed
from fivestage.monitoring.retraining_loop import RetrainingLoop, TrainingResult
from fivestage.registry.versions import ModelRegistry, Version
from fivestage.reporting import report as reports
from fivestage.reporting.notices import Notice, read_notice
from fivestage.reporting.report import Report
from problem import PROBLEM
from steps import monitor as monitoring_steps

GATES = (
    Gate(
        "calibrated",
        passed=False,
        value=0.1,
        limit=0.06,
        sentence="calibration error 0.100, at most 0.06 allowed",
    ),
)
VERSION = Version(PROBLEM.contract.name, "7", "d" * 64, "run", 0, "commit")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that commands write to."""
    monkeypatch.setattr(run, "report", lambda: Report(PROBLEM, notices=tmp_path))
    monkeypatch.setattr(monitoring_steps, "METRICS", tmp_path / "monitoring.prom")
    return tmp_path


def loop_of(monkeypatch: pytest.MonkeyPatch, **methods: Any) -> None:
    """Replace the retraining loop by a stand-in with these methods."""
    loop = SimpleNamespace(no_champion=RetrainingLoop.no_champion, **methods)
    monkeypatch.setattr(run, "retraining_loop", lambda _folder: loop)


def test_the_periods_of_one_run_are_in_one_notice(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    periods = [(SimpleNamespace(start=start), "keep") for start in (0, 1)]
    monkeypatch.setattr(reports, "period_lines", lambda monitored, *_: [f"period {monitored.start}"])
    monkeypatch.setattr(
        reports,
        "period_notice",
        lambda _, seen: Notice("monitoring", "t", attention=False, body=str(len(seen))),
    )
    loop_of(monkeypatch, reason_to_wait=lambda: "", monitor_all=lambda: iter(periods))
    run.monitor()
    assert capsys.readouterr().out.startswith("period 0\nperiod 1\n")
    assert read_notice(folder / "monitoring.md").body == "2"


@pytest.mark.parametrize(
    ("reason", "printed", "exposed_rows"),
    [
        ("", "No further period is over yet.", None),
        ("No request yet.", "No request yet.", 0.0),
        (
            RetrainingLoop.no_champion,
            RetrainingLoop.no_champion,
            None,
        ),  # so that the alert of late monitoring fires
    ],
)
def test_where_nothing_can_be_monitored_the_last_notice_stays(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    reason: str,
    printed: str,
    exposed_rows: float | None,
) -> None:
    loop_of(monkeypatch, reason_to_wait=lambda: reason, monitor_all=lambda: iter(()))
    run.monitor()
    assert capsys.readouterr().out == f"{printed}\n"
    assert not list(folder.glob("*.md"))
    metrics = folder / "monitoring.prom"
    assert (exposed(metrics)["rows"] if metrics.exists() else None) == exposed_rows


def test_a_retraining_leaves_its_gates_in_a_notice(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = TrainingResult(VERSION, GATES, promoted=False)
    loop_of(monkeypatch, retrain_now=lambda _as_of: result)
    run.retrain()
    assert "FAIL  calibrated: calibration error 0.100, at most 0.06 allowed" in capsys.readouterr().out
    notice = read_notice(folder / "retraining.md")
    assert (notice.facts["version"], notice.facts["passed"]) == ("7", "false")


def test_a_verdict_that_has_been_followed_is_not_followed_again(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop_of(monkeypatch, follow_verdict=lambda: None)
    run.retrain(if_asked=True)
    assert capsys.readouterr().out.startswith("No training is due")
    assert not list(folder.glob("*.md"))


def test_a_rollback_on_this_machine_serves_the_previous_champion_before_it_is_the_champion_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import runs

    done: list[str] = []

    def deploy(version: Version, _folder: str, target: str) -> Deployment:
        done.append(f"deploy {version.version} {target}")
        return Deployment(version.version, "http://127.0.0.1:8000", 0.0)

    monkeypatch.setattr(runs, "deploy", deploy)
    monkeypatch.setattr(ModelRegistry, "champion", lambda _registry: replace(VERSION, version="8"))
    monkeypatch.setattr(ModelRegistry, "previous_champion", lambda _registry: VERSION)
    monkeypatch.setattr(
        ModelRegistry, "restore", lambda _registry, one: done.append(f"restore {one.version}")
    )
    run.rollback(target="local")
    assert done == ["deploy 7 local", "restore 7"]
    assert "Version 7 is the champion again, in the place of 8." in capsys.readouterr().out


def command(folder: Path, port: int, *words: str) -> str:
    """Run a command of run.py and return its output."""
    overrides = {"FIVESTAGE_VAR": str(folder / "var"), "FIVESTAGE_REPORTS": str(folder / "reports")}
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("ZENML", "MLFLOW", "_"))
    }
    done = subprocess.run(
        [sys.executable, "run.py", *words],
        cwd=ROOT,
        env=inherited | overrides | {"SERVE_PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_train_deploy_predict_and_score(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "is the champion" in command(tmp_path, port, "train")
    try:
        assert "serves at" in command(tmp_path, port, "deploy")
        pointer = json.loads((tmp_path / "var" / "serving" / "current").read_text())
        smoke = load_artifact(Path(pointer["folder"])).smoke
        rows = pd.DataFrame([smoke[0].row])
        (row,) = json_rows(rows, PROBLEM.contract.columns)
        assert httpx.post(f"http://127.0.0.1:{port}/predict", json=row, timeout=300).json()["predictions"]
    finally:
        command(tmp_path, port, "stop")
    for name, column in PROBLEM.contract.columns.items():
        if isinstance(column, TimestampColumn):
            rows[name] = pd.to_datetime(rows[name], unit="s", utc=True)
    # A CSV is read with the separator and formats of the project's own table.
    rows.to_parquet(tmp_path / "rows.parquet")
    command(
        tmp_path,
        port,
        "score",
        "--input",
        str(tmp_path / "rows.parquet"),
        "--output",
        str(tmp_path / "out.csv"),
    )
    assert len(pd.read_csv(tmp_path / "out.csv")) == 1


def test_a_run_from_scratch_says_whose_place_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import runs

    def version(number: str) -> Version:
        return Version(PROBLEM.contract.name, number, "digest", "run", 0, "commit")

    monkeypatch.setattr(
        runs, "train", lambda _as_of, **_: SimpleNamespace(version=version("4"), promoted=True)
    )
    monkeypatch.setattr(ModelRegistry, "champion", lambda _registry: None)
    run.train_from_scratch("2013-10-01")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(ModelRegistry, "champion", lambda _registry: version("3"))
    run.train_from_scratch("2013-10-01")
    assert "version 4 takes the place of the champion, 3, without a comparison" in capsys.readouterr().out

"""Commands as a user runs them: the five stages on a slice of the data, and one sentence for each error."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from evidently.legacy.tests.base_test import TestStatus

import run as commands
from fivestage.cli import demo_run
from fivestage.common.errors import UserError
from fivestage.evaluation.gates import Gate
from fivestage.monitoring.workspace import open_workspace
from fivestage.reporting.report import Report
from fivestage.reporting.results import MonitoringSection, load, save
from problem import PROBLEM
from problem.raw import raw_folder

ROOT = Path(__file__).resolve().parents[2]
KEPT = 5  # every fifth flight number


@pytest.fixture(scope="module")
def slice_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fifth of the year's flights, with all the other tables."""
    folder = tmp_path_factory.mktemp("slice")
    flights = pd.read_csv(raw_folder() / "flights.csv.zip", dtype=str, keep_default_na=False)
    flights[flights["flight"].astype(int) % KEPT == 0].to_csv(folder / "flights.csv.zip", index=False)
    for table in ("weather", "planes", "airports", "airlines"):
        shutil.copy(raw_folder() / f"{table}.csv", folder)
    return folder


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder shared by the tests, because creating its stores takes seconds."""
    return tmp_path_factory.mktemp("state")


PATIENCE = 3600  # seconds; a busy machine must not fail the test


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment_of(folder: Path, **more: str) -> dict[str, str]:
    """Return a user's environment, with the project's state in `folder` and an empty home folder."""
    (folder / "home").mkdir(exist_ok=True)
    overrides = {
        "FIVESTAGE_VAR": str(folder / "var"),
        "FIVESTAGE_REPORTS": str(folder / "reports"),
        "HOME": str(folder / "home"),
    }
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return inherited | overrides | more


def run(folder: Path, *words: str, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run run.py as a user does."""
    return subprocess.run(
        [sys.executable, "run.py", *words],
        cwd=root,
        env=environment_of(folder, **environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    message = done.stderr.strip()
    assert len(message.splitlines()) == 1
    assert all(word in message for word in words), message
    assert "Traceback" not in done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project's files, which tests may break."""
    listed = subprocess.run(
        ["/usr/bin/env", "git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "copy" / name)
    return tmp_path / "copy"


def check_alarms(place: Path, periods: list[dict[str, Any]]) -> None:
    """Check that each period's alarms are the failed tests of its run in Evidently's workspace."""
    workspace = open_workspace(str(place))
    (project,) = workspace.list_projects()
    found = [workspace.get_run(project.id, number) for number in workspace.list_runs(project.id)]
    runs = {one.name.split()[0]: one for one in found if one is not None and one.name}
    assert sorted(runs) == sorted(period["start"] for period in periods)
    for period in periods:
        results = (one for metric in runs[period["start"]].metric_results.values() for one in metric.tests)
        failed = [one for one in results if one.status != TestStatus.SUCCESS]
        of_data = {
            one.metric_config.params["column"]
            for one in failed
            if one.metric_config.params.get("check") in ("inputs", "score")
        }
        causes = [one for one in period["causes"] if one["kind"] in ("data broken", "input shift")]
        assert {one["subject"] for one in causes} == of_data
        descriptions = tuple(one.description.partition(": Actual value")[0] for one in failed)
        assert all(one["sentence"].startswith(descriptions) for one in period["causes"])
        assert period["bad"] == any("check" not in one.metric_config.params for one in failed)


@pytest.mark.slow
def test_the_five_stages_on_a_slice(slice_folder: Path, tmp_path: Path) -> None:
    data, port = str(slice_folder), str(free_port())
    done = run(tmp_path, "demo", FIVESTAGE_DATA=data, SERVE_PORT=port)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "reports" / "index.html").stat().st_size > 50_000
    assert (tmp_path / "reports" / "model_card.md").read_text(encoding="utf-8").startswith("#")
    results = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "var" / "results").iterdir()}
    assert all(probe["passed"] for probe in results["data"]["probes"])
    assert results["model"]["promoted"]
    assert results["serving"]["failed"] == 0
    assert results["serving"]["parity"]["rows"] > 10_000
    assert results["serving"]["parity"]["largest_difference"] < 1e-9
    assert len(results["monitoring"]["periods"]) == 13
    check_alarms(tmp_path / "var" / "evidently", results["monitoring"]["periods"])
    assert results["monitoring"]["retrainings"]
    assert not list((tmp_path / "home").rglob("*"))
    again = run(tmp_path, "demo", FIVESTAGE_DATA=data, SERVE_PORT=port)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing is computed again" in again.stdout
    assert "(1 of 5)" not in again.stdout
    rows, scored = tmp_path / "rows.csv", tmp_path / "scored.csv"
    row = {name: column.example for name, column in PROBLEM.contract.columns.items()}
    pd.DataFrame([row]).to_csv(rows, index=False)
    batch = run(tmp_path, "score", "--input", str(rows), "--output", str(scored), FIVESTAGE_DATA=data)
    assert batch.returncode == 0, batch.stdout + batch.stderr
    assert len(pd.read_csv(scored)) == 1


@pytest.mark.parametrize(
    ("unbiased", "message"),
    [(False, r"its gates \(unbiased\).*index\.html shows"), (True, "waits for approval: make approve")],
    ids=["fails its gates", "waits for approval"],
)
def test_a_model_that_is_not_promoted_leaves_a_page_without_the_service_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, unbiased: bool, message: str
) -> None:
    report = Report(PROBLEM, tmp_path / "results", tmp_path / "reports" / "index.html")
    monkeypatch.setattr(commands, "report", lambda: report)
    monkeypatch.setattr(commands, "retraining_loop", lambda _: None)
    monkeypatch.setattr(demo_run, "RESULTS", tmp_path / "results")
    save(MonitoringSection((), (), ()), tmp_path / "results")
    gates = (
        Gate("unbiased", passed=unbiased, value=1, limit=0, sentence="off"),
        Gate("fast", passed=True, value=0, limit=1, sentence="quick"),
    )
    trained: Any = SimpleNamespace(promoted=False, gates=gates, rows_and_events=lambda: None)
    with pytest.raises(UserError, match=message):
        commands.serve_and_simulate(trained, demo_run.DemoRun(PROBLEM))
    assert load(tmp_path / "results").monitoring is None
    assert "Not run yet." in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")


def test_an_illegal_contract(copy: Path, tmp_path: Path) -> None:
    contract = copy / "problem" / "problem.yaml"
    contract.write_text(contract.read_text().replace("slices: [origin, carrier]", "slices: [origin, colour]"))
    one_sentence(run(tmp_path, "demo", root=copy), "problem.yaml", "slices", "colour")


def test_text_in_a_number_column(slice_folder: Path, state: Path, tmp_path: Path) -> None:
    spoiled = tmp_path / "data"
    shutil.copytree(slice_folder, spoiled)
    flights = pd.read_csv(spoiled / "flights.csv.zip", dtype=str, keep_default_na=False)
    flights.loc[3, "distance"] = "far"
    flights.to_csv(spoiled / "flights.csv.zip", index=False)
    one_sentence(run(state, "train", FIVESTAGE_DATA=str(spoiled)), "flights", "distance", "far", "5")


def test_a_missing_table(slice_folder: Path, state: Path, tmp_path: Path) -> None:
    spoiled = tmp_path / "data"
    shutil.copytree(slice_folder, spoiled)
    (spoiled / "weather.csv").unlink()
    one_sentence(run(state, "train", FIVESTAGE_DATA=str(spoiled)), "weather")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("not a folder")
    one_sentence(run(tmp_path, "train"), str(tmp_path / "var"))


def test_nothing_to_serve_yet(state: Path) -> None:
    one_sentence(run(state, "serve"), "no champion", "make train")


def test_nothing_to_score(state: Path) -> None:
    one_sentence(run(state, "score"), "--input")


def test_a_day_that_is_none(state: Path) -> None:
    one_sentence(run(state, "train", "--as-of", "October"), "October", "YYYY-MM-DD")

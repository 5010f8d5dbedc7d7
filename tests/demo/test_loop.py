"""Monitoring and retraining that are killed can be repeated: same result, nothing recorded twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from pydantic import TypeAdapter

from fivestage.cli.simulated_client import report_outcomes, request_decisions
from fivestage.common.files import one_at_a_time
from fivestage.contract.contract import epoch_of
from fivestage.monitoring.retraining_loop import STATE_FILE, MonitoringState
from fivestage.serving.service_settings import Settings
from problem import PROBLEM
from problem.dataset import clean
from problem.raw import read_raw
from tests.demo.test_run import ROOT, environment_of, free_port, one_sentence, run, slice_folder

__all__ = ["slice_folder"]

pytestmark = pytest.mark.long
FIRST, LAST = "2013-06-01", "2013-06-15"  # two periods


@dataclass(frozen=True)
class Project:
    """A project whose champion has served two periods."""

    folder: Path
    environment: dict[str, str]

    @property
    def var(self) -> Path:
        return self.folder / "var"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run(self.folder, *words, root=ROOT, **self.environment)

    def killed(self, *words: str, once: Callable[[], object]) -> None:
        """Run a command, and kill it as soon as a condition holds."""
        process = subprocess.Popen(
            [sys.executable, "run.py", *words],
            cwd=ROOT,
            env=environment_of(self.folder, **self.environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not once():
            assert process.poll() is None, f"{words} ended before"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def state(self) -> MonitoringState:
        return TypeAdapter(MonitoringState).validate_json((self.var / "serving" / STATE_FILE).read_bytes())

    def logged(self, experiment: str) -> list[str]:
        """Return an experiment's runs, having checked that each logged each of its candidates once."""
        client = MlflowClient(tracking_uri=f"sqlite:///{self.var / 'mlflow' / 'mlflow.db'}")
        known = client.get_experiment_by_name(experiment)
        assert known is not None
        runs = client.search_runs([known.experiment_id])
        candidates = [one for one in runs if MLFLOW_PARENT_RUN_ID in one.data.tags]
        named = {(one.data.tags[MLFLOW_PARENT_RUN_ID], one.info.run_name) for one in candidates}
        assert len(named) == len(candidates)
        return sorted(
            f"{one.info.run_name}, {one.info.status}"
            for one in runs
            if MLFLOW_PARENT_RUN_ID not in one.data.tags
        )


@pytest.fixture(scope="module")
def project(slice_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(
        tmp_path_factory.mktemp("loop"),
        {"FIVESTAGE_DATA": str(slice_folder), "SERVE_PORT": str(free_port()), "OMP_NUM_THREADS": "1"},
    )
    try:
        serve_two_periods(made, slice_folder)
    finally:
        made.run("stop")
    return made


def serve_two_periods(made: Project, slice_folder: Path) -> None:
    for words in (("train", "--as-of", FIRST), ("deploy",)):
        done = made.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    contract = PROBLEM.contract
    tables = clean(read_raw(slice_folder), contract)
    settings = Settings(folder=made.var / "serving", port=int(made.environment["SERVE_PORT"]))
    first, last = (epoch_of(at) for at in (FIRST, LAST))
    reported = report_outcomes(settings, tables.events, contract, first, last)
    requested = request_decisions(settings, tables.rows, contract, first, last)
    assert (reported.failed, requested.failed, requested.rows > 1000) == (0, 0, True)


def test_monitoring_killed_in_a_period_watches_each_once(project: Project) -> None:
    page = project.folder / "reports" / "drift" / f"{FIRST}.html"
    project.killed("monitor", once=page.exists)
    assert not (project.var / "serving" / STATE_FILE).exists()
    with one_at_a_time(project.var / "monitor.lock", "this test"):
        one_sentence(project.run("monitor"), "Another process is running `make monitor`")
    done = project.run("monitor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(project.state().periods) == 2
    assert project.state().until == epoch_of(LAST)
    name = PROBLEM.contract.name
    assert project.logged(f"{name}-monitoring") == [
        "period from 2013-06-01, FINISHED",
        "period from 2013-06-08, FINISHED",
    ]


def test_retraining_killed_at_its_end_trains_one_version(project: Project) -> None:
    models = project.var / "models"
    before = len(list(models.glob("[0-9a-f]*")))
    project.killed(
        "retrain", "--as-of", "2013-07-01", once=lambda: len(list(models.glob("[0-9a-f]*"))) > before
    )
    begun = project.state().begun
    assert begun is not None
    assert begun.champion == "1"
    done = project.run("retrain", "--as-of", "2013-07-01")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "version 2" in done.stdout
    state = project.state()
    assert (state.begun, state.trained) == (None, (epoch_of(FIRST), epoch_of("2013-07-01")))
    assert project.logged(PROBLEM.contract.name) == [
        "train as of 2013-06-01, FINISHED",
        "train as of 2013-07-01, FINISHED",
    ]

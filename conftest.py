"""Fixtures shared by the tests: a state folder, a slice of the problem's rows, and a small model."""

import contextlib
import ctypes
import logging
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass

import hypothesis
import psutil
import pytest

PREFIX = "fivestage-tests-"
for name in [name for name, value in os.environ.items() if PREFIX in value]:
    del os.environ[name]  # set by the parent process of pytest-xdist for itself
for name in ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "ARGS"):
    os.environ.pop(name, None)  # options of `make test` must not reach the make commands that tests run
STATE = tempfile.mkdtemp(prefix=PREFIX)
os.environ["FIVESTAGE_VAR"] = STATE
os.environ["FIVESTAGE_REPORTS"] = f"{STATE}/reports"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for small models, more threads cost more than they gain

SLOW = [hypothesis.HealthCheck.too_slow]  # tests must not fail because the machine is busy
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile("patient")

from fivestage.common.settings import prepare_environment  # noqa: E402

prepare_environment()

import pandas as pd  # noqa: E402

from fivestage.artifact.artifact import Artifact, Lineage  # noqa: E402
from fivestage.artifact.calibration import CALIBRATIONS  # noqa: E402
from fivestage.data.event_tables import EventTables  # noqa: E402
from fivestage.data.splits import TemporalSplit, windows_at  # noqa: E402
from fivestage.features.offline import build_features  # noqa: E402
from fivestage.features.problem import Tables  # noqa: E402
from fivestage.training.packaging import fit_chosen  # noqa: E402
from fivestage.training.sample import training_sample  # noqa: E402
from fivestage.training.selection import Selection  # noqa: E402
from problem import PROBLEM  # noqa: E402

MOST_ROWS = 20_000  # on which tests train, evenly spread over time


@dataclass(frozen=True)
class ProblemSlice:
    """A part of the rows as of the start of the test window, with events, features and windows."""

    rows: pd.DataFrame
    events: EventTables
    features: pd.DataFrame
    windows: TemporalSplit


ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER: detached grandchildren become children of this process


def pytest_configure() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1, 0, 0, 0)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End all processes that tests have started."""
    if not getattr(config.option, "numprocesses", None):  # otherwise the children are pytest-xdist's workers
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    shutil.rmtree(STATE, ignore_errors=True)


@pytest.fixture(scope="session")
def tables() -> Tables:
    """All cleaned tables of the problem, which tests must not change."""
    return PROBLEM.load(PROBLEM.contract, *PROBLEM.parts()[:1])


@pytest.fixture(scope="session")
def problem_slice(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> ProblemSlice:
    """A part of the rows that are not quarantined, with the features that training sees."""
    contract, quarantine = PROBLEM.contract, tmp_path_factory.mktemp("quarantine")
    kept, events, _ = EventTables.ingest(tables, contract, quarantine, PROBLEM.digest())
    rows, split = kept.iloc[:: -(-len(kept) // MOST_ROWS)].reset_index(drop=True), contract.split
    return ProblemSlice(
        rows,
        events,
        build_features(PROBLEM.features, rows, events.events, events.reference),
        windows_at(rows, split, split.test_start_at),
    )


@pytest.fixture(scope="session")
def small_artifact(problem_slice: ProblemSlice) -> Artifact:
    """The artifact of the first candidate, trained on the slice."""
    contract, data = PROBLEM.contract, problem_slice
    sample = training_sample(data.rows, data.features, data.windows, contract)
    candidates = PROBLEM.candidates(len(data.windows.train), tuple(sample.categories))
    selection = Selection(next(iter(candidates)), {}, CALIBRATIONS[contract.task](), ())
    fitted = fit_chosen(sample, selection, candidates)
    lineage = Lineage("data", contract.digest, "lock", "code")
    return fitted.artifact(data.rows, data.events, PROBLEM, lineage)


@pytest.fixture(autouse=True)
def logger_of_the_service(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enable the service's logger, because ZenML quiets all loggers and MLflow's migrations disable them."""
    caplog.set_level(logging.INFO, logger="serving")
    monkeypatch.setattr(logging.getLogger("serving"), "disabled", False)

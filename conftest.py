"""What tests share: a state folder, a slice of the problem, a small model. Change the slice here."""

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
    del os.environ[name]  # what the process that shares tests out among others has set for itself
for name in ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "ARGS"):
    os.environ.pop(name, None)  # what `make test ARGS=...` was told is not for what tests ask of make
STATE = tempfile.mkdtemp(prefix=PREFIX)
os.environ["FIVESTAGE_VAR"] = STATE
os.environ["FIVESTAGE_REPORTS"] = f"{STATE}/reports"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for one another cost more than they bring

SLOW = [hypothesis.HealthCheck.too_slow]  # a busy machine is no failure
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile("patient")

from fivestage.common.settings import prepare_environment  # noqa: E402

prepare_environment()

import pandas as pd  # noqa: E402

from fivestage.artifact.artifact import Artifact, Lineage  # noqa: E402
from fivestage.artifact.calibration import CALIBRATIONS  # noqa: E402
from fivestage.contract.contract import epoch  # noqa: E402
from fivestage.data.event_tables import EventTables  # noqa: E402
from fivestage.data.splits import TemporalSplit, cut  # noqa: E402
from fivestage.features.offline import build_features  # noqa: E402
from fivestage.features.problem import Tables  # noqa: E402
from fivestage.training.packaging import fit_chosen  # noqa: E402
from fivestage.training.sample import training_sample  # noqa: E402
from fivestage.training.selection import Selection  # noqa: E402
from problem import PROBLEM  # noqa: E402

MOST_ROWS = 20_000  # that tests train on, evenly spread over time


@dataclass(frozen=True)
class ProblemSlice:
    """Rows as they stand at the start of the test window, with events, features and windows."""

    rows: pd.DataFrame
    events: EventTables
    features: pd.DataFrame
    windows: TemporalSplit


ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER: what a test's child has detached becomes a child of ours


def pytest_configure() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1, 0, 0, 0)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing that a test has started outlives the tests."""
    if not getattr(config.option, "numprocesses", None):  # there, the children are the workers
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    shutil.rmtree(STATE, ignore_errors=True)


@pytest.fixture(scope="session")
def tables() -> Tables:
    """All tables of the problem as cleaned; not to be changed."""
    return PROBLEM.load(PROBLEM.contract, *PROBLEM.parts()[:1])


@pytest.fixture(scope="session")
def problem_slice(tables: Tables) -> ProblemSlice:
    """A part of the rows, with the features that training would see."""
    rows = tables.rows.iloc[:: -(-len(tables.rows) // MOST_ROWS)].reset_index(drop=True)
    events, split = EventTables(tables.events, tables.reference), PROBLEM.contract.split
    decided, known = rows["decision_at"].to_numpy(), rows["known_at"].to_numpy()
    return ProblemSlice(
        rows,
        events,
        build_features(PROBLEM.features, rows, events.events, events.reference),
        cut(decided, known, split, epoch(split.test_start)),
    )


@pytest.fixture(scope="session")
def small_artifact(problem_slice: ProblemSlice) -> Artifact:
    """The artifact of the first candidate, trained on the slice."""
    contract, one = PROBLEM.contract, problem_slice
    sample = training_sample(one.rows, one.features, one.windows, contract)
    candidates = PROBLEM.candidates(len(one.windows.train), tuple(sample.categories))
    selection = Selection(next(iter(candidates)), {}, CALIBRATIONS[contract.task](), ())
    fitted = fit_chosen(sample, one.windows, selection, contract, candidates)
    lineage = Lineage("data", contract.digest, "lock", "code")
    return fitted.artifact(one.rows, one.windows, one.events, PROBLEM, lineage)


@pytest.fixture(autouse=True)
def logger_of_the_service(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """ZenML quiets all loggers, and MLflow's migrations disable those that are there already."""
    caplog.set_level(logging.INFO, logger="serving")
    monkeypatch.setattr(logging.getLogger("serving"), "disabled", False)

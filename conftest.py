"""Tests keep their state in a folder of their own, gone when they end; set before any library is imported."""

import os
import shutil
import tempfile

import hypothesis
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

from fivestage.features.problem import Tables  # noqa: E402
from problem import PROBLEM  # noqa: E402
from problem.dataset import load  # noqa: E402


def pytest_unconfigure() -> None:
    shutil.rmtree(STATE, ignore_errors=True)


@pytest.fixture(scope="session")
def tables() -> Tables:
    """The year as cleaned; not to be changed."""
    return load(PROBLEM.contract)

"""Tests keep their state in a folder of their own, gone when they end; set before any library is imported."""

import os
import shutil
import tempfile

STATE = tempfile.mkdtemp(prefix="fivestage-tests-")
os.environ["FIVESTAGE_VAR"] = STATE
os.environ["FIVESTAGE_REPORTS"] = f"{STATE}/reports"

from core.settings import prepare_environment  # noqa: E402

prepare_environment()


def pytest_unconfigure() -> None:
    shutil.rmtree(STATE, ignore_errors=True)

"""Tests write outside of the project."""

import atexit
import os
import shutil
import tempfile

STATE = tempfile.mkdtemp(prefix="fivestage-distributed-")
atexit.register(shutil.rmtree, STATE, ignore_errors=True)
os.environ.setdefault("FIVESTAGE_VAR", STATE)  # the project's own tests have set it already
os.environ.setdefault("FIVESTAGE_REPORTS", f"{STATE}/reports")

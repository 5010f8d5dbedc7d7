"""A fake GitHub for the tests."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

State = Callable[[], dict[str, Any]]


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """A fake GitHub behind the program `gh`; returns its state."""
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    fake = Path(__file__).with_name("fake_gh.py")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {fake} "$@"\n')
    program.chmod(0o755)
    state = tmp_path / "github.json"
    monkeypatch.setenv("FAKE_GH", str(state))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return lambda: json.loads(state.read_text()) if state.exists() else {"issue": [], "other": []}

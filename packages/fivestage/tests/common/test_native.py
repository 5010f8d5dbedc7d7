"""C that is compiled ahead, at need, or not at all."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fivestage.common import native
from fivestage.common.settings import ROOT
from fivestage.features.compiled_windows import SOURCE


def test_two_may_compile_at_once(tmp_path: Path) -> None:
    source = Path(shutil.copy(SOURCE, tmp_path))
    command = [sys.executable, "-m", "fivestage.common.native", str(source)]
    both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [source.name, native.library_name(source)]
    )


def test_another_source_is_another_library(tmp_path: Path) -> None:
    source = tmp_path / "sum.c"
    source.write_text("int sum(int one, int other) { return one + other; }")
    assert ctypes.PyDLL(str(native.compile_into(tmp_path, source))).sum(1, 2) == 3
    first = native.library_name(source)
    source.write_text("int sum(int one, int other) { return one + other + 1; }")
    assert native.library_name(source) != first


def test_what_does_not_compile_is_done_without_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(native, "VAR", tmp_path)
    monkeypatch.setattr(native.logger, "warning", lambda text, *values: told.append(text % values))
    source = tmp_path / "broken.c"
    source.write_text("this is no C")
    assert native.library(source) is None
    assert len(told) == 1
    assert told[0].startswith("broken.c is done without")

"""The C extensions, and the fallback to Python."""

import ctypes
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from fivestage.artifact import compiled_trees
from fivestage.common import native
from fivestage.features import compiled_windows

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(native.logger, "warning", lambda text, *values: said.append(text % values))
    return said


@pytest.mark.parametrize(
    ("source", "function"), [(compiled_windows.SOURCE, "windows"), (compiled_trees.SOURCE, "margins")]
)
def test_an_installation_has_built_both(source: Path, function: str) -> None:
    """`make setup` does; rebuilt when a source is newer."""
    assert isinstance(native.library(source, function), ctypes.PyDLL)


def test_what_was_built_beside_a_source_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of an older source, without the function, failed where the function was first called."""
    said = warnings(monkeypatch)
    source = tmp_path / "sum.c"
    source.write_text("int sum(int one, int other) { return one + other; }")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    built = tmp_path / f"_sum{SUFFIX}"
    subprocess.run([compiler, "-fPIC", "-shared", "-o", str(built), str(source)], check=True)
    library = native.library(source, "sum")
    assert library is not None
    assert library.sum(1, 2) == 3
    assert said == []
    assert native.library(source, "product") is None
    assert said[0].startswith("sum.c is replaced by slower Python code")
    assert "product" in said[0]


@pytest.mark.parametrize(("content", "why"), [(None, "there was no C compiler"), (b"no library", "_broken")])
def test_what_was_not_built_is_done_without_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, why: str
) -> None:
    said = warnings(monkeypatch)
    source = tmp_path / "broken.c"
    if content:
        (tmp_path / f"_broken{SUFFIX}").write_bytes(content)
    assert native.library(source, "sum") is None
    assert len(said) == 1
    assert said[0].startswith("broken.c is replaced by slower Python code")
    assert why in said[0]

"""A folder is read in parts only when it is large, and only where parts can stand alone."""

from pathlib import Path

import pytest

from core import source
from core.source import parts_of
from core.tables import Layout


def folder(place: Path, files: int) -> str:
    place.mkdir()
    for number in range(files):
        (place / f"{number}.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    return str(place)


def test_large_folders_are_read_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    several, one = folder(tmp_path / "several", 2), folder(tmp_path / "one", 1)
    assert parts_of(several) == ()
    monkeypatch.setattr(source, "IN_MEMORY", 8)
    assert parts_of(several) == (f"{several}/0.csv", f"{several}/1.csv")
    assert parts_of(one) == parts_of(f"{one}/0.csv") == parts_of("sklearn:wine") == ()


def test_made_up_moments_and_numbers_of_rows_need_the_whole_table() -> None:
    assert Layout({}, "y").can_be_cut
    assert not Layout({}, "y", row="row_number").can_be_cut
    assert not Layout({}, "y", simulated_days=10).can_be_cut

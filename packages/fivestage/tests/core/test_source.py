"""A folder is read in parts only when it is large, and only where parts can stand alone."""

from pathlib import Path

import pandas as pd
import pytest

from fivestage.common.errors import UserError
from fivestage.data import source
from fivestage.data.source import parts_of, read_table
from fivestage.data.tables import Layout


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


def test_what_folders_say_of_their_rows_are_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a": range(4), "region": ["north", "so uth", "north", None], "month": [1, 2, 10, 10]}
    )
    frame.to_parquet(tmp_path / "sales", partition_cols=["region", "month"])
    seen = read_table(str(tmp_path / "sales")).sort_values("a", ignore_index=True)
    assert seen["region"].fillna("none").tolist() == ["north", "so uth", "north", "none"]
    assert seen["month"].tolist() == ["1", "2", "10", "10"]
    one = next((tmp_path / "sales" / "region=north" / "month=10").iterdir())
    assert read_table(str(one)).to_dict("list") == {"a": [2], "region": ["north"], "month": ["10"]}


@pytest.mark.parametrize(
    ("start", "word"),
    [
        (b"PK\x03\x04", "a workbook or an archive: save its table"),
        (b"PAR1", "let its name end in .parquet"),
        (b"\n<!DOCTYPE html>", "a page for browsers"),
        (b'{"a": 1}', "JSON"),
    ],
)
def test_what_is_no_text_is_called_what_it_is(tmp_path: Path, start: bytes, word: str) -> None:
    (tmp_path / "table.csv").write_bytes(start + b"a,b\n1,2\n\0")
    with pytest.raises(UserError, match="is no text but ") as told:
        read_table(str(tmp_path / "table.csv"))
    assert word in str(told.value)

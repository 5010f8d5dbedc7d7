"""A folder is read in parts only if it is large; unreadable sources raise an error for the user."""

from pathlib import Path

import pandas as pd
import pytest

from fivestage.common.errors import UserError
from fivestage.data import source
from fivestage.data.source import Source, with_partitions


def folder(place: Path, files: int) -> str:
    place.mkdir()
    for number in range(files):
        (place / f"{number}.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    return str(place)


def test_large_folders_are_read_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    several, one = folder(tmp_path / "several", 2), folder(tmp_path / "one", 1)
    assert Source(several).parts() == ()
    monkeypatch.setattr(source, "IN_MEMORY", 8)
    assert Source(several).parts() == (f"{several}/0.csv", f"{several}/1.csv")
    assert [Source(place).parts() for place in (one, f"{one}/0.csv", "sklearn:wine")] == [()] * 3


def test_json_files_of_a_folder_are_its_table_only_where_there_is_no_other(tmp_path: Path) -> None:
    (tmp_path / "dataset-metadata.json").write_text("{}")
    (tmp_path / "more.json").write_text("{}")
    assert [path.name for path in Source(str(tmp_path)).files()] == ["dataset-metadata.json", "more.json"]
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    assert [path.name for path in Source(str(tmp_path)).files()] == ["t.csv"]


def test_what_folders_say_of_their_rows_are_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a": range(4), "region": ["north", "so uth", "north", None], "month": [1, 2, 10, 10]}
    )
    frame.to_parquet(tmp_path / "sales", partition_cols=["region", "month"])
    parts = [
        with_partitions(pd.read_parquet(path, partitioning=None), path)
        for path in Source(str(tmp_path / "sales")).files()
    ]
    seen = pd.concat(parts).sort_values("a")
    assert seen["region"].fillna("none").tolist() == ["north", "so uth", "north", "none"]
    assert seen["month"].tolist() == ["1", "2", "10", "10"]


def test_what_is_wrong_with_a_source_is_a_sentence() -> None:
    with (
        pytest.raises(UserError, match=r"orders\.csv has no column price. Add it"),
        Source("orders.csv").reading(),
    ):
        _ = pd.DataFrame({"cost": [1]})["price"]
    with (
        pytest.raises(UserError, match=r"orders\.csv has no column .*'a', 'b'"),
        Source("orders.csv").reading(),
    ):
        _ = pd.DataFrame({"cost": [1]})[["a", "b"]]
    with (
        pytest.raises(
            UserError, match=r"gone\.csv cannot be read as a table: .*No such file.* FIVESTAGE_DATA names"
        ),
        Source("gone.csv").reading(),
    ):
        pd.read_csv("gone.csv")


def test_the_digest_is_of_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    before = Source(str(path)).digest(pd.read_csv)
    path.write_text("a\n2\n")
    assert Source(str(path)).digest(pd.read_csv) != before
    tables = [pd.DataFrame({"a": [n], "b": [[1, n]]}) for n in (1, 1, 2)]
    far = [Source("memory://x").digest(lambda _: tables.pop()) for _ in range(3)]
    assert far[1] == far[2] != far[0]

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from fivestage.common.errors import UserError
from fivestage.data.source import Source
from problem.dataset import digest
from problem.raw import FOLDER_VARIABLE, SCHEMAS, part_folders, raw_folder, read_all, read_raw

ROWS = {
    "flights": "2013,1,1,517,515,2,819,11,1545,1400,UA,N14228,EWR,IAH,2013-01-01T10:00:00Z",
    "weather": "EWR,39.02,26.06,59.37,270,10.35,NA,0,1012,10,2013-01-01T06:00:00Z",
    "planes": "N14228",
    "airports": "IAH,29.98,-95.34,America/Chicago",
}


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for table, columns in SCHEMAS.items():
        (tmp_path / f"{table}.csv").write_text(f"{','.join(columns)}\n{ROWS[table]}\n", encoding="utf-8")
    return tmp_path


def add(folder: Path, table: str, line: str) -> None:
    with (folder / f"{table}.csv").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def test_reading_types_the_columns() -> None:
    raw = read_raw(raw_folder())
    assert {name: len(frame) for name, frame in raw.items()} == {
        "flights": 336_776,
        "weather": 26_115,
        "planes": 3_322,
        "airports": 1_458,
    }
    assert raw["flights"]["dep_time"].max() == 2400
    assert str(raw["weather"]["time_hour"].dt.tz) == "UTC"


def test_plain_and_zipped_files_read_the_same(folder: Path) -> None:
    plain = read_raw(folder)["flights"]
    path = folder / "flights.csv"
    with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive:
        archive.write(path, path.name)
    path.unlink()
    assert read_raw(folder)["flights"].equals(plain)
    assert plain["carrier"].tolist() == ["UA"]


def test_what_is_not_known_is_a_gap(folder: Path) -> None:
    add(folder, "flights", "2013,1,1,NA,515,,819,NA,1546,1400,UA,,EWR,IAH,2013-01-01T10:00:00Z")
    second = read_raw(folder)["flights"].iloc[1]
    assert second[["dep_time", "dep_delay", "arr_delay", "tailnum"]].isna().all()
    assert second["flight"] == 1546


@pytest.mark.parametrize(
    ("table", "line", "words"),
    [
        (
            "flights",
            ROWS["flights"].replace("1545", "abc"),
            "line 3, column 'flight': abc is not a whole number",
        ),
        (
            "flights",
            ROWS["flights"].replace("1545", "1.5"),
            "line 3, column 'flight': 1.5 is not a whole number",
        ),
        (
            "flights",
            ROWS["flights"].replace("1545", "inf"),
            "line 3, column 'flight': inf is not a whole number",
        ),
        ("flights", ROWS["flights"].replace("1545", "1" * 10), "at most nine digits"),
        ("weather", ROWS["weather"].replace("39.02", "cold"), "line 3, column 'temp': cold is not a number"),
        ("weather", ROWS["weather"].replace("01T06", "01X06"), "line 3, column 'time_hour': 2013-01-01X06"),
        ("airports", ROWS["airports"] + ",more,fields", "airports.csv cannot be read as a table: .* line 3"),
    ],
)
def test_one_sentence_names_file_line_column_and_value(
    folder: Path, table: str, line: str, words: str
) -> None:
    add(folder, table, line)
    with pytest.raises(UserError, match=words) as caught:
        read_raw(folder)
    assert f"{table}.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_far_down_a_large_file_is_found(folder: Path) -> None:
    with (folder / "flights.csv").open("a", encoding="utf-8") as file:
        file.writelines([ROWS["flights"] + "\n"] * 40_000)
        file.write(ROWS["flights"].replace("819", "eight") + "\n")
    with pytest.raises(UserError, match="line 40003, column 'sched_arr_time': eight is not a whole number"):
        read_raw(folder)


def test_gaps_and_texts_that_start_late_in_a_large_file(folder: Path) -> None:
    lines = [ROWS["flights"].replace("N14228", "NA").replace(",11,", ",NA,") + "\n"] * 40_000
    path = folder / "flights.csv"
    header, first = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(header + "".join(lines) + first, encoding="utf-8")
    flights = read_raw(folder)["flights"]
    assert flights["tailnum"].notna().sum() == 1
    assert flights["arr_delay"].iloc[-1] == 11


def test_a_missing_column(folder: Path) -> None:
    (folder / "planes.csv").write_text("plane\nN1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"planes\.csv has no column 'tailnum', only plane"):
        read_raw(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"faa,lat\n\xff\xfe,1"])
def test_a_file_that_is_no_table(folder: Path, content: bytes) -> None:
    (folder / "airports.csv.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"airports.csv.zip cannot be read as a table"):
        read_raw(folder)


def test_a_missing_table(folder: Path) -> None:
    (folder / "weather.csv").unlink()
    with pytest.raises(UserError, match="The table weather is missing"):
        read_raw(folder)


def test_a_folder_of_your_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    assert raw_folder() == folder
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder / "nowhere"))
    with pytest.raises(UserError, match="which is not a folder"):
        raw_folder()


def test_a_relative_folder_is_the_same_one_for_the_digest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv(FOLDER_VARIABLE, folder.name)
    assert raw_folder() == folder
    assert digest() == Source(str(folder)).digest()


def test_no_data_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("problem.raw.PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(UserError, match="No data: install the package"):
        raw_folder()


def test_parts_share_what_lies_beside_them_and_are_one_when_read_at_once(folder: Path) -> None:
    assert part_folders(folder) == ()
    for number, part in enumerate(("2013-02", "2013-01")):
        (folder / part).mkdir()
        for table in ("flights", "weather"):
            name = f"{table}.csv"
            (folder / part / name).write_bytes((folder / name).read_bytes())
        add(folder / part, "flights", ROWS["flights"].replace("1545", f"{number}"))
    for table in ("flights", "weather"):
        (folder / f"{table}.csv").unlink()
    assert [part.name for part in part_folders(folder)] == ["2013-01", "2013-02"]
    whole = read_all(folder)
    assert whole["flights"]["flight"].tolist() == [1545, 1, 1545, 0]
    assert {table: len(frame) for table, frame in whole.items()} == {
        "flights": 4,
        "weather": 2,
        "planes": 1,
        "airports": 1,
    }


def test_parquet_is_read_as_csv_is(folder: Path) -> None:
    before = read_raw(folder)
    pd.read_csv(folder / "flights.csv").to_parquet(folder / "flights.parquet")
    (folder / "flights.csv").unlink()
    pd.testing.assert_frame_equal(read_raw(folder)["flights"], before["flights"], check_dtype=False)


def test_parquet_that_is_none_is_a_sentence(folder: Path) -> None:
    (folder / "flights.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"flights\.parquet cannot be read as a table"):
        read_raw(folder)

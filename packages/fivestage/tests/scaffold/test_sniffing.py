"""How tables are read is found once: dialects, encodings, addresses; what is renamed or uneven is said."""

import http.server
import json
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest

from fivestage.common.database import connect
from fivestage.common.errors import UserError
from fivestage.scaffold.column_profiles import inspect_column
from fivestage.scaffold.sniffing import find_reader

TABLE = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})


def table_of(source: str) -> pd.DataFrame:
    return find_reader(source)[1]


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of S3 as reading needs."""

    files: dict[str, bytes] = {}  # noqa: RUF012 (of the class)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        content = self.files.get(self.path.partition("?")[0])
        wanted = self.headers.get("Range", "")
        part = content or b""
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = part[int(first) : int(last) + 1]
        self.send_response(404 if content is None else 206 if wanted else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        if body:
            self.wfile.write(part)

    def log_message(self, *words: object) -> None: ...


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    parquet = BytesIO()
    TABLE.to_parquet(parquet)
    Bucket.files = {
        "/shop/orders.csv": TABLE.to_csv(index=False, sep=";").encode(),
        "/shop/orders.parquet": parquet.getvalue(),
    }
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", ["orders.csv", "orders.parquet"])
def test_a_bucket_is_read_without_further_libraries(bucket: str, name: str) -> None:
    pd.testing.assert_frame_equal(table_of(f"s3://shop/{name}{bucket}"), TABLE, check_dtype=False)


def test_what_is_not_in_the_bucket_is_a_sentence(bucket: str) -> None:
    with pytest.raises(UserError, match=r"gone\.csv.* cannot be read as a table"):
        table_of(f"s3://shop/gone.csv{bucket}")


def test_postgres_is_asked_by_the_driver_that_is_there() -> None:
    assert connect("postgresql://me@host/db").driver == "psycopg"


@pytest.mark.parametrize(
    ("start", "word"),
    [
        (b"PK\x03\x04", "a workbook or an archive: save its table"),
        (b"PAR1", "let its name end in .parquet"),
        (b"\n<!DOCTYPE html>", "a web page"),
        (b'{"a": 1}', "JSON: let its name end in .json, or .jsonl"),
    ],
)
def test_what_is_no_text_is_called_what_it_is(tmp_path: Path, start: bytes, word: str) -> None:
    (tmp_path / "table.csv").write_bytes(start + b"a,b\n1,2\n\0")
    with pytest.raises(UserError, match="is no text but ") as told:
        table_of(str(tmp_path / "table.csv"))
    assert word in str(told.value)


def written(folder: Path, text: str) -> str:
    (folder / "table.csv").write_text(text, encoding="utf-8")
    return str(folder / "table.csv")


def test_the_code_that_is_written_is_the_code_that_has_read(tmp_path: Path) -> None:
    found, table = find_reader(written(tmp_path, "sep=;\na;b\n1,5;x\n2,5;y\n"))
    assert found.body[0].startswith("return pd.read_csv(ROOT / source, sep=';', skiprows=1, lineterminator=")
    assert table.to_dict("list") == {"a": ["1,5", "2,5"], "b": ["x", "y"]}


def test_a_row_with_more_fields_than_headers_is_named(tmp_path: Path) -> None:
    """Which pandas would take for a table whose first column names the rows, and shift all others."""
    rows = ["a,b,y", "1,2,x,9", *["1,2,x", "3,4,z"] * 50]
    with pytest.raises(UserError, match=r"line 2 has 4 fields, the headers are 3\. Fix that line"):
        find_reader(written(tmp_path, "\n".join(rows)))


def test_headers_that_pandas_renames_are_said(tmp_path: Path) -> None:
    found, table = find_reader(written(tmp_path, "a,a,,b\n1,2,3,4\n"))
    assert list(table) == ["a", "a.1", "Unnamed: 2", "b"]
    assert found.notes == (
        "The header 'a' stands 2 times: column 2 is read as 'a.1'.",
        "Column 3 has no header: it is read as 'Unnamed: 2'.",
    )


def test_titles_above_the_headers_are_skipped_and_said(tmp_path: Path) -> None:
    """Also where decimal commas would divide all lines but the headers alike."""
    rows = [f"{one},5;2,{one};x" for one in range(9)]
    found, table = find_reader(
        written(tmp_path, "\n".join(["Orders of 2025", "", "by: me, you", "a;b;c", *rows]))
    )
    assert "sep=';', skiprows=3" in found.body[0]
    assert table.shape == (9, 3)
    assert found.notes == ("The first 3 lines are skipped: the headers are below.",)


def test_an_encoding_that_is_a_guess_is_said_with_a_word(tmp_path: Path) -> None:
    """Polish bytes are legal in the encoding of Western Europe, and other letters there."""
    (tmp_path / "table.csv").write_bytes("id;Wartość\n1;5\n2;6\n".encode("cp1250"))
    (note,) = find_reader(str(tmp_path / "table.csv"))[0].notes
    assert note.startswith("The file is not UTF-8, so it is read as cp1252: 'Wartoœæ'. If these letters are")


def test_marks_of_databases_for_no_value_are_missing(tmp_path: Path) -> None:
    table = table_of(written(tmp_path, "a\tb\n1.5\t\\N\n\\N\tx\n(null)\ty\n"))
    assert table.isna().to_numpy().tolist() == [[False, True], [True, False], [True, False]]


def test_headers_with_a_field_too_few_are_no_title(tmp_path: Path) -> None:
    rows = ["a,b,c", *["1,2,3,4,5"] * 50]
    with pytest.raises(UserError, match="line 2 has 5 fields, the headers are 3"):
        find_reader(written(tmp_path, "\n".join(rows)))


def test_json_objects_are_read_one_a_line_or_in_an_array(tmp_path: Path) -> None:
    objects = [{"a": 1, "b": {"c": "007", "at": "2024-01-01"}}, {"a": 2}]
    (tmp_path / "one.json").write_text(json.dumps(objects))
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, objects)))
    for name in ("one.json", "two.jsonl"):
        table = table_of(str(tmp_path / name))
        assert table[["a", "b.c", "b.at"]].values.tolist()[0] == [1, "007", "2024-01-01"]
        assert table["b.c"].isna().tolist() == [False, True]


def test_files_of_a_folder_must_be_alike(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("a,b\n1,2\n")
    (tmp_path / "two.csv").write_text("a;b\n1;2\n")
    with pytest.raises(UserError, match=r"are not alike: .*sep=';'"):
        find_reader(str(tmp_path))


def test_files_of_a_folder_that_lack_columns_are_said(tmp_path: Path) -> None:
    """As of a competition, whose folder holds the rows to predict and an example of an answer too."""
    (tmp_path / "train.csv").write_text("id,a,b,c,y\n1,2,3,4,5\n")
    (tmp_path / "test.csv").write_text("id,a,b,c\n2,2,3,4\n")
    (tmp_path / "submission.csv").write_text("id,y\n2,7\n")
    (note,) = find_reader(str(tmp_path))[0].notes
    assert note.startswith("2 files lack columns that others have: submission.csv has no 'a', 'b', 'c'. ")


@pytest.mark.parametrize("text", ["", "\n", "a,b\n"])
def test_a_file_without_rows_is_said_to_have_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"table\.csv has no rows\. Name a table with rows"):
        find_reader(written(tmp_path, text))


def test_quotes_behind_a_space_are_quotes(tmp_path: Path) -> None:
    rows = [f'{one}, "Ulm, Aix", 0{one}, ?' for one in range(9)]
    found, table = find_reader(written(tmp_path, "\n".join(["a, towns, code, b", *rows])))
    assert "skipinitialspace=True" in found.body[0]
    assert list(table) == ["a", "towns", "code", "b"]
    assert table.iloc[0, :3].tolist() == [0, "Ulm, Aix", "00"]
    assert table["b"].isna().all()


def test_columns_that_spaces_separate_may_be_many_lines(tmp_path: Path) -> None:
    """The row at which the inspected start ends is not complete."""
    rows = [f"{one} {one % 7} {'abc'[one % 3]}" for one in range(20_000)]
    assert table_of(written(tmp_path, "\n".join(["id n kind", *rows]))).shape == (20_000, 3)


@pytest.mark.parametrize("missing", [False, True])
def test_identifiers_with_more_digits_than_a_float_has_stay_whole(tmp_path: Path, *, missing: bool) -> None:
    posts = [str(10**18 + one) for one in range(100)]
    table = table_of(written(tmp_path, "\n".join(["post,n", *(f"{one},1" for one in posts), ",1" * missing])))
    found = inspect_column(table["post"], "post")
    assert (found.kind, found.distinct, found.identifier) == ("category", 100, True)


def test_fields_of_parquet_structs_become_columns(tmp_path: Path) -> None:
    places = pd.Series([{"lat": 1.5, "town": {"name": one}} for one in TABLE["b"]], dtype="object")
    TABLE.assign(place=places).to_parquet(tmp_path / "table.parquet")
    table = table_of(str(tmp_path / "table.parquet"))
    assert list(table) == ["a", "b", "place.lat", "place.town.name"]
    assert table["place.town.name"].tolist() == ["x", "y", "z"]


def test_a_file_of_a_partitioned_folder_has_its_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": range(3), "region": ["north", "south", "north"], "month": [1, 2, 10]})
    frame.to_parquet(tmp_path / "sales", partition_cols=["region", "month"])
    one = next((tmp_path / "sales" / "region=north" / "month=10").iterdir())
    assert table_of(str(one)).to_dict("list") == {"a": [2], "region": ["north"], "month": ["10"]}
    assert sorted(table_of(str(tmp_path / "sales"))["month"]) == ["1", "10", "2"]


def test_a_path_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    missing = tmp_path / "rows.csv"
    with pytest.raises(UserError) as error:
        table_of(str(missing))
    assert str(error.value) == f"There is no {missing}. Name a file, a folder, or a URL."

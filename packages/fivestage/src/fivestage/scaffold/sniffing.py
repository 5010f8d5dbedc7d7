"""Find the code that reads a table; it is run here and written into `problem/dataset.py`."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pandas as pd

from fivestage.common.database import connect, redacted
from fivestage.common.errors import UserError
from fivestage.data.source import PARQUET, bucket, files_of, local_path, reading

MISSING = ["?", "-", "--", "none", "NONE"]  # in addition to pandas' own
ENCODINGS = ("utf-8", "cp1252", "latin-1")
NO_TEXT = {  # first bytes of other file types, and how to fix it
    b"pk\x03\x04": "a workbook or an archive: save its table as CSV or Parquet",
    b"\xd0\xcf\x11\xe0": "a workbook: save its table as CSV or Parquet",
    b"%pdf": "a PDF: save its table as CSV or Parquet",
    b'{"': "JSON: save it as CSV or Parquet",
    b"[{": "JSON: save it as CSV or Parquet",
    b"<!doctype html": "a page for browsers, perhaps that of a login: download the table itself",
    b"<html": "a page for browsers, perhaps that of a login: download the table itself",
    b"sqlite format 3": "a database: write sqlite:///path/to/it#table",
    b"par1": "Parquet: let its name end in .parquet",
    b"\x1f\x8b": "compressed: let its name end in .gz",
}
LONGEST_START = 32  # bytes
NOT_READ = {
    ".xlsx", ".xls", ".ods", ".json", ".jsonl", ".xml", ".html", ".feather", ".avro", ".orc", ".dta", ".sav",
}  # fmt: skip
SEPARATORS = ",;\t|"
SPACES = r"\s+"
REMARK = r"#|sep=|\s*$"  # start of a line before the headers
HEAD = 64 * 1024  # characters that are inspected
BUCKETS = ("s3://", "gs://", "gcs://")
LOCAL = '"://" not in source'
EXAMPLE = "sklearn:"


@dataclass(frozen=True)
class Reader:
    """The code of a function that reads a source."""

    body: tuple[str, ...]  # its lines; the argument is `source`, the result a DataFrame
    imports: tuple[str, ...] = ()  # import statements of the body
    otherwise: str = ""  # condition under which `source` is a file of another kind, to be scored
    notes: tuple[str, ...] = ()  # sentences about what reading changes

    def read(self, source: str) -> pd.DataFrame:
        """Run the code.

        Raises:
            UserError: If the source cannot be read or has no rows.
        """
        lines = [
            *self.imports,
            "import pandas as pd",
            "def read(source):",
            *(f"    {one}" for one in self.body),
        ]
        names: dict[str, Any] = {}
        exec("\n".join(lines), names)  # noqa: S102 (text of this module, values by their repr)
        with reading(source):
            try:
                table: pd.DataFrame = names["read"](source)
            except pd.errors.EmptyDataError:
                table = pd.DataFrame()
        if table.empty:
            raise UserError(f"{redacted(source)} has no rows. Name a table with rows.")
        return table


def find_reader(source: str) -> tuple[Reader, pd.DataFrame]:
    """Return the reader for a source, and the table that it reads."""
    with reading(source):
        found = _reader(source)
    table = found.read(source)
    more: list[str] = []
    if any(table.index.names):  # files written by pandas may have an index
        more.append("table = table.reset_index()")
        table = table.reset_index(allow_duplicates=True)
    if not all(isinstance(one, str) for one in table.columns):
        more.append("table.columns = table.columns.map(str)")
        table.columns = table.columns.map(str)
    again = table.columns[table.columns.duplicated()]
    if len(again):
        raise UserError(f"{redacted(source)} has two columns {again[0]!r}: give each a name of its own.")
    if more:
        body = (*found.body[:-1], found.body[-1].replace("return ", "table = ", 1), *more, "return table")
        found = Reader(body, found.imports, found.otherwise, found.notes)
    return found, table


def _reader(source: str) -> Reader:
    if source.startswith(EXAMPLE):
        return _example(source.removeprefix(EXAMPLE))
    place = local_path(source)
    if place is None:
        return _address(source)
    if not place.exists():
        looked = "" if str(place) == source else f" ({place})"
        raise UserError(f"There is no {source}{looked}. Name a file, a folder, or a URL.")
    files = files_of(source)
    partitioned = any("=" in folder for path in files for folder in path.parent.parts)
    if not (place.is_dir() or partitioned):
        return _file(str(place), "ROOT / source", ("from fivestage.common.settings import ROOT",))
    if not files:
        raise UserError(f"The folder {source} holds no .parquet and no .csv files.")
    readers = {_file(str(path), "path", ()) for path in files}
    if len(bodies := sorted({one.body[-1] for one in readers})) > 1:
        raise UserError(
            f"The files of {source} are not alike: {' and '.join(bodies[:2])}. Make them one kind."
        )
    one = next(iter(readers))
    call = one.body[-1].removeprefix("return ")
    names = "files_of"
    if partitioned:
        call, names = f"with_partitions({call}, path)", "files_of, with_partitions"
    return Reader(
        (f"frames = [{call} for path in files_of(source)]", "return pd.concat(frames, ignore_index=True)"),
        (f"from fivestage.data.source import {names}",),
        one.otherwise,
        one.notes,
    )


def _address(source: str) -> Reader:
    from fsspec import available_protocols

    if source.partition("://")[0] not in available_protocols():
        return _database(source)
    if not source.startswith(BUCKETS):
        return _file(source, "source", ())
    imports = ("from fivestage.data.source import bucket",)
    suffix = Path(source.partition("?")[0]).suffix.lower()
    if suffix in PARQUET or not suffix:  # or a folder of such files
        body = (
            "files, path = bucket(source)",
            "return pd.DataFrame(parquet.read_table(path, filesystem=files).to_pandas())",
        )
        return Reader(body, ("from pyarrow import parquet", *imports), LOCAL)
    one = _file(source, "file", ())
    opened = ("files, path = bucket(source)", "with files.open_input_stream(path) as file:")
    return Reader((*opened, f"    {one.body[-1]}"), imports, LOCAL, one.notes)


def _file(place: str, argument: str, imports: tuple[str, ...]) -> Reader:
    suffix = Path(place.partition("?")[0]).suffix.lower()
    if suffix in PARQUET:
        words = f"{argument}, partitioning=None" if argument == "path" else argument
        return Reader((f"return pd.read_parquet({words})",), imports, 'source.endswith(".csv")')
    if suffix in NOT_READ:
        raise UserError(f"{place} is {suffix[1:]}, which is not read: save it as CSV or Parquet.")
    with _open(place) as file:
        start = file.read(LONGEST_START)
    for beginning, what in NO_TEXT.items():
        if start.lstrip().lower().startswith(beginning):
            raise UserError(f"{redacted(place)} is no text but {what}.")
    for encoding in _encodings(start):
        try:
            options, notes = _csv_options(place, encoding)
        except UnicodeDecodeError:
            continue
        break
    words = ", ".join([argument, *(f"{name}={value!r}" for name, value in options.items())])
    return Reader((f"return pd.read_csv({words})",), imports, 'source.endswith(".parquet")', notes)


def _encodings(start: bytes) -> tuple[str, ...]:
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return ("utf-16",)
    if b"\0" in start[:2]:  # the same, and nothing says so
        return ("utf-16-be" if start[:1] == b"\0" else "utf-16-le",)
    return ENCODINGS


def _csv_options(place: str, encoding: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the non-default arguments of `pandas.read_csv`, and notes for the user."""
    before, head = _without_preamble(_head(place, encoding))
    separator = _separator(head)
    rows = [fields for fields in _fields(head, separator) if fields]
    options: dict[str, Any] = {}
    escaped = [fields for fields in _fields(head, separator, "\\") if fields]
    if _evenness(escaped) > _evenness(rows):
        rows, options["escapechar"] = escaped, "\\"
    if separator != ",":
        options["sep"] = separator
    if encoding != "utf-8":
        options["encoding"] = encoding
    if before:
        options["skiprows"] = before
    if re.match(r"[^\r\n]*\n", head):  # a carriage return may then be part of a field
        options["lineterminator"] = "\n"
    if separator != SPACES and _ends_in_separators(rows):
        options |= {"index_col": False, "usecols": [*range(len(rows[0]))]}
    elif separator != SPACES:
        _require_even(place, rows, before)
    if padded := _padded(rows):
        options["dtype"] = dict.fromkeys(padded, "str")
    if "?" in place and not place.startswith(BUCKETS) and (compression := _compression(place)):
        options["compression"] = compression
    return options | {"na_values": MISSING, "low_memory": False}, tuple(_notes(rows[0] if rows else []))


def _head(place: str, encoding: str) -> str:
    """Return the start of a file; read all of it, to check the encoding."""
    with _open(place) as file, TextIOWrapper(file, encoding, newline="") as characters:
        head = characters.read(HEAD).removeprefix("\ufeff")
        while characters.read(HEAD):
            pass
    return head


def _padded(rows: list[list[str]]) -> list[str]:
    """Return the headers of columns with leading zeros, which are codes: 00123 is not 123."""
    headers, *others = rows or [[]]
    codes = [
        [re.fullmatch(r"0\d+", one.strip()) for one in row] for row in others if len(row) == len(headers)
    ]
    return [
        header
        for place, header in enumerate(headers)
        if headers.count(header) == 1 and any(row[place] for row in codes)
    ]


def _notes(headers: list[str]) -> Iterator[str]:
    """Yield notes on how pandas renames empty or duplicate headers."""
    for place, header in enumerate(headers):
        if not header.strip():
            yield f"Column {place + 1} has no header: it is read as 'Unnamed: {place}'."
        elif again := headers[:place].count(header):
            times, name = again + 1, f"{header}.{again}"
            yield f"The header {header!r} stands {times} times: column {place + 1} is read as {name!r}."


def _require_even(place: str, rows: list[list[str]], before: int) -> None:
    """Raise a UserError for a row with more fields than headers, which shifts columns, or fewer."""
    headers, *others = rows or [[]]
    longer = [number for number, row in enumerate(others, 2) if len(row) > len(headers)]
    if longer and len(longer) < len(others):  # if all rows have one more, it is an index
        row = others[longer[0] - 2]
        raise UserError(
            f"{redacted(place)}: line {before + longer[0]} has {len(row)} fields, the headers are "
            f"{len(headers)}. Fix that line: a field with a separator in it needs quotes around it."
        )
    whole = others[:-1]  # the last may be truncated, as only the start was read
    shorter = [number for number, row in enumerate(whole, 2) if 1 < len(row) < len(headers)]
    if shorter and len(shorter) < len(whole):
        raise UserError(
            f"{redacted(place)}: line {before + shorter[0]} has {len(others[shorter[0] - 2])} fields, the "
            f"headers are {len(headers)}. Fix that line: it has been cut off, or it needs its separators."
        )


def _open(place: str) -> Any:
    """Open a local or remote file for reading bytes, decompressed."""
    import fsspec

    if place.startswith(BUCKETS):  # with pyarrow, which avoids the dependencies of s3fs and gcsfs
        files, path = bucket(place)
        return files.open_input_stream(path)
    return fsspec.open(place, "rb", compression=_compression(place))


def _compression(place: str) -> str | None:
    from fsspec.utils import infer_compression

    found: str | None = infer_compression(place.partition("?")[0])
    return found


def _without_preamble(head: str) -> tuple[int, str]:
    """Return the number of comment lines before the headers, and the text without them."""
    lines = head.splitlines(keepends=True)
    before = next((place for place, line in enumerate(lines) if not re.match(REMARK, line, re.IGNORECASE)), 0)
    if before and lines[before - 1].startswith("#"):  # maybe the headers, the first of which starts with #
        counts = [[line.count(one) for one in SEPARATORS] for line in lines[before - 1 : before + 1]]
        before -= any(counts[0]) and counts[0] == counts[1]
    return before, "".join(lines[before:])


def _separator(head: str) -> str:
    """Return the separator that splits most lines into as many fields as the first line, but at least two.

    DuckDB's sniffer would find the same, but reads neither Windows' encodings nor UTF-16, nor columns that
    spaces align.
    """
    found: dict[str, tuple[float, int]] = {}
    for one in SEPARATORS:
        rows = [fields for fields in _fields(head, one) if fields]
        found[one] = (_evenness(rows), len(rows[0])) if rows and len(rows[0]) > 1 else (0, 0)
    best = max(found, key=found.__getitem__)
    words = {len(line.split()) for line in head.splitlines()[:-1] if line.strip()}
    aligned = not any(found[best]) and len(words) == 1 and words != {1}
    return SPACES if aligned else best


def _ends_in_separators(rows: list[list[str]]) -> bool:
    """Return whether each row, but not the header, ends with a separator."""
    headers, *others = rows or [[]]
    whole = others[:-1] or others
    return bool(whole) and all(len(row) == len(headers) + 1 and not row[-1].strip() for row in whole)


def _evenness(rows: list[list[str]]) -> float:
    """Return the share of the rows with as many fields as the first."""
    return sum(len(row) == len(rows[0]) for row in rows) / max(len(rows), 1)


def _fields(head: str, separator: str, escape: str | None = None) -> list[list[str]]:
    one = separator if separator in SEPARATORS else " "
    return list(csv.reader(StringIO(head, newline=""), delimiter=one, escapechar=escape))


def _database(source: str) -> Reader:
    from sqlalchemy import inspect

    url, _, what = source.partition("#")
    if not what:
        raise UserError(
            f"{redacted(source)} names no table: write database-url#table or database-url#select ..."
        )
    engine = connect(url)
    place = engine.url.database or ""
    if engine.dialect.name == "sqlite" and not place.startswith("file:") and not Path(place).exists():
        raise UserError(f"There is no {place}. Name an existing database.")  # connecting would create it
    body = ['url, _, table = source.partition("#")  # or a query', "return pd.read_sql(table, connect(url))"]
    if not (re.match(r"\s*(select|with)\s", what, re.IGNORECASE) or inspect(engine).has_table(what)):
        schema, _, table = what.rpartition(".")
        body[-1] = f"return pd.read_sql_table({table!r}, connect(url), schema={schema or None!r})"
        body[0] = 'url = source.partition("#")[0]'
    return Reader(tuple(body), ("from fivestage.common.database import connect",), '"#" not in source')


def _example(name: str) -> Reader:
    from sklearn import datasets

    load: Any = getattr(datasets, f"load_{name}", None)
    if load is None:
        known = sorted(one.removeprefix("load_") for one in dir(datasets) if one.startswith("load_"))
        raise UserError(f"scikit-learn brings no table {name!r}; it has {', '.join(known)}.")
    found = load(as_frame=True)
    body = [f"bunch = load_{name}(as_frame=True)", "return pd.DataFrame(bunch.frame)"]
    if "target" in found.frame and len(getattr(found, "target_names", ())) > 1:
        body[-1] += ".assign(target=bunch.target_names[bunch.target])"
    return Reader(tuple(body), (f"from sklearn.datasets import load_{name}",), "source != DATA")

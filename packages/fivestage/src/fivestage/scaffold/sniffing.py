"""Find the code that reads a table; it is run here and written into `problem/dataset.py`."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO, TextIOWrapper
from pathlib import Path
from statistics import mode
from typing import Any

import pandas as pd

from fivestage.common.database import connect, redacted
from fivestage.common.errors import UserError
from fivestage.data.source import PARQUET, Source
from fivestage.reporting.number_format import plural

MISSING = ["?", "-", "--", "none", "NONE", "\\N", "(null)"]  # in addition to pandas' own
ENCODINGS = ("utf-8", "cp1252", "latin-1")
WORKBOOK = "a workbook or an archive: save its table as CSV or Parquet"
WEB_PAGE = "a web page, perhaps the login page of a site: download the table itself"
JSON_FILE = "JSON: let its name end in .json, or .jsonl if each line is an object"
NO_TEXT = {  # first bytes of other file types, and how to fix it
    b"pk\x03\x04": WORKBOOK,
    b"\xd0\xcf\x11\xe0": WORKBOOK,
    b"%pdf": "a PDF: save its table as CSV or Parquet",
    b'{"': JSON_FILE,
    b"[{": JSON_FILE,
    b"<!doctype html": WEB_PAGE,
    b"<html": WEB_PAGE,
    b"sqlite format 3": "a database: write sqlite:///path/to/it#table",
    b"par1": "Parquet: let its name end in .parquet",
    b"\x1f\x8b": "compressed: let its name end in .gz",
}
LONGEST_START = 32  # bytes
NOT_READ = {
    ".xlsx", ".xls", ".ods", ".xml", ".html", ".feather", ".avro", ".orc", ".arff", ".dta", ".sav",
    ".sas7bdat", ".rds", ".mat", ".h5", ".npz", ".pkl",
}  # fmt: skip
LINES_OF_JSON = {".json": False, ".jsonl": True, ".ndjson": True}  # whether each line is an object
SEPARATORS = ",;\t|"
SPACES = {" ": r"\s+"}  # the separator of columns that spaces align, for pandas
COMMA = r"-?\d{1,3}(\.?\d{3})*,\d{1,2}-?"  # a number with a decimal comma
THOUSANDS = r"-?\d{1,3}(\.\d{3})+-?"  # a whole number, if points separate thousands
HEAD = 64 * 1024  # characters that are inspected
MOST_NAMED = 3  # columns that a file of a folder lacks
BUCKETS = ("s3://", "gs://", "gcs://")
EXAMPLE = "sklearn:"
IMPORTS = (  # of which the code of a reader uses some
    "import pandas as pd",
    "from sklearn import datasets",
    "from fivestage.common.database import connect",
    "from fivestage.common.settings import ROOT",
    "from fivestage.data.source import Source, with_partitions",
)
# First arguments of pandas' readers for a file, a file of a folder, a URL and a bucket: of text, of Parquet.
FILE = ("ROOT / source", "ROOT / source")
FILE_OF_FOLDER = ("path", "path, partitioning=None")
URL = ("source", "source")
BUCKET = ("files.open_input_stream(path)", "path, filesystem=files")


@dataclass(frozen=True)
class Reader:
    """The code of a function that reads a source."""

    body: tuple[str, ...]  # its lines; the argument is `source`, the result a DataFrame
    otherwise: str = ""  # condition under which `source` is a file of another kind, to be scored
    notes: tuple[str, ...] = ()  # sentences about what reading changes
    headers: tuple[str, ...] = ()  # of a text file

    def read(self, source: str) -> pd.DataFrame:
        """Run the code.

        Raises:
            UserError: If the source cannot be read or has no rows.
        """
        names: dict[str, Any] = {}
        lines = [*IMPORTS, "def read(source):", *(f"    {line}" for line in self.body)]
        exec("\n".join(lines), names)  # noqa: S102 (text of this module, values by their repr)
        with Source(source).reading():
            try:
                table: pd.DataFrame = names["read"](source)
            except pd.errors.EmptyDataError:
                table = pd.DataFrame()
        if table.empty:
            raise UserError(f"{redacted(source)} has no rows. Name a table with rows.")
        return table


def find_reader(source: str) -> tuple[Reader, pd.DataFrame]:
    """Return the reader for a source, and the table that it reads."""
    with Source(source).reading():
        reader = _reader(source)
    table = reader.read(source)
    more: list[str] = []
    numbered = not any(table.index.names) and pd.api.types.is_integer_dtype(table.index)
    if not numbered:  # files written by pandas may have an index
        more.append("table = table.reset_index()")
        table = table.reset_index(allow_duplicates=True)
    elif not table.index.equals(pd.RangeIndex(len(table))):  # as of frames that were joined or filtered
        more.append("table = table.reset_index(drop=True)")
        table = table.reset_index(drop=True)
    if any(
        isinstance(value, dict) for _, values in table.items() if values.dtype == object for value in values
    ):
        more.append('table = pd.json_normalize(table.to_dict("records"))  # nested fields become columns')
        records: list[Any] = table.to_dict("records")
        table = pd.json_normalize(records)
    if not all(isinstance(header, str) for header in table.columns):
        more.append("table.columns = table.columns.map(str)")
        table.columns = table.columns.map(str)
    duplicates = table.columns[table.columns.duplicated()]
    if len(duplicates):
        raise UserError(f"{redacted(source)} has two columns {duplicates[0]!r}: give each a name of its own.")
    if more:
        *before, last = reader.body
        body = (*before, last.replace("return ", "table = ", 1), *more, "return table")
        reader = replace(reader, body=body)
    return reader, table


def _reader(source: str) -> Reader:
    if source.startswith(EXAMPLE):
        return _example(source.removeprefix(EXAMPLE))
    place = Source(source).path
    if place is None:
        return _address(source)
    if not place.exists():
        absolute = "" if str(place) == source else f" ({place})"
        raise UserError(f"There is no {source}{absolute}. Name a file, a folder, or a URL.")
    files = Source(source).files()
    partitioned = any("=" in folder for path in files for folder in path.parent.parts)
    if not (place.is_dir() or partitioned):
        return _file(str(place), FILE)
    if not files:
        raise UserError(f"The folder {source} holds no .parquet, .csv or .jsonl files.")
    found = [_file(str(path), FILE_OF_FOLDER) for path in files]
    readers = {reader.body[-1]: reader for reader in found}
    if len(readers) > 1:
        raise UserError(
            f"The files of {source} are not alike: {' and '.join(sorted(readers)[:2])}. Convert them to one "
            "format."
        )
    ((code, reader),) = readers.items()
    call = code.removeprefix("return ")
    call = f"with_partitions({call}, path)" if partitioned else call
    frames = f"frames = [{call} for path in Source(source).files()]"
    notes = (*reader.notes, *_uneven_files([path.name for path in files], found))
    return replace(reader, body=(frames, "return pd.concat(frames, ignore_index=True)"), notes=notes)


def _uneven_files(names: Sequence[str], readers: Sequence[Reader]) -> Iterator[str]:
    """Yield a note if files lack columns that others have: they may hold another table."""
    every = dict.fromkeys(header for one in readers for header in one.headers)
    lacking = [[header for header in every if header not in one.headers] for one in readers]
    if many := sum(map(bool, lacking)):
        name, columns = max(zip(names, lacking, strict=True), key=lambda one: len(one[1]))
        shown = ", ".join(map(repr, columns[:MOST_NAMED])) + (
            " and more" if len(columns) > MOST_NAMED else ""
        )
        yield (
            f"{plural(many, 'file lacks', 'files lack')} columns that others have: {name} has no {shown}. "
            "Their rows are read without; move a file that holds another table elsewhere."
        )


def _address(source: str) -> Reader:
    from fsspec import available_protocols

    if source.partition("://")[0] not in available_protocols():
        return _database(source)
    if not source.startswith(BUCKETS):
        return _file(source, URL)
    reader = _file(source, BUCKET)
    return replace(
        reader, body=("files, path = Source(source).bucket()", *reader.body), otherwise='"://" not in source'
    )


def _file(place: str, arguments: tuple[str, str]) -> Reader:
    suffix = Path(place.partition("?")[0].removesuffix(".gz")).suffix.lower()
    if suffix in PARQUET or (arguments == BUCKET and not suffix):  # without: a folder of such files
        return Reader((f"return pd.read_parquet({arguments[1]})",), 'source.endswith(".csv")')
    if suffix in NOT_READ:
        raise UserError(f"{place} is {suffix[1:]}, which is not read: save it as CSV or Parquet.")
    if suffix in LINES_OF_JSON:
        lines = ", lines=True" if LINES_OF_JSON[suffix] else ""
        body = f"return pd.read_json({arguments[0]}{lines}, dtype=False, convert_dates=False)"
        return Reader((body,), 'source.endswith((".csv", ".parquet"))')
    with _open(place) as file:
        start = file.read(LONGEST_START)
    for beginning, kind in NO_TEXT.items():
        if start.lstrip().lower().startswith(beginning):
            raise UserError(f"{redacted(place)} is no text but {kind}.")
    for encoding in _encodings(start):
        try:
            options, notes, headers = _csv_options(place, encoding)
        except UnicodeDecodeError:
            continue
        break
    words = ", ".join([arguments[0], *(f"{name}={value!r}" for name, value in options.items())])
    return Reader((f"return pd.read_csv({words})",), 'source.endswith(".parquet")', notes, headers)


def _encodings(start: bytes) -> tuple[str, ...]:
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return ("utf-16",)
    if b"\0" in start[:2]:  # UTF-16 without a byte-order mark
        return ("utf-16-be" if start[:1] == b"\0" else "utf-16-le",)
    return ENCODINGS


@dataclass(frozen=True)
class _Layout:
    """The start of a text file, divided into fields by one separator."""

    options: dict[str, str]  # of csv.reader
    skipped: int  # lines before the headers
    headers: list[str]
    rows: dict[int, list[str]]  # fields of the rows below, by line number
    evenness: float  # share of the rows that have the most common number of fields
    index: bool  # whether the rows begin with a field that has no header

    @property
    def rank(self) -> tuple[bool, bool, int, float, int]:
        """Order by plausibility: a decimal comma, unlike the separator, is not in the headers."""
        even = self.evenness > 0.5  # noqa: PLR2004 (most rows)
        return even, not self.index, -self.skipped, self.evenness, len(self.headers)


def _layout(head: str, **options: str) -> _Layout:
    """Divide the lines into fields; headers are the first line that has at least half of the fields."""
    reader = csv.reader(StringIO(head, newline=""), skipinitialspace=True, **options)  # type: ignore[arg-type]
    numbered = ((reader.line_num, fields) for fields in reader)
    rows = {line: fields for line, fields in numbered if fields}
    if rows and len(head) >= HEAD:  # only the start was read, and the last row of it is not complete
        rows.popitem()
    width = mode(map(len, rows.values())) if rows else 0
    skipped, headers = 0, []
    for line in list(rows):
        headers = rows.pop(line)
        remark = headers[0].lower().startswith("sep=") or (headers[0][:1] == "#" and len(headers) != width)
        if not remark and 2 * sum(bool(field.strip()) for field in headers) >= width:
            break
        skipped = line
    even = sum(len(fields) == width for fields in rows.values()) / max(len(rows), 1)
    more = width - len(headers)  # one, of an index, or of separators behind the last field
    index = more == 1 and any(fields[-1].strip() for fields in rows.values() if len(fields) == width)
    return _Layout(options, skipped, headers, rows, even if more in (0, 1) else 0.0, index)


def _best_layout(head: str) -> _Layout:
    """Divide a text by the separator under which most rows have as many fields as the headers.

    DuckDB's sniffer would find the same, but reads neither Windows' encodings nor UTF-16, nor columns that
    spaces align.
    """
    layouts = [layout for one in SEPARATORS if len((layout := _layout(head, delimiter=one)).headers) > 1]
    if not layouts:
        spaced = _layout(head, delimiter=" ")
        aligned = spaced.evenness == 1 and len(spaced.headers) > 1
        return spaced if aligned else _layout(head, delimiter=SEPARATORS[0])
    best = max(layouts, key=lambda layout: layout.rank)
    escaped = _layout(head, **best.options, escapechar="\\")
    return max(best, escaped, key=lambda layout: layout.rank)


def _csv_options(place: str, encoding: str) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Return the non-default arguments of `pandas.read_csv`, notes for the user, and the headers."""
    head = _head(place, encoding)
    layout = _best_layout(head)
    headers, rows = layout.headers, list(layout.rows.values())
    separator = layout.options["delimiter"]
    options: dict[str, Any] = {} if separator == "," else {"sep": SPACES.get(separator, separator)}
    options |= {"escapechar": layout.options["escapechar"]} if "escapechar" in layout.options else {}
    if encoding != "utf-8":
        options["encoding"] = encoding
    if layout.skipped:
        options["skiprows"] = layout.skipped
    first = [*StringIO(head), ""][layout.skipped]
    if separator not in SPACES and re.search(rf"(^|[{separator}]) ", first):
        options["skipinitialspace"] = True
    if re.match(r"[^\r\n]*\n", head):  # a carriage return may then be part of a field
        options["lineterminator"] = "\n"
    complete = rows[:-1] or rows  # the last may hold totals
    if complete and all(len(row) == len(headers) + 1 and not row[-1].strip() for row in complete):
        options |= {"index_col": False, "usecols": [*range(len(headers))]}
    elif separator not in SPACES:
        _require_even(place, layout)
    if texts := _texts(headers, rows):
        options["dtype"] = dict.fromkeys(texts, "str")
    if "?" in place and not place.startswith(BUCKETS) and (compression := _compression(place)):
        options["compression"] = compression
    notes = [*_notes_of_encoding(head, encoding), *_notes(headers, layout.skipped)]
    return options | {"na_values": MISSING, "low_memory": False}, tuple(notes), tuple(headers)


def _head(place: str, encoding: str) -> str:
    """Return the start of a file; read all of it, to check the encoding."""
    with _open(place) as file, TextIOWrapper(file, encoding, newline="") as characters:
        head = characters.read(1).removeprefix("\ufeff") + characters.read(HEAD)
        while characters.read(HEAD):
            pass
    return head


def _texts(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the headers of columns that pandas would take for other numbers.

    These are codes with leading zeros, as 00123 is not 123; identifiers with more digits than a float has;
    and 1.234 if other columns have decimal commas.
    """
    columns = [*zip(*(row for row in rows if len(row) == len(headers)), strict=True)]
    commas = any(re.fullmatch(COMMA, field.strip()) for column in columns for field in column)
    form = rf"0\d+|\d{{16,}}|{THOUSANDS}" if commas else r"0\d+|\d{16,}"
    texts = [any(re.fullmatch(form, field.strip()) for field in column) for column in columns]
    return [name for name, one in zip(headers, texts, strict=False) if one and headers.count(name) == 1]


def _notes_of_encoding(head: str, encoding: str) -> Iterator[str]:
    """Yield a note if the encoding is a guess: any bytes are legal in several."""
    words = dict.fromkeys(re.findall(r"[^\W\d_]*[^\x00-\x7f][^\W\d_]*", head))
    if words and encoding in ENCODINGS[1:]:
        examples = ", ".join(map(repr, list(words)[:3]))
        yield (
            f"The file is not UTF-8, so it is read as {encoding}: {examples}. If these letters are wrong, "
            "save it as UTF-8 and run `make init` again."
        )


def _notes(headers: Sequence[str], skipped: int) -> Iterator[str]:
    """Yield notes on lines before the headers, and how pandas renames empty or duplicate headers."""
    if skipped:
        yield f"The first {plural(skipped, 'line')} are skipped: the headers are below."
    for place, header in enumerate(headers):
        if not header.strip():
            yield f"Column {place + 1} has no header: it is read as 'Unnamed: {place}'."
        elif again := headers[:place].count(header):
            times, name = again + 1, f"{header}.{again}"
            yield f"The header {header!r} stands {times} times: column {place + 1} is read as {name!r}."


def _require_even(place: str, layout: _Layout) -> None:
    """Raise a UserError for a row with more fields than headers, which shifts columns, or fewer."""
    width, lines = len(layout.headers), layout.rows
    complete = list(lines)[:-1]  # the last may hold totals
    longer = {line: len(fields) for line, fields in lines.items() if len(fields) > width}
    shorter = {line: len(lines[line]) for line in complete if 1 < len(lines[line]) < width}
    is_index = len(longer) >= len(complete) and set(longer.values()) == {width + 1}
    if longer and not is_index:
        fix = "a field with a separator in it needs quotes around it"
    elif shorter and len(shorter) < len(complete):  # else pandas adds the missing fields
        fix = "it has been cut off, or it needs its separators"
    else:
        return
    line, fields = next(iter((shorter if is_index else longer or shorter).items()))
    raise UserError(
        f"{redacted(place)}: line {line} has {fields} fields, the headers are {width}. Fix that line: {fix}."
    )


def _open(place: str) -> Any:
    """Open a local or remote file for reading bytes, decompressed."""
    import fsspec

    if place.startswith(BUCKETS):  # with pyarrow, which avoids the dependencies of s3fs and gcsfs
        files, path = Source(place).bucket()
        return files.open_input_stream(path)
    return fsspec.open(place, "rb", compression=_compression(place))


def _compression(place: str) -> str | None:
    from fsspec.utils import infer_compression

    compression: str | None = infer_compression(place.partition("?")[0])
    return compression


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
    return Reader(tuple(body), '"#" not in source')


def _example(name: str) -> Reader:
    from sklearn import datasets

    load: Any = getattr(datasets, f"load_{name}", None)
    if load is None:
        known = sorted(one.removeprefix("load_") for one in dir(datasets) if one.startswith("load_"))
        raise UserError(f"scikit-learn has no table {name!r}; it has {', '.join(known)}.")
    bunch = load(as_frame=True)
    body = [f"bunch = datasets.load_{name}(as_frame=True)", "return pd.DataFrame(bunch.frame)"]
    if "target" in bunch.frame and len(getattr(bunch, "target_names", ())) > 1:
        body[-1] += ".assign(target=bunch.target_names[bunch.target])"
    return Reader(tuple(body), "source != DATA")

"""One table from wherever it is: a file, a folder of files, a bucket, a database, or an example."""

import csv
import hashlib
import re
import warnings
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd

from fivestage.common.database import connect, named
from fivestage.common.errors import UserError
from fivestage.common.files import digest_of_files
from fivestage.common.settings import ROOT

MISSING = ("", "?", "-", "--", "none", "NONE")  # beside pandas' own
ENCODINGS = ("utf-8-sig", "cp1252")
WIDE = (b"\xff\xfe", b"\xfe\xff")  # how UTF-16 starts
NO_TEXT = {  # how other files start, and what is to be done
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
UNREAD = {
    ".xlsx",
    ".xls",
    ".ods",
    ".json",
    ".jsonl",
    ".xml",
    ".html",
    ".feather",
    ".avro",
    ".orc",
    ".dta",
    ".sav",
}
SEPARATORS = ",;\t|"
REMARK = r"#|sep=|\s*$"  # how a line starts that comes before the headers
HEAD = 64 * 1024  # characters that are looked at
PARQUET = {".parquet", ".pq"}
BUCKETS = ("s3://", "gs://", "gcs://")
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # of a folder whose rows have none
EXAMPLE = "sklearn:"
IN_MEMORY = 256 * 2**20  # bytes of files: a folder of more is read file by file
TABLES = {".csv", ".tsv", ".txt"} | PARQUET


def read_table(source: str) -> pd.DataFrame:
    """The table of a source, columns as they are named there; numbers and booleans typed, the rest text.

    `file.csv` (also .tsv, compressed, other separators and encodings), `file.parquet`, a folder of either,
    `s3://bucket/key`, `gs://...` or `https://...` by fsspec, `database-url#table`, `database-url#select ...`,
    and `sklearn:wine`, a table that scikit-learn brings. Relative paths start at the project.

    Raises:
        UserError: when there is no such source, or it holds no table.
    """
    try:
        frame = _read(source)
    except UserError:
        raise
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame()
    except ImportError as error:
        raise UserError(f"{named(source)} needs a library that is not installed: {error}.") from error
    except Exception as error:  # whatever a driver, a file system or a parser raises
        why = " ".join(str(_first_cause(error)).split()).rstrip(".")
        raise UserError(
            f"{named(source)} cannot be read as a table: {why}. Mend it, or name another."
        ) from error
    if frame.empty:
        raise UserError(f"{named(source)} holds no rows. Name a table that has some.")
    if any(frame.index.names):  # a file that pandas has written keeps it apart
        frame = frame.reset_index(allow_duplicates=True)
    frame.columns = _headers(frame.columns)
    return pd.DataFrame({name: _plain(frame[name]) for name in frame}).reset_index(drop=True)


def _first_cause(error: BaseException) -> BaseException:
    """What a driver or a file system said, before libraries spoke of it."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return _first_cause(before) if before else error


def digest_of(source: str) -> str:
    """SHA-256 of what a source holds: of its files here, else of the table that it gives."""
    place = _local(source)
    if place is None or not place.exists():
        frame = read_table(source)
        hashed = pd.util.hash_pandas_object(frame.astype("str"), index=False).to_numpy()
        return hashlib.sha256(hashed.tobytes() + ",".join(frame.columns).encode()).hexdigest()
    return digest_of_files(place, _parts(place) if place.is_dir() else [place])


def parts_of(source: str) -> tuple[str, ...]:
    """The files of a folder, each a table of its own, when all at once could be too much for memory."""
    place = _local(source)
    files = _parts(place) if place is not None and place.is_dir() else []
    large = len(files) > 1 and sum(path.stat().st_size for path in files) > IN_MEMORY
    return tuple(map(str, files)) if large else ()


def _headers(columns: pd.Index) -> list[str]:
    """Headers as texts, trimmed; one that stands twice is numbered."""
    headers: list[str] = []
    for place, column in enumerate(columns, 1):
        header = bare = str(column).strip() or f"column {place}"
        again = 1
        while header in headers:
            header, again = f"{bare}.{again}", again + 1
        headers.append(header)
    return headers


def _plain(values: pd.Series) -> pd.Series:
    """A column of any type as numbers, booleans, moments or texts; what is none of them as the text of it."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _plain(values.astype(values.cat.categories.dtype))
    if pd.api.types.is_timedelta64_dtype(values):
        seconds: pd.Series = values.dt.total_seconds()
        return seconds
    if not pd.api.types.is_object_dtype(values):
        return values
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "decimal":
        return values.astype("float64")
    if kind == "date":
        return pd.to_datetime(values, errors="coerce")
    return values if kind in ("string", "boolean") else values.map(str, na_action="ignore").astype("str")


def _read(source: str) -> pd.DataFrame:
    if source.startswith(EXAMPLE):
        return _example(source.removeprefix(EXAMPLE))
    place = _local(source)
    if place is None:
        scheme = source.partition("://")[0]
        return _file(source) if _is_file_system(scheme) else _query(source)
    if not place.exists():
        raise UserError(f"There is no {source} ({place}). Name a file, a folder, or a URL.")
    if place.is_dir():
        parts = _parts(place)
        if not parts:
            raise UserError(f"The folder {source} holds no .parquet and no .csv files.")
        return pd.concat([_part(part) for part in parts], ignore_index=True)
    return _part(place)


def _local(source: str) -> Path | None:
    if "://" in source or source.startswith(EXAMPLE):
        return None
    return ROOT / Path(source).expanduser()


def _is_file_system(scheme: str) -> bool:
    from fsspec import available_protocols

    return scheme in available_protocols()


def _parts(folder: Path) -> list[Path]:
    found = [
        path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith((".", "_"))
    ]
    return [path for path in found if TABLES & set(path.suffixes)]


def _part(path: Path) -> pd.DataFrame:
    """A file with what the folders around it say of its rows, such as `region=north`."""
    frame = _file(str(path))
    for folder in path.parent.parts:
        name, equals, value = (unquote(one) for one in folder.partition("="))
        if name and equals and name not in frame:
            frame[name] = None if value == NO_VALUE else value
    return frame


def _file(place: str) -> pd.DataFrame:
    suffix = Path(place.partition("?")[0]).suffix.lower()
    if place.startswith(BUCKETS) and (suffix in PARQUET or not suffix):  # or a folder of such files
        from pyarrow.parquet import read_table as read_parquet

        files, path = _bucket(place)
        frame: pd.DataFrame = read_parquet(path, filesystem=files).to_pandas()
        return frame
    if suffix in PARQUET:
        return pd.read_parquet(place)
    if suffix in UNREAD:
        raise UserError(f"{place} is {suffix[1:]}, which is not read: save it as CSV or Parquet.")
    with _open(place) as file:
        start = file.read(LONGEST_START)
    if start[:2] in WIDE:
        return _text(place, "utf-16")
    if b"\0" in start[:2]:  # the same, and nothing says so
        return _text(place, "utf-16-be" if start[:1] == b"\0" else "utf-16-le")
    for beginning, what in NO_TEXT.items():
        if start.lstrip().lower().startswith(beginning):
            raise UserError(f"{named(place)} is no text but {what}.")
    for encoding in ENCODINGS:
        try:
            return _text(place, encoding)
        except UnicodeDecodeError:
            continue
    return _text(place, "latin-1")


def _open(place: str) -> Any:
    """A file to be read as bytes, decompressed, wherever it is."""
    import fsspec

    if place.startswith(BUCKETS):  # by the library that reads Parquet: s3fs and gcsfs are many more
        from fsspec.implementations.arrow import ArrowFSWrapper

        files, path = _bucket(place)
        opened = fsspec.core.OpenFile(ArrowFSWrapper(files), path, compression=_compression(path))
    else:
        opened = fsspec.open(place, "rb", compression=_compression(place))
    return opened


def _bucket(place: str) -> tuple[Any, str]:
    """The file system of a bucket's URL, and the path in it; Google's would try for minutes."""
    from pyarrow.fs import FileSystem

    patience = "" if place.startswith("s3://") else f"{'&' if '?' in place else '?'}retry_limit_seconds=20"
    files, path = FileSystem.from_uri(place + patience)
    return files, path


def _compression(place: str) -> str | None:
    from fsspec.utils import infer_compression

    found: str | None = infer_compression(place.partition("?")[0])
    return found


def _text(place: str, encoding: str) -> pd.DataFrame:
    with _open(place) as file, TextIOWrapper(file, encoding, newline="") as characters:
        before, head = _without_preamble(characters.read(HEAD))
    separator = _separator(head)
    with _open(place) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.ParserWarning)  # of fields behind the last separator
        return pd.read_csv(
            file,
            sep=separator,
            encoding=encoding,
            na_values=list(MISSING),
            low_memory=False,
            skiprows=before,
            lineterminator=_newline(head),
            index_col=False if _ends_in_separators(head, separator) else None,
        )


def _newline(head: str) -> str | None:
    """What ends the lines, where that is not told from what else may: a carriage return can be in a field."""
    first = re.search(r"\r\n?|\n", head)
    return "\n" if first and first[0] == "\n" else None


def _without_preamble(head: str) -> tuple[int, str]:
    """How many lines of remarks come before the headers, and the text without them."""
    lines = head.splitlines(keepends=True)
    before = next((place for place, line in enumerate(lines) if not re.match(REMARK, line, re.IGNORECASE)), 0)
    if before and lines[before - 1].startswith("#"):  # perhaps headers, of which the first starts so
        counts = [[line.count(one) for one in SEPARATORS] for line in lines[before - 1 : before + 1]]
        before -= any(counts[0]) and counts[0] == counts[1]
    return before, "".join(lines[before:])


def _separator(head: str) -> str:
    """What parts most lines into as many fields as the first one, and into more than one."""
    found: dict[str, tuple[float, int]] = {}
    for one in SEPARATORS:
        widths = [len(fields) for fields in _fields(head, one) if fields]
        alike = sum(width == widths[0] for width in widths) / max(len(widths), 1)
        found[one] = (alike, widths[0]) if widths and widths[0] > 1 else (0, 0)
    best = max(found, key=found.__getitem__)
    words = {len(line.split()) for line in head.splitlines()[:-1] if line.strip()}
    aligned = not any(found[best]) and len(words) == 1 and words != {1}
    return r"\s+" if aligned else best


def _ends_in_separators(head: str, separator: str) -> bool:
    """Whether each row, but not the headers, has a separator behind its last field."""
    headers, *rows = [fields for fields in _fields(head, separator) if fields] or [[]]
    whole = rows[:-1] or rows
    return bool(whole) and all(len(row) == len(headers) + 1 and not row[-1].strip() for row in whole)


def _fields(head: str, separator: str) -> list[list[str]]:
    one = separator if separator in SEPARATORS else " "
    return list(csv.reader(StringIO(head, newline=""), delimiter=one))


def _query(source: str) -> pd.DataFrame:
    from sqlalchemy import inspect, text

    url, _, what = source.partition("#")
    if not what:
        raise UserError(
            f"{named(source)} names no table: write database-url#table or database-url#select ..."
        )
    engine = connect(url)
    place = engine.url.database or ""
    if engine.dialect.name == "sqlite" and not place.startswith("file:") and not Path(place).exists():
        raise UserError(f"There is no {place}. Name a database that is there.")  # or it would be made
    if re.match(r"\s*(select|with)\s", what, re.IGNORECASE):
        with engine.connect() as connection:
            return pd.read_sql_query(text(what), connection)
    schema, _, table = ("", "", what) if inspect(engine).has_table(what) else what.rpartition(".")
    return pd.read_sql_table(table, engine, schema=schema or None)


def _example(name: str) -> pd.DataFrame:
    from sklearn import datasets

    load: Any = getattr(datasets, f"load_{name}", None)
    if load is None:
        known = sorted(one.removeprefix("load_") for one in dir(datasets) if one.startswith("load_"))
        raise UserError(f"scikit-learn brings no table {name!r}; it has {', '.join(known)}.")
    found = load(as_frame=True)
    frame: pd.DataFrame = found.frame
    if "target" in frame and hasattr(found, "target_names") and len(found.target_names) > 1:
        frame["target"] = pd.Series(found.target_names)[frame["target"]].to_numpy()
    return frame

"""Data sources of `problem/dataset.py`: files, folders, buckets and databases."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd

from fivestage.common.database import redacted
from fivestage.common.errors import UserError
from fivestage.common.files import digest_of_files
from fivestage.common.settings import ROOT

PARQUET = {".parquet", ".pq"}
TABLES = {".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson"} | PARQUET
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # marks a partition without a value in Hive's folder names
IN_MEMORY = 256 * 2**20  # bytes; larger folders are read file by file


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Turn the errors of parsers, drivers and file systems into a `UserError` about the source.

    Args:
        source: a path or URL; messages show it without its password.

    Yields:
        None, while the source is read.

    Raises:
        UserError: when the source cannot be read, or lacks a column.
    """
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        header = str(error.args[0]).removesuffix(" not in index")
        raise UserError(
            f"{redacted(source)} has no column {header}. Add it, or correct problem/dataset.py, which names "
            "the columns to read and the separator (sep)."
        ) from error
    except ImportError as error:
        raise UserError(f"{redacted(source)} needs a library that is not installed: {error}.") from error
    except Exception as error:
        reason = " ".join(str(_first_cause(error)).split()).rstrip(".")
        absent = isinstance(error, FileNotFoundError) and local_path(source) is not None
        where = (
            " FIVESTAGE_DATA names the project's own table where it is in another place." if absent else ""
        )
        raise UserError(
            f"{redacted(source)} cannot be read as a table: {reason}. Fix it, or choose another source."
            f"{where}"
        ) from error


def _first_cause(error: BaseException) -> BaseException:
    """The original error of a driver or a file system, which libraries have wrapped."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return _first_cause(cause) if cause else error


def read_file(source: str) -> pd.DataFrame:
    """Read a Parquet file or a comma-separated CSV file.

    Args:
        source: a path, relative to the project, or a URL; `.parquet` and `.pq` are Parquet, all others CSV.

    Returns:
        The table with the file's headers.

    Raises:
        OSError: when the file cannot be opened; within `reading`, a UserError.
        ValueError: when the file cannot be parsed; within `reading`, a UserError.
    """
    path = source if "://" in source else ROOT / Path(source).expanduser()
    return pd.read_parquet(path) if Path(source).suffix in PARQUET else pd.read_csv(path, low_memory=False)


def local_path(source: str) -> Path | None:
    """The path of a local file or folder, relative to the project; None for a URL."""
    return None if "://" in source or source.startswith("sklearn:") else ROOT / Path(source).expanduser()


def files_of(source: str) -> list[Path]:
    """The files of a table: all files in a folder and its subfolders, or the single file.

    JSON files are left out if there are others, which they often describe (`dataset-metadata.json`).
    """
    root = ROOT / Path(source).expanduser()
    if not root.is_dir():
        return [root]
    files = [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith((".", "_")) and TABLES & set(path.suffixes)
    ]
    return [path for path in files if ".json" not in path.suffixes] or files


def with_partitions(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Add the columns that are encoded in the names of a file's folders, such as `region=north`."""
    pairs = (map(unquote, folder.split("=", 1)) for folder in path.parent.parts if "=" in folder)
    columns = {name: None if value == NO_VALUE else value for name, value in pairs}
    return frame.assign(**{name: value for name, value in columns.items() if name and name not in frame})


def parts_of(source: str) -> tuple[str, ...]:
    """The files of a folder that is too large to load at once, one part each; else none."""
    folder = local_path(source)
    files = files_of(source) if folder is not None and folder.is_dir() else []
    large = len(files) > 1 and sum(path.stat().st_size for path in files) > IN_MEMORY
    return tuple(map(str, files)) if large else ()


def digest_of(source: str, read: Callable[[str], pd.DataFrame] = read_file) -> str:
    """SHA-256 of a source: of its local files, or of the table that `read` returns.

    Args:
        source: a path or a URL.
        read: reads the table of a source; called only if it is not a local file or folder.

    Returns:
        64 hexadecimal digits.

    Raises:
        UserError: when `read` fails.
    """
    path = local_path(source)
    if path is not None and path.exists():
        return digest_of_files(path, files_of(source) if path.is_dir() else [path])
    with reading(source):
        frame = read(source)
    comparable = frame.apply(
        lambda values: values.map(repr) if values.dtype == object else values.astype("str")
    )
    hashed = pd.util.hash_pandas_object(comparable, index=False).to_numpy()
    return hashlib.sha256(hashed.tobytes() + ",".join(map(str, frame.columns)).encode()).hexdigest()


def bucket(source: str) -> tuple[Any, str]:
    """The pyarrow file system for a bucket's URL (s3:// or gs://), and the path within it."""
    from pyarrow.fs import FileSystem

    # The file system of Google Cloud Storage would retry for minutes.
    retries = "" if source.startswith("s3://") else f"{'&' if '?' in source else '?'}retry_limit_seconds=20"
    files, path = FileSystem.from_uri(source + retries)
    return files, path

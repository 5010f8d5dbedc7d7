"""What `problem/dataset.py` reads from: files, folders, buckets and databases, by address."""

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
TABLES = {".csv", ".tsv", ".txt"} | PARQUET
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # of a folder whose rows have none
IN_MEMORY = 256 * 2**20  # bytes of files: a folder of more is read file by file


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Turn whatever a parser, a driver or a file system raises into a sentence about the source.

    Args:
        source: a path or address, which messages name without its password.

    Yields:
        None, while the source is read.

    Raises:
        UserError: the source cannot be read, or lacks a column.
    """
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        header = str(error.args[0]).removesuffix(" not in index")
        raise UserError(
            f"{redacted(source)} has no column {header}. Add it; problem/dataset.py says which columns are "
            "read, and how a line is parted (sep)."
        ) from error
    except ImportError as error:
        raise UserError(f"{redacted(source)} needs a library that is not installed: {error}.") from error
    except Exception as error:
        why = " ".join(str(_first_cause(error)).split()).rstrip(".")
        raise UserError(
            f"{redacted(source)} cannot be read as a table: {why}. Fix it, or name another."
        ) from error


def _first_cause(error: BaseException) -> BaseException:
    """What a driver or a file system said, before libraries spoke of it."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return _first_cause(before) if before else error


def read_file(source: str) -> pd.DataFrame:
    """A Parquet file or a CSV with commas, such as is scored: relative paths start at the project.

    Args:
        source: a path or an address; `.parquet` and `.pq` are Parquet, all others CSV.

    Returns:
        The table, one line a row, with the file's headers.

    Raises:
        OSError: when the file cannot be opened; within `reading`, a UserError.
        ValueError: when it is not such a table; within `reading`, a UserError.
    """
    place = source if "://" in source else ROOT / Path(source).expanduser()
    return pd.read_parquet(place) if Path(source).suffix in PARQUET else pd.read_csv(place, low_memory=False)


def local_path(source: str) -> Path | None:
    """The path of a file or folder, or None for an address; relative paths start at the project."""
    return None if "://" in source or source.startswith("sklearn:") else ROOT / Path(source).expanduser()


def files_of(source: str) -> list[Path]:
    """The table's files: those of a folder and of the folders in it, or the one file itself."""
    place = ROOT / Path(source).expanduser()
    if not place.is_dir():
        return [place]
    found = (
        path
        for path in sorted(place.rglob("*"))
        if path.is_file() and not path.name.startswith((".", "_")) and TABLES & set(path.suffixes)
    )
    return list(found)


def with_partitions(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A file's rows with what the folders around it say of them, such as `region=north`."""
    pairs = (map(unquote, folder.split("=", 1)) for folder in path.parent.parts if "=" in folder)
    found = {name: None if value == NO_VALUE else value for name, value in pairs}
    return frame.assign(**{name: value for name, value in found.items() if name and name not in frame})


def parts_of(source: str) -> tuple[str, ...]:
    """The files of a folder, each a table of its own, when all at once could be too much for memory."""
    place = local_path(source)
    files = files_of(source) if place is not None and place.is_dir() else []
    large = len(files) > 1 and sum(path.stat().st_size for path in files) > IN_MEMORY
    return tuple(map(str, files)) if large else ()


def digest_of(source: str, read: Callable[[str], pd.DataFrame]) -> str:
    """SHA-256 of what a source holds: of its files here, else of the table that `read` gives.

    Args:
        source: a path or an address.
        read: gives the table of a source; called only where the source is no file or folder here.

    Returns:
        64 hexadecimal digits.

    Raises:
        UserError: when `read` fails.
    """
    place = local_path(source)
    if place is not None and place.exists():
        return digest_of_files(place, files_of(source) if place.is_dir() else [place])
    with reading(source):
        frame = read(source)
    comparable = frame.apply(
        lambda values: values.map(repr) if values.dtype == object else values.astype("str")
    )
    hashed = pd.util.hash_pandas_object(comparable, index=False).to_numpy()
    return hashlib.sha256(hashed.tobytes() + ",".join(map(str, frame.columns)).encode()).hexdigest()


def bucket(source: str) -> tuple[Any, str]:
    """The pyarrow file system of a bucket's URL (s3:// or gs://), and the path in it."""
    from pyarrow.fs import FileSystem

    # Google's would try for minutes.
    patience = "" if source.startswith("s3://") else f"{'&' if '?' in source else '?'}retry_limit_seconds=20"
    files, path = FileSystem.from_uri(source + patience)
    return files, path

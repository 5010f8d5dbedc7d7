"""Online and offline features are equal to the last bit, and use only the past."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fivestage.common.columns import Strings
from fivestage.data.event_tables import known_between
from fivestage.features.definitions import columns_of
from fivestage.features.encoder import encode
from fivestage.features.problem import Tables
from fivestage.features.stores import OfflineFeatureStore, OnlineFeatureStore
from problem import PROBLEM
from problem.dataset import LEG, ORIGINS
from problem.features import LOOKBACK_HOURS, SETS, WEATHER, WINDOWS

HOUR, DAY = 3600, 86_400
NOON = 1_362_848_400  # 2013-03-09T17:00:00Z; New York's clocks go forward the next night
REFERENCE: dict[str, dict[str, Any]] = {"region": {"IAH": "south", "MIA": "south", "BOS": "north"}}
CONTRACT = PROBLEM.contract
LEAD = CONTRACT.decision.lead_seconds
TEXT_FEATURES = ("carrier", "origin")

Row = dict[str, Any]
KnownEvent = tuple[str, Row]  # kind and event

FLIGHT: Row = {
    "carrier": "UA", "flight": 1, "origin": "EWR", "dest": "IAH", "scheduled_departure": NOON,
    "block": 200, "distance": 1400, "delay": 0, "fate": "lands",
}  # fmt: skip


def known_at(known: KnownEvent) -> int:
    kind, event = known
    return int(CONTRACT.events[kind].known_at(event))


def online(
    sets: Sequence[str], rows: Sequence[Row], events: Sequence[KnownEvent], reference: Mapping[str, Any]
) -> list[Row]:
    """Compute each row's features online, from a history that holds only what was known at its decision."""
    history, waiting, answers = OnlineFeatureStore(), deque(sorted(events, key=known_at)), {}
    for place in sorted(range(len(rows)), key=lambda place: decision(rows[place])):
        while waiting and known_at(waiting[0]) <= decision(rows[place]):
            kind, event = waiting.popleft()
            for fact in PROBLEM.features.events[kind](event, reference):
                history.add(fact)
        answers[place] = PROBLEM.features.compute(
            sets, rows[place], decision(rows[place]), history, reference
        )
    return [answers[place] for place in range(len(rows))]


def decision(row: Row) -> int:
    return int(row["scheduled_departure"] - LEAD)


def batch(
    sets: Sequence[str], rows: Sequence[Row], events: Sequence[KnownEvent], reference: Mapping[str, Any]
) -> dict[str, Any]:
    """Compute the same features offline, from tables that also hold all later events."""
    frames: dict[str, Any] = {}
    for kind in PROBLEM.features.events:
        known = [event for other, event in events if other == kind]
        if known:
            frames[kind] = {name: [event[name] for event in known] for name in known[0]}
    columns = columns_of({name: [row[name] for row in rows] for name in rows[0]})
    at = columns["scheduled_departure"] - LEAD
    return PROBLEM.features.compute(
        sets, columns, at, PROBLEM.features.offline_store(frames, reference), reference
    )


def agree(answers: Sequence[Row], columns: Mapping[str, Any]) -> None:
    assert list(answers[0]) == list(columns)
    for name, column in columns.items():
        one_by_one = [answer[name] for answer in answers]
        if name in TEXT_FEATURES:
            assert one_by_one == [column.values[code] for code in column.codes]
        else:
            assert np.array_equal(np.array(one_by_one, dtype=float), column.astype(float), equal_nan=True), (
                name
            )


MINUTES = st.integers(0, 3 * 24 * 60).map(lambda minute: NOON + minute * 60)
FLIGHTS = st.fixed_dictionaries(
    {
        "carrier": st.sampled_from(["UA", "B6"]),
        "flight": st.integers(1, 2),
        "origin": st.sampled_from(ORIGINS),
        "dest": st.sampled_from(["IAH", "MIA", "BOS", "XXX"]),
        "scheduled_departure": MINUTES,
        "block": st.integers(30, 400),
        "distance": st.integers(50, 6000),
        "delay": st.integers(-40, 600),
        "fate": st.sampled_from(["lands", "lands", "lands", "cancelled", "diverted"]),
    }
)
VALUES = st.one_of(st.just(float("nan")), st.floats(-50, 1050))
HOURS = st.fixed_dictionaries(
    {
        "origin": st.sampled_from(ORIGINS),
        "hour": st.integers(-6, 72).map(lambda hour: NOON + hour * HOUR),
        **dict.fromkeys(WEATHER, VALUES),
    }
)
EVENTS_AND_ROWS = st.tuples(
    st.lists(FLIGHTS, min_size=1, max_size=25),
    st.lists(HOURS, max_size=15, unique_by=lambda hour: (hour["origin"], hour["hour"])),
)


def row_of(flight: Row) -> Row:
    row = {name: flight[name] for name in (*LEG, "scheduled_departure", "distance")}
    return row | {"scheduled_arrival": flight["scheduled_departure"] + flight["block"] * 60}


def events_of(flights: Sequence[Row], hours: Sequence[Row]) -> list[KnownEvent]:
    events: list[KnownEvent] = [("weather", hour) for hour in hours]
    for flight in flights:
        leg = {name: flight[name] for name in (*LEG, "scheduled_departure")}
        due, delay = row_of(flight)["scheduled_arrival"], flight["delay"] * 60
        events.append(("schedule", leg))
        if flight["fate"] == "cancelled":
            events.append(("cancellation", leg | {"cancelled_at": flight["scheduled_departure"] + delay}))
            continue
        events.append(("departure", leg | {"departed_at": flight["scheduled_departure"] + delay}))
        if flight["fate"] == "diverted":
            events.append(("diversion", leg | {"diverted_at": due + delay}))
        else:
            events.append(("landing", leg | {"scheduled_arrival": due, "landed_at": due + delay}))
    return events


@settings(deadline=None)
@given(EVENTS_AND_ROWS)
def test_one_row_at_a_time_equals_the_batch_for_random_events(
    event_tables: tuple[list[Row], list[Row]],
) -> None:
    flights, hours = event_tables
    rows, events = [row_of(flight) for flight in flights], events_of(flights, hours)
    agree(online(tuple(SETS), rows, events, REFERENCE), batch(tuple(SETS), rows, events, REFERENCE))


@pytest.fixture(scope="module")
def march(tables: Tables) -> tuple[list[Row], list[KnownEvent]]:
    """Rows sampled from ten days of March, and the events of those days and of the 29 before."""
    start = NOON - 4 * DAY
    decided = tables.rows["decision_at"].between(start, start + 10 * DAY - 1)
    rows = tables.rows.loc[decided, list(CONTRACT.columns)].sample(300, random_state=0)
    frames = known_between(tables.events, CONTRACT, start - 29 * DAY, start + 10 * DAY)
    events = [(kind, event) for kind, frame in frames.items() for event in frame.to_dict("records")]
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")], [
        (kind, {str(name): value for name, value in event.items()}) for kind, event in events
    ]


@pytest.fixture(scope="module")
def streamed(march: tuple[list[Row], list[KnownEvent]], tables: Tables) -> list[Row]:
    return online(tuple(SETS), *march, tables.reference)


@pytest.mark.parametrize("name", SETS)
def test_streaming_real_events_equals_the_batch(
    name: str, march: tuple[list[Row], list[KnownEvent]], streamed: list[Row], tables: Tables
) -> None:
    columns = batch([name], *march, tables.reference)
    agree([{feature: answer[feature] for feature in columns} for answer in streamed], columns)
    for feature, column in columns.items():  # a constant feature would prove nothing
        assert len(column.values if feature in TEXT_FEATURES else np.unique(column)) > 1, feature


def test_what_lies_further_back_than_the_reach_is_never_seen() -> None:
    assert max(hours for *_, hours in WINDOWS) == LOOKBACK_HOURS
    fresh = [weather_at(NOON - hours * HOUR) for hours in (1, 5)]
    for days, seen in ((-1, True), (1, False)):
        flight = {**FLIGHT, "scheduled_departure": NOON - LOOKBACK_HOURS * HOUR - days * DAY}
        assert (ask([*events_of([flight], []), *fresh]) != ask(fresh)) is seen


def ask(events: Sequence[KnownEvent], at: int = NOON, **changes: Any) -> Row:
    """Compute all features of a row online at a given decision time."""
    row = row_of({**FLIGHT, "scheduled_departure": at + LEAD}) | changes
    (answer,) = online(tuple(SETS), [row], events, REFERENCE)
    agree([answer], batch(tuple(SETS), [row], events, REFERENCE))
    return answer


def test_categories_nobody_has_heard_of() -> None:
    events = events_of([FLIGHT], [])
    answer = ask(events, NOON + DAY, carrier="ZZ", origin="XXX", dest="YYY", flight=9999)
    assert answer["carrier"] == "ZZ"
    for name in answer:
        if name.endswith("_rate"):
            assert answer[name] == 0.25, name
    categories = {"carrier": {"UA": 0.0}, "origin": {"EWR": 0.0}}
    one = encode(answer, categories)
    many = encode({**answer, "carrier": Strings.of(["ZZ", "UA"]), "origin": Strings.of(["EWR"])}, categories)
    assert np.isnan([one["carrier"], one["origin"]]).all()
    assert np.isnan(many["carrier"]).tolist() == [True, False]
    assert many["origin"].tolist() == [0]


def weather_at(hour: int, **values: float) -> KnownEvent:
    return "weather", {"origin": "EWR", "hour": hour, **dict.fromkeys(WEATHER, 1.0), **values}


def test_weather_counts_once_its_hour_is_over() -> None:
    before, now = weather_at(NOON - HOUR, temp=40), weather_at(NOON, temp=50)
    assert ask([before, now], NOON)["temp"] == 40
    assert ask([before, now], NOON + HOUR - 1)["temp"] == 40
    assert ask([before, now], NOON + HOUR)["temp"] == 50


def test_weather_that_is_missing_old_or_of_another_airport() -> None:
    names = (*WEATHER, "pressure_change")
    for events, at in (([], NOON), ([weather_at(NOON)], NOON + 7 * HOUR)):
        assert np.isnan([ask(events, at)[name] for name in names]).all()
    assert np.isnan([ask([weather_at(NOON)], NOON + HOUR, origin="JFK")[name] for name in names]).all()
    known = ask([weather_at(NOON, temp=50)], NOON + 7 * HOUR - 1)
    assert known["temp"] == 50
    gap = ask([weather_at(NOON, wind_gust=float("nan"))], NOON + HOUR)
    assert np.isnan([gap["wind_gust"], gap["pressure_change"]]).all()
    assert gap["wind_speed"] == 1


def test_pressure_is_compared_with_three_hours_before() -> None:
    events = [weather_at(NOON + hour * HOUR, pressure=1000 + hour**2) for hour in range(5)]
    assert ask(events, NOON + 5 * HOUR)["pressure_change"] == 16 - 1


def test_an_outcome_counts_once_it_happened_and_not_when_it_was_due() -> None:
    late = {**FLIGHT, "delay": 300}
    due, landed = row_of(late)["scheduled_arrival"], row_of(late)["scheduled_arrival"] + 300 * 60
    events = events_of([late], [])
    for at in (due, landed - 1):
        assert ask(events, at)["flight_ended_28d_rate"] == 0.25
    assert ask(events, landed)["flight_ended_28d_rate"] == (1 + 0.75) / (1 + 3)
    assert ask(events, landed)["flight_ended_28d_minutes"] == 240 / 2  # no more than four hours count


def test_flights_wait_from_their_time_until_they_are_gone() -> None:
    flights = [
        {**FLIGHT, "delay": 60},
        {**FLIGHT, "flight": 2, "fate": "cancelled", "delay": -30},
        {**FLIGHT, "flight": 3, "delay": -10},
    ]
    events = events_of(flights, [])
    waiting = [
        ask(events, NOON + minutes * 60)["origin_waiting"] for minutes in (-40, -20, -1, 0, 30, 59, 60, 90)
    ]
    assert waiting == [0, 0, 0, 1, 1, 1, 0, 0]


def test_this_destination_is_not_its_own_neighbour() -> None:
    ended = [{**FLIGHT, "delay": 60}, {**FLIGHT, "dest": "MIA"}, {**FLIGHT, "origin": "JFK"}]
    answer = ask(events_of(ended, []), NOON + 5 * HOUR)
    assert answer["neighbours_6h_rate"] == 0.75 / (1 + 3)  # Miami's, on time
    assert answer["dest_ended_6h_rate"] == (1 + 0.75) / (2 + 3)


def test_the_timetable_is_read_on_new_yorks_clocks() -> None:
    before, after = (ask([], NOON + hours * HOUR - LEAD) for hours in (0, 24))
    assert (before["minute"], before["weekday"]) == (12 * 60, 5)
    assert (after["minute"], after["weekday"]) == (13 * 60, 6)
    assert before["block_minutes"] == 200


def test_labels_agree_with_the_facts(tables: Tables) -> None:
    ends = []
    for kind in ("landing", "cancellation", "diversion"):
        frame = tables.events[kind]
        facts = PROBLEM.features.events[kind](columns_of(frame), tables.reference)
        (ended,) = [fact for fact in facts if fact.log == "ended/flight"]
        leg = frame[[*LEG, "scheduled_departure"]]
        ends.append(leg.assign(bad=ended.values[0] + np.zeros(len(frame)), at=ended.at))
    both = tables.rows.merge(pd.concat(ends), on=[*LEG, "scheduled_departure"], validate="one_to_one")
    assert len(both) == len(tables.rows)
    assert (both["bad"] == both[CONTRACT.label.name]).all()
    assert (both["at"] == both["known_at"]).all()


def test_without_a_past_every_set_still_answers() -> None:
    row = columns_of({name: [value] for name, value in row_of(FLIGHT).items()})
    answer = PROBLEM.features.compute(tuple(SETS), row, np.array([NOON]), OfflineFeatureStore({}), REFERENCE)
    assert {name: len(column) for name, column in answer.items()} == dict.fromkeys(ask([]), 1)

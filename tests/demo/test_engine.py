"""The engine with the flights' features: it forgets old events, and its features equal those of training."""

from dataclasses import replace

import numpy as np
import pytest

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.engine import Engine
from fivestage.common.columns import Strings
from fivestage.features.definitions import columns_of
from fivestage.features.encoder import encode, matrix
from fivestage.features.stores import HOUR, OnlineFeatureStore
from problem import PROBLEM
from tests.demo.synthetic_flights import DAY, START, SyntheticFlights, artifact, contract, flights

__all__ = ["artifact", "contract", "flights"]


def events_held(history: OnlineFeatureStore) -> int:
    return sum(len(series.times) for log in history._logs.values() for series in log.values())


def streamed(engine: Engine, flights: SyntheticFlights, days: int) -> list[int]:
    """Repeat the landings on each of many days, and return the number of events held after each day."""
    held = []
    landings = flights.events["landing"]
    first = {name: values[:150] for name, values in landings.items()}
    for day in range(days):
        for place in range(150):
            event = {name: values[place] for name, values in first.items()}
            engine.observe("landing", {**event, "landed_at": START + day * DAY + place})
        held.append(events_held(engine.history))
    return held


def test_what_no_window_reaches_is_forgotten(artifact: Artifact, flights: SyntheticFlights) -> None:
    engine = Engine(replace(artifact, history=artifact.history.__class__({})), PROBLEM.features)
    held = streamed(engine, flights, 80)
    kept_days = engine._retention // DAY
    assert max(held[kept_days + 3 :]) < 1.05 * held[kept_days + 3]
    assert held[kept_days // 2] < 0.7 * held[kept_days]


def test_forgetting_changes_no_answer(artifact: Artifact, flights: SyntheticFlights) -> None:
    forgetful = Engine(artifact, PROBLEM.features)
    streamed(forgetful, flights, 80)
    faithful = Engine(artifact, PROBLEM.features)
    faithful._retention = 10**9
    streamed(faithful, flights, 80)
    assert events_held(forgetful.history) < events_held(faithful.history)
    now = START + 79 * DAY
    for place in range(50):
        late = flights.row(place) | {"scheduled_departure": now - 6 * DAY + place * HOUR}
        assert np.array_equal(
            forgetful._feature_values(encode(forgetful.features(late), artifact.categories)),
            faithful._feature_values(encode(faithful.features(late), artifact.categories)),
            equal_nan=True,
        )


def test_one_wild_date_and_a_timetable_told_ahead_forget_nothing(
    artifact: Artifact, flights: SyntheticFlights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: float(START + 10 * DAY))
    engine = Engine(artifact, PROBLEM.features)
    streamed(engine, flights, 5)
    held = events_held(engine.history)
    event = {name: values[0] for name, values in flights.events["landing"].items()}
    engine.observe("landing", {**event, "landed_at": START + 9000 * DAY})
    streamed(engine, flights, 5)
    assert events_held(engine.history) > held
    before = events_held(engine.history)
    due = {name: values[0] for name, values in flights.events["schedule"].items()}
    for minute in range(2500):
        engine.observe("schedule", {**due, "scheduled_departure": START + 9000 * DAY + minute})
    assert events_held(engine.history) == before + 2500


def test_missing_text_is_empty_however_it_is_written() -> None:
    column = np.array(["a", None, float("nan"), "b"], dtype=object)
    coded = columns_of({"kind": column})["kind"]
    assert isinstance(coded, Strings)
    assert [coded.values[code] for code in coded.codes] == ["a", "", "", "b"]


def test_streamed_as_time_goes_by_every_feature_is_that_of_training(
    artifact: Artifact, flights: SyntheticFlights
) -> None:
    """Compute each row's features at its decision time, before any later event has been observed."""
    contract, names = artifact.contract, artifact.features
    arrivals = []
    for kind, frame in flights.events.items():
        for place in range(len(frame["origin"])):
            event = {name: values[place] for name, values in frame.items()}
            arrivals.append((int(contract.events[kind].known_at(event)), kind, event))
    arrivals.sort(key=lambda arrival: arrival[0])
    engine = Engine(replace(artifact, history=artifact.history.__class__({})), PROBLEM.features)
    past = PROBLEM.features.offline_store(flights.events, artifact.reference)
    offline = PROBLEM.features.compute(
        artifact.sets, columns_of(flights.rows), flights.at, past, artifact.reference
    )
    trained = matrix(encode(offline, artifact.categories), names, len(flights.at))
    waiting = iter([*arrivals, (2**62, "", {})])
    known, kind, event = next(waiting)
    for place in np.argsort(flights.at, kind="stable").tolist():
        while known <= flights.at[place]:
            engine.observe(kind, event)
            known, kind, event = next(waiting)
        encoded = encode(engine.features(flights.row(place)), artifact.categories)
        assert np.array_equal(trained[place], [encoded[name] for name in names], equal_nan=True)

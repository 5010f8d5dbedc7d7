"""The offline and the online store agree: the same events give the same answers, to the last bit."""

import math
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivestage.common.columns import Strings
from fivestage.common.native import library
from fivestage.features.stores import (
    HOUR,
    AdditiveEvent,
    LatestValue,
    LoggedEvent,
    OfflineFeatureStore,
    OnlineFeatureStore,
    UnlearnableEventError,
    WindowQuery,
    _distinct,
)

KEYS = ("a", "b", "c")
MOMENT = st.integers(0, 40)
EVENTS = st.lists(
    st.tuples(st.sampled_from(KEYS[:2]), st.integers(0, 9), MOMENT, st.integers(-5, 5)), max_size=40
)
QUESTIONS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.integers(0, 9), MOMENT, st.sampled_from([0.5, 1, 5, 50])),
    min_size=1,
    max_size=20,
)


def stream(events: list[Any], *, additive: bool) -> OnlineFeatureStore:
    history = OnlineFeatureStore()
    for key, number, at, value in events:
        history.add(logged(key, (key, number), at * HOUR, value, additive=additive)[0])
        history.add(logged(key, (key, number), at * HOUR, value, additive=additive)[1])
    return history


def batch(events: list[Any], *, additive: bool) -> OfflineFeatureStore:
    if not events:
        return OfflineFeatureStore({})
    keys, numbers, at, values = (list(column) for column in zip(*events, strict=True))
    names = Strings.of(keys)
    moments = np.array(at) * HOUR
    return OfflineFeatureStore.of(
        logged(names, (names, np.array(numbers)), moments, np.array(values), additive=additive)
    )


def logged(single: Any, double: Any, at: Any, value: Any, *, additive: bool) -> list[LoggedEvent]:
    if additive:
        return [
            AdditiveEvent("single", single, at, (value, value * value)),
            AdditiveEvent("double", double, at, (value,)),
        ]
    return [
        LatestValue("single", single, at, (value, value / 3)),
        LatestValue("double", double, at, (value,)),
    ]


@given(EVENTS, QUESTIONS, st.randoms(use_true_random=False))
def test_streamed_windows_equal_the_batch_in_any_order(
    events: list[Any], questions: list[Any], random: Any
) -> None:
    whole = batch(events, additive=True)
    shuffled = events.copy()
    random.shuffle(shuffled)
    streamed = stream(shuffled, additive=True)
    for history, table in (
        (streamed, whole),
        (whole.history(), streamed.table()),
        (streamed, streamed.table()),
    ):
        for key, number, at, hours in questions:
            for log, one, many, width in (
                ("single", key, Strings.of([key]), 2),
                ("double", (key, number), (Strings.of([key]), np.array([number])), 1),
            ):
                online = history.window(log, one, at * HOUR, hours, width)
                offline = table.window(log, many, np.array([at * HOUR]), hours, width)
                assert online == tuple(column[0] for column in offline)


@pytest.mark.parametrize("compiled", [True, False])
@given(first=EVENTS, then=EVENTS, questions=QUESTIONS, before=MOMENT)
def test_windows_asked_together_are_those_asked_alone(
    compiled: bool,  # noqa: FBT001 (pytest names it)
    first: list[Any],
    then: list[Any],
    questions: list[Any],
    before: int,
) -> None:
    history = stream(first, additive=True)
    asked = WindowQuery(
        2, tuple((log, hours) for hours in (0.5, 5, 50) for log in ("single", "double", "none"))
    )
    with patch("fivestage.features.stores.library", library if compiled else lambda *_: None):
        for change in ("none", "events", "forget"):
            if change == "events":
                for key, number, at, value in then:
                    for one in logged(key, (key, number), at * HOUR, value, additive=True):
                        history.add(one)
            elif change == "forget":
                history.forget(before * HOUR)
            for key, number, at, _ in questions:
                keys = {"single": key, "double": (key, number), "none": key}
                alone = [history.window(log, keys[log], at * HOUR, hours, 2) for log, hours in asked.windows]
                assert history.windows(asked, keys, at * HOUR) == alone
                columns = {
                    "single": Strings.of([key]),
                    "double": (Strings.of([key]), np.array([number])),
                    "none": Strings.of([key]),
                }
                table = history.table().windows(asked, columns, np.array([at * HOUR]))
                assert [tuple(column[0] for column in one) for one in table] == alone
    assert bool(history._compiled) is compiled


@given(EVENTS, EVENTS)
def test_columns_see_what_was_added_since_they_were_last_asked(first: list[Any], then: list[Any]) -> None:
    history = stream(first, additive=True)
    history.table()
    for key, number, at, value in then:
        for one in logged(key, (key, number), at * HOUR, value, additive=True):
            history.add(one)
    asked = (Strings.of(KEYS), np.full(len(KEYS), 40 * HOUR), 50, 2)
    assert np.array_equal(
        history.table().window("single", *asked), batch(first + then, additive=True).window("single", *asked)
    )


@given(EVENTS, QUESTIONS)
def test_windows_equal_the_definition(events: list[Any], questions: list[Any]) -> None:
    history = stream(events, additive=True)
    for key, _, at, hours in questions:
        inside = [value for name, _, known, value in events if name == key and at - hours < known <= at]
        expected = (len(inside), sum(inside), sum(value * value for value in inside))
        assert history.window("single", key, at * HOUR, hours, 2) == expected


@given(EVENTS, QUESTIONS)
def test_latest_reading_is_the_same_in_stream_and_batch(events: list[Any], questions: list[Any]) -> None:
    ordered = sorted(events, key=lambda one: one[2])
    whole = batch(ordered, additive=False)
    streamed = stream(ordered, additive=False)
    for history, table in ((streamed, whole), (whole.history(), streamed.table())):
        for key, _, at, hours in questions:
            online = history.latest("single", key, at * HOUR, hours, 2)
            offline = table.latest("single", Strings.of([key]), np.array([at * HOUR]), hours, 2)
            assert np.array_equal(online, [column[0] for column in offline], equal_nan=True)


@given(EVENTS, QUESTIONS, MOMENT)
def test_nothing_after_the_decision_is_seen(events: list[Any], questions: list[Any], change: int) -> None:
    for key, _, at, hours in questions:
        scrambled = [(k, n, t, v if t <= at else v + change) for k, n, t, v in events]
        before = stream(events, additive=True).window("single", key, at * HOUR, hours, 2)
        assert stream(scrambled, additive=True).window("single", key, at * HOUR, hours, 2) == before


@given(EVENTS, QUESTIONS, MOMENT)
def test_forgetting_leaves_what_windows_reach(events: list[Any], questions: list[Any], before: int) -> None:
    whole, trimmed = stream(events, additive=True), stream(events, additive=True)
    trimmed.forget(before * HOUR)
    for key, _, at, hours in questions:
        if at - hours >= before:
            assert trimmed.window("single", key, at * HOUR, hours, 2) == whole.window(
                "single", key, at * HOUR, hours, 2
            )


def test_a_silent_log_answers_nothing() -> None:
    history = OnlineFeatureStore()
    assert history.window("none", "a", 0, 1, 2) == (0, 0, 0)
    assert all(math.isnan(value) for value in history.latest("none", "a", 0, 1, 3))


def test_tallies_must_be_whole() -> None:
    with pytest.raises(UnlearnableEventError, match="not whole numbers"):
        OfflineFeatureStore.of([AdditiveEvent("log", Strings.of(["a"]), np.array([1]), (np.array([0.5]),))])


@given(st.lists(st.integers(-(10**12), 10**12)), st.sampled_from([1, 10**11]))
def test_distinct_numbers_are_counted_as_they_are_sorted(numbers: list[int], coarse: int) -> None:
    column = np.array(numbers, dtype=np.int64) // coarse
    found, places = _distinct(column)
    expected = np.unique(column)
    assert found.tolist() == expected.tolist()
    assert (expected[places] == column).all()

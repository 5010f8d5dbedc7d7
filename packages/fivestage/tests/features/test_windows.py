"""The batch and the stream are one past: same facts, same answers, to the last bit."""

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
FACTS = st.lists(
    st.tuples(st.sampled_from(KEYS[:2]), st.integers(0, 9), MOMENT, st.integers(-5, 5)), max_size=40
)
QUESTIONS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.integers(0, 9), MOMENT, st.sampled_from([0.5, 1, 5, 50])),
    min_size=1,
    max_size=20,
)


def stream(facts: list[Any], *, tally: bool) -> OnlineFeatureStore:
    history = OnlineFeatureStore()
    for key, number, at, value in facts:
        history.add(fact(key, (key, number), at * HOUR, value, tally=tally)[0])
        history.add(fact(key, (key, number), at * HOUR, value, tally=tally)[1])
    return history


def batch(facts: list[Any], *, tally: bool) -> OfflineFeatureStore:
    if not facts:
        return OfflineFeatureStore({})
    keys, numbers, at, values = (list(column) for column in zip(*facts, strict=True))
    names = Strings.of(keys)
    moments = np.array(at) * HOUR
    return OfflineFeatureStore.of(
        fact(names, (names, np.array(numbers)), moments, np.array(values), tally=tally)
    )


def fact(single: Any, double: Any, at: Any, value: Any, *, tally: bool) -> list[LoggedEvent]:
    if tally:
        return [
            AdditiveEvent("single", single, at, (value, value * value)),
            AdditiveEvent("double", double, at, (value,)),
        ]
    return [
        LatestValue("single", single, at, (value, value / 3)),
        LatestValue("double", double, at, (value,)),
    ]


@given(FACTS, QUESTIONS, st.randoms(use_true_random=False))
def test_streamed_windows_equal_the_batch_in_any_order(
    facts: list[Any], questions: list[Any], random: Any
) -> None:
    whole = batch(facts, tally=True)
    shuffled = facts.copy()
    random.shuffle(shuffled)
    streamed = stream(shuffled, tally=True)
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
@given(first=FACTS, then=FACTS, questions=QUESTIONS, before=MOMENT)
def test_windows_asked_together_are_those_asked_alone(
    compiled: bool,  # noqa: FBT001 (pytest names it)
    first: list[Any],
    then: list[Any],
    questions: list[Any],
    before: int,
) -> None:
    history = stream(first, tally=True)
    asked = WindowQuery(
        2, tuple((log, hours) for hours in (0.5, 5, 50) for log in ("single", "double", "none"))
    )
    with patch("fivestage.features.stores.library", library if compiled else lambda _: None):
        for change in ("none", "facts", "forget"):
            if change == "facts":
                for key, number, at, value in then:
                    for one in fact(key, (key, number), at * HOUR, value, tally=True):
                        history.add(one)
            elif change == "forget":
                history.forget(before * HOUR)
            for key, number, at, _ in questions:
                keys = {"single": key, "double": (key, number), "none": key}
                alone = [history.window(log, keys[log], at * HOUR, hours, 2) for log, hours in asked.of]
                assert history.windows(asked, keys, at * HOUR) == alone
                columns = {
                    "single": Strings.of([key]),
                    "double": (Strings.of([key]), np.array([number])),
                    "none": Strings.of([key]),
                }
                table = history.table().windows(asked, columns, np.array([at * HOUR]))
                assert [tuple(column[0] for column in one) for one in table] == alone
    assert bool(history._compiled) is compiled


@given(FACTS, FACTS)
def test_columns_see_what_was_added_since_they_were_last_asked(first: list[Any], then: list[Any]) -> None:
    history = stream(first, tally=True)
    history.table()
    for key, number, at, value in then:
        for one in fact(key, (key, number), at * HOUR, value, tally=True):
            history.add(one)
    asked = (Strings.of(KEYS), np.full(len(KEYS), 40 * HOUR), 50, 2)
    assert np.array_equal(
        history.table().window("single", *asked), batch(first + then, tally=True).window("single", *asked)
    )


@given(FACTS, QUESTIONS)
def test_windows_equal_the_definition(facts: list[Any], questions: list[Any]) -> None:
    history = stream(facts, tally=True)
    for key, _, at, hours in questions:
        inside = [value for name, _, known, value in facts if name == key and at - hours < known <= at]
        expected = (len(inside), sum(inside), sum(value * value for value in inside))
        assert history.window("single", key, at * HOUR, hours, 2) == expected


@given(FACTS, QUESTIONS)
def test_latest_reading_is_the_same_in_stream_and_batch(facts: list[Any], questions: list[Any]) -> None:
    ordered = sorted(facts, key=lambda one: one[2])
    whole = batch(ordered, tally=False)
    streamed = stream(ordered, tally=False)
    for history, table in ((streamed, whole), (whole.history(), streamed.table())):
        for key, _, at, hours in questions:
            online = history.latest("single", key, at * HOUR, hours, 2)
            offline = table.latest("single", Strings.of([key]), np.array([at * HOUR]), hours, 2)
            assert np.array_equal(online, [column[0] for column in offline], equal_nan=True)


@given(FACTS, QUESTIONS, MOMENT)
def test_nothing_after_the_decision_is_seen(facts: list[Any], questions: list[Any], change: int) -> None:
    for key, _, at, hours in questions:
        scrambled = [(k, n, t, v if t <= at else v + change) for k, n, t, v in facts]
        before = stream(facts, tally=True).window("single", key, at * HOUR, hours, 2)
        assert stream(scrambled, tally=True).window("single", key, at * HOUR, hours, 2) == before


@given(FACTS, QUESTIONS, MOMENT)
def test_forgetting_leaves_what_windows_reach(facts: list[Any], questions: list[Any], before: int) -> None:
    whole, trimmed = stream(facts, tally=True), stream(facts, tally=True)
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
    with pytest.raises(UnlearnableEventError, match="no whole numbers"):
        OfflineFeatureStore.of([AdditiveEvent("log", Strings.of(["a"]), np.array([1]), (np.array([0.5]),))])


@given(st.lists(st.integers(-(10**12), 10**12)), st.sampled_from([1, 10**11]))
def test_distinct_numbers_are_counted_as_they_are_sorted(numbers: list[int], coarse: int) -> None:
    column = np.array(numbers, dtype=np.int64) // coarse
    found, places = _distinct(column)
    expected = np.unique(column)
    assert found.tolist() == expected.tolist()
    assert (expected[places] == column).all()

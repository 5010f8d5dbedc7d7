"""Drift on made-up days: silent where only days differ, loud where the feed is at fault."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu, norm

from fivestage.monitoring.daily_statistics import ROWS as WHOLE
from fivestage.monitoring.daily_statistics import DailyStatistic, Statistic, Window
from fivestage.monitoring.drift import (
    Finding,
    Reference,
    calibrate,
    compare,
    compare_days,
    detect_drift,
    rank_sums,
    widening,
)

REFERENCE, PERIOD, ROWS = 56, 7, 60


def window(seed: int, first: int, days: int, rows: int = ROWS) -> Window:
    """Days that differ more than their rows do: in weather, in lateness, in what is missing."""
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(first, first + days), rows)
    of_day = day - first
    weather = draw.normal(15, 5, days)[of_day]
    late = draw.beta(2, 5, days)[of_day]
    frame = pd.DataFrame(
        {
            "temperature": weather + draw.normal(0, 2, day.size),
            "rain": np.where(draw.random(day.size) < 0.9, 0, draw.exponential(1, day.size)),
            "late_share": np.clip(late + draw.normal(0, 0.05, day.size), 0, 1),
            "minute": draw.integers(0, 60, day.size),
            "place": draw.choice(["north", "south", "west"], day.size, p=[0.5, 0.3, 0.2]),
            "score": np.clip(0.5 * late + draw.normal(0.2, 0.05, day.size), 0, 1),
        }
    )
    frame.loc[draw.random(day.size) < draw.beta(1, 20, days)[of_day], "rain"] = np.nan
    return Window(frame, day, first, days)


@pytest.fixture(scope="module")
def reference() -> Window:
    return window(0, 0, REFERENCE)


def changed(base: Window, column: str, change: Callable[[pd.Series], pd.Series]) -> Window:
    return Window(base.frame.assign(**{column: change(base.frame[column])}), base.day, base.first, base.days)


def one_in_five_missing(values: pd.Series) -> pd.Series:
    return values.mask(np.arange(len(values)) % 5 == 0)


FAULTS = {
    "unit": ("temperature", lambda celsius: celsius * 1.8 + 32),
    "scale": ("late_share", lambda share: share * 100),
    "missing": ("temperature", one_in_five_missing),
    "missing level": ("place", one_in_five_missing),
    "new level": ("place", lambda place: place.replace("north", "North")),
    "all missing": ("score", lambda score: score * np.nan),
    "text": ("minute", lambda minute: minute.astype(str) + " min"),
    "default": ("minute", lambda minute: minute * 0),
    "letter case": ("place", lambda place: place.str.upper()),
    "frozen": ("temperature", lambda values: values * 0 + values.iloc[0]),
    "infinite": ("temperature", lambda values: values * np.inf),
}


def days_of(pool: Window, days: np.ndarray, first: int) -> Window:
    """Some days of a pool as a window."""
    rows = np.concatenate([np.flatnonzero(pool.day == day) for day in days])
    day = np.repeat(np.arange(first, first + len(days)), ROWS)
    return Window(pool.frame.iloc[rows].reset_index(drop=True), day, first, len(days))


def drifted(findings: list[Finding]) -> set[str]:
    return {one.column for one in findings if one.drifted}


def broken(findings: list[Finding]) -> set[str]:
    return {one.column for one in findings if one.is_broken}


@pytest.mark.parametrize("days", [1, PERIOD])
def test_alarms_are_false_as_often_as_stated(days: int) -> None:
    pool, draw, alarms = window(1, 0, 300), np.random.default_rng(2), 0
    for seed in range(6):
        order = draw.permutation(300)
        counted = Reference(days_of(pool, order[:REFERENCE], 0))
        limits = calibrate(counted.statistics, days, 0.05, seed)
        for number in range(10):
            some = order[REFERENCE + number * days : REFERENCE + (number + 1) * days]
            alarms += bool(drifted(compare(counted, days_of(pool, some, REFERENCE), limits)))
    assert alarms <= 8  # 3 are expected; more than 8 happen once in 270 times


def test_rows_taken_for_independent_would_always_alarm(reference: Window) -> None:
    """Why all this: the limit from shuffled rows lies below what unchanged days do."""
    shuffled = np.random.default_rng(3).permutation(reference.day)
    order = np.argsort(shuffled, kind="stable")
    by_row, by_day = (
        Reference(replace(reference, frame=frame)).statistics
        for frame in (reference.frame[["rain"]].iloc[order], reference.frame[["rain"]])
    )
    rows, days = (calibrate(some, PERIOD, 0.01)["missing share"][0] for some in (by_row, by_day))
    assert rows < 0.7 * days


def test_a_week_like_the_others_is_silent(reference: Window) -> None:
    found = detect_drift(reference, window(10, 56, PERIOD), 0.01)
    assert drifted(found) == set()
    assert {one.column for one in found} == {*reference.frame, WHOLE}


def test_a_feed_that_stops_is_seen_where_most_values_are_zero_anyway() -> None:
    """The share of the commonest value can rise little there, and another column has wild days."""
    draw, rows = np.random.default_rng(5), 60

    def days(first: int, number: int) -> Window:
        day = np.repeat(np.arange(first, first + number), rows)
        some = draw.random(day.size) < draw.beta(5, 8, number)[day - first]
        calm = draw.random(day.size) < (draw.random(number) < 0.05)[day - first]
        counts, gusts = draw.poisson(2, day.size) * some, draw.normal(size=day.size).round(4)
        return Window(pd.DataFrame({"count": counts, "gust": np.where(calm, 0, gusts)}), day, first, number)

    usual, now = days(0, REFERENCE), days(REFERENCE, PERIOD)
    assert drifted(detect_drift(usual, now, 0.01)) == set()
    stopped = changed(now, "count", lambda counts: counts.groupby(now.day).transform("first"))
    assert drifted(detect_drift(usual, stopped, 0.01)) == {"count"}


@pytest.mark.parametrize(
    "columns", [["place"], ["place", "is_late"], ["is_late"], ["temperature", "is_late"]]
)
def test_tables_of_few_columns_and_kinds_are_judged_too(reference: Window, columns: list[str]) -> None:
    before, now = (
        replace(one, frame=one.frame.assign(is_late=(one.frame["score"] > 0.3) * 1.0)[columns])
        for one in (reference, window(10, 56, PERIOD))
    )
    assert drifted(detect_drift(before, now, 0.01)) == set()
    gone = changed(now, columns[0], lambda values: values.mask(np.arange(len(values)) % 2 == 0))
    assert columns[0] in broken(detect_drift(before, gone, 0.01))


def test_a_column_that_always_has_the_same_value_is_silent() -> None:
    then, now = (
        Window(pd.DataFrame({"always": np.full(day.size, 0.5)}), day, int(day[0]), days)
        for first, days in ((0, 70), (70, 7))
        for day in [np.repeat(np.arange(first, first + days), 50)]
    )
    assert drifted(detect_drift(then, now, 0.01)) == set()


def test_a_table_in_which_no_column_is_watched_is_judged_by_its_rows(reference: Window) -> None:
    before, now = (replace(one, frame=one.frame[[]]) for one in (reference, window(10, 56, PERIOD)))
    assert drifted(detect_drift(before, now, 0.01)) == set()
    half = Window(now.frame.iloc[::3], now.day[::3], 56, PERIOD)
    assert broken(detect_drift(before, half, 0.01)) == {WHOLE}


def climate(seed: int, first: int, days: int, mean: float, clear: float) -> Window:
    """A dew point that the temperature bends; visibility that is mostly the same."""
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(first, first + days), ROWS)
    warm = draw.normal(mean, 3, days)[day - first] + draw.normal(0, 2, day.size)
    dew = warm - 0.03 * (warm - 15) ** 2 + draw.normal(0, 0.5, day.size)
    fog = np.where(draw.random(day.size) < clear, 10.0, draw.integers(0, 40, day.size) / 4)
    return Window(pd.DataFrame({"temperature": warm, "dew": dew, "visibility": fog}), day, first, days)


def test_a_season_is_not_called_broken() -> None:
    """Ranges not seen before bend relations, and other weather repeats less: nothing to page for."""
    usual = climate(0, 0, REFERENCE, 15, 0.9)
    for mean, clear in ((24, 0.9), (15, 0.62), (15, 0.1), (35, 0.9)):
        found = detect_drift(usual, climate(1, REFERENCE, PERIOD, mean, clear), 0.01)
        assert broken(found) == set()
    assert "temperature" in drifted(found)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("days", [1, PERIOD])
def test_gross_faults_are_seen_and_told_first(reference: Window, fault: str, days: int) -> None:
    column, change = FAULTS[fault]
    found = detect_drift(reference, changed(window(10, 56, days), column, change), 0.01)
    assert column in drifted(found)
    if days == PERIOD:
        assert found[0].column == column
        assert drifted(found) == {column}


@pytest.mark.parametrize("fault", ["missing", "missing level", "all missing", "text", "infinite"])
def test_what_is_missing_is_broken(reference: Window, fault: str) -> None:
    column, change = FAULTS[fault]
    found = detect_drift(reference, changed(window(10, 56, PERIOD), column, change), 0.01)
    assert broken(found) == {column}


def test_a_column_that_is_gone_is_missing_throughout(reference: Window) -> None:
    week = window(10, 56, PERIOD)
    without = Window(week.frame.drop(columns="place"), week.day, 56, PERIOD)
    found = detect_drift(reference, without, 0.01)
    assert (found[0].column, found[0].statistic, found[0].is_broken) == ("place", "missing share", True)
    assert found[0].sentence == "missing share 100.0%, was 0.0%"


def test_a_shift_of_level_is_drift_but_not_broken(reference: Window) -> None:
    shifted = changed(
        window(10, 56, PERIOD), "place", lambda place: place.mask(np.arange(420) % 6 == 0, "west")
    )
    found = detect_drift(reference, shifted, 0.01)
    assert drifted(found) == {"place"}
    assert broken(found) == set()
    assert found[0].sentence.startswith("share of '")


@pytest.mark.parametrize(("kept", "is_broken"), [(6, False), (3, True), (0, True)])
def test_rows_that_do_not_come_are_seen(reference: Window, kept: int, *, is_broken: bool) -> None:
    whole = window(10, 56, PERIOD)
    rows = np.arange(len(whole.frame)) % 10 < kept
    found = detect_drift(reference, Window(whole.frame[rows], whole.day[rows], 56, PERIOD), 0.01)
    assert WHOLE in drifted(found)
    assert (WHOLE in broken(found)) is is_broken


def test_rows_that_come_twice_are_broken(reference: Window) -> None:
    week = window(10, 56, PERIOD)
    twice = np.repeat(np.arange(len(week.frame)), 1 + (np.arange(len(week.frame)) % 3 == 0))
    found = detect_drift(reference, Window(week.frame.iloc[twice], week.day[twice], 56, PERIOD), 0.01)
    duplicates = next(one for one in found if one.statistic == "duplicate share")
    assert duplicates.is_broken
    assert duplicates.sentence == "duplicate share 25.0%, was 0.0%"


def test_a_day_without_rows_is_broken_where_there_never_was_one(reference: Window) -> None:
    whole = window(10, 56, PERIOD)
    rows = whole.day != 60
    less = Window(whole.frame[rows], whole.day[rows], 56, PERIOD)
    found = detect_drift(reference, less, 0.01)
    assert broken(found) == {WHOLE}
    assert found[0].statistic == "days without rows"
    there = reference.day != 10
    weekends = Window(reference.frame[there], reference.day[there], 0, REFERENCE)
    assert not broken(detect_drift(weekends, less, 0.01))


def test_a_day_without_rows_is_no_broken_data_where_the_quietest_days_have_few(reference: Window) -> None:
    few = reference.day % 7 == 6
    few[np.flatnonzero(few)] = np.arange(few.sum()) % 20 > 0  # most rows of each Sunday go
    quiet = Window(reference.frame[~few], reference.day[~few], 0, REFERENCE)
    assert 0 < quiet.rows.min() <= 3
    whole = window(10, 56, PERIOD)
    rows = whole.day % 7 != 6
    found = detect_drift(quiet, Window(whole.frame[rows], whole.day[rows], 56, PERIOD), 0.01)
    (one,) = (one for one in found if one.statistic == "days without rows")
    assert (one.drifted, one.is_broken) == (True, False)


def test_half_of_the_rows_of_a_week_are_missed_though_weekends_have_hardly_any() -> None:
    """Each real week has two days of weekend, so that chance does not make weeks of weekends."""
    usual, week = window(0, 0, REFERENCE), window(12, REFERENCE, PERIOD)

    def at_work(some: Window, every: int) -> Window:
        place = np.arange(len(some.frame))
        rows = (place % every == 0) & (~np.isin(some.day % 7, (5, 6)) | (place % 4 == 0))
        return Window(some.frame[rows], some.day[rows], some.first, some.days)

    assert drifted(detect_drift(at_work(usual, 1), at_work(week, 1), 0.01)) == set()
    assert WHOLE in drifted(detect_drift(at_work(usual, 1), at_work(week, 2), 0.01))


def hourly(seed: int, first: int, days: int) -> Window:
    """Counts that are mostly zero and at times many; the wind of an hour, which several rows share."""
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(first, first + days), ROWS)
    wild = draw.gamma(0.5, 4, days)[day - first]
    wind = np.repeat(draw.integers(0, 36, (days, ROWS // 5)), 5) * 10.0
    frame = {"waiting": draw.poisson(wild * draw.integers(0, 2, day.size)), "wind": wind}
    return Window(pd.DataFrame(frame), day, first, days)


@pytest.mark.parametrize(
    ("column", "change", "statistic", "days"),
    [
        ("waiting", lambda values: values * 1.609, "new share", PERIOD),
        ("waiting", lambda values: -values, "out of bounds", 1),
        ("waiting", lambda values: values * 1000, "out of range", 1),
        ("wind", lambda values: values * np.pi / 180, "new share", 1),
    ],
)
def test_what_no_chance_does_is_seen_at_once(
    column: str, change: Callable[[pd.Series], pd.Series], statistic: str, days: int
) -> None:
    usual, day = hourly(0, 0, REFERENCE), hourly(1, REFERENCE, days)
    assert drifted(detect_drift(usual, day, 0.01)) == set()
    found = detect_drift(usual, changed(day, column, change), 0.01)
    of_column = {one.statistic: one for one in found if one.column == column}
    assert of_column[statistic].drifted
    assert of_column[statistic].is_broken == (statistic == "out of bounds")  # moved values only warn


def windy(seed: int, first: int, days: int) -> Window:
    """A wind that several rows share: its speed, and its direction, which is 0 where there is none."""
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(first, first + days), ROWS)
    calm = np.repeat(draw.random((days, ROWS // 5)) < draw.beta(1, 12, (days, 1)), 5)
    direction = np.repeat(draw.integers(1, 37, (days, ROWS // 5)), 5) * 10.0
    speed = np.repeat(draw.integers(3, 30, (days, ROWS // 5)), 5) * 1.0
    frame = {"direction": np.where(calm, 0, direction), "speed": np.where(calm, 0, speed)}
    return Window(pd.DataFrame(frame), day, first, days)


def stale_in_the_afternoon(values: pd.Series) -> pd.Series:
    return values.mask(np.arange(len(values)) % ROWS > 0.65 * ROWS).ffill()


@pytest.mark.parametrize(
    ("change", "statistic"),
    [
        (lambda values: values.mask(np.arange(len(values)) % 5 == 0, 0.0), "residual mean"),
        (stale_in_the_afternoon, "modal share"),
    ],
)
def test_a_default_and_a_feed_that_stops_are_seen_within_a_week(
    change: Callable[[pd.Series], pd.Series], statistic: str
) -> None:
    """Zero is a value that calm weather has too; a value that repeats is one that hours have too."""
    usual, week = windy(0, 0, REFERENCE), windy(1, REFERENCE, PERIOD)
    assert drifted(detect_drift(usual, week, 0.01)) == set()
    found = detect_drift(usual, changed(week, "direction", change), 0.01)
    assert "direction" in {one.column for one in found if one.drifted and one.statistic == statistic}


def test_values_in_another_order_are_seen_by_their_relation_to_other_columns() -> None:
    """Each day has the same values as before, and residuals that differ by day far more than that."""
    draw = np.random.default_rng(0)

    def days(first: int, number: int) -> Window:
        day = np.repeat(np.arange(first, first + number), 300)
        wild, cause = draw.lognormal(0, 1, number)[day - first], draw.normal(size=day.size)
        queue = wild * (0.4 * cause + draw.normal(size=day.size))
        return Window(pd.DataFrame({"cause": cause, "queue": queue}), day, first, number)

    usual, week = days(0, REFERENCE), days(REFERENCE, PERIOD)
    assert drifted(detect_drift(usual, week, 0.01)) == set()
    mixed = changed(week, "queue", lambda queue: queue.groupby(week.day).transform(draw.permutation))
    found = [one for one in detect_drift(usual, mixed, 0.01) if one.drifted]
    assert {one.statistic for one in found} == {"residual by prediction"}


@pytest.mark.parametrize(("days", "columns"), [(1, set()), (5, {"temperature"})])
def test_one_wild_day_is_no_drift_of_a_week(reference: Window, days: int, columns: set[str]) -> None:
    current = window(10, 56, PERIOD)
    wild = np.where(current.day < 56 + days, 25.0, 0.0)
    found = detect_drift(reference, changed(current, "temperature", lambda values: values + wild), 0.01)
    assert drifted(found) == columns


def test_a_fault_is_blamed_on_its_column_and_told_since_its_day(reference: Window) -> None:
    """Of three columns that go together two look odder than the one with the fault."""

    def going_together(some: Window, seed: int, default: float | None = None) -> Window:
        draw = np.random.default_rng(seed)
        heat = some.frame["temperature"]
        damp = heat * 0.5 + some.frame["late_share"] * 20 + draw.normal(0, 2, len(heat))
        dew = heat - damp * 0.4 + draw.normal(0, 0.3, len(heat))
        if default is not None:
            damp = damp.mask((draw.random(len(heat)) < 0.4) & (some.day >= 60), default)
        return Window(some.frame.assign(damp=damp, dew=dew), some.day, some.first, some.days)

    usual, current = going_together(reference, 0), window(10, 56, PERIOD)
    assert not drifted(detect_drift(usual, going_together(current, 1), 0.01))
    found = detect_drift(usual, going_together(current, 1, default=25.0), 0.01)
    assert drifted(found) == {"damp"}
    assert found[0].since == 60
    assert found[0].series is not None
    assert (len(found[0].series.usual), len(found[0].series.now)) == (REFERENCE, PERIOD)


def test_missing_values_say_how_many(reference: Window) -> None:
    week = changed(window(10, 56, PERIOD), "temperature", one_in_five_missing)
    found = detect_drift(reference, week, 0.01)[0]
    assert (found.statistic, found.sentence) == ("missing share", "missing share 20.0%, was 0.0%")
    assert found.value == pytest.approx(0.2)
    assert found.limit < found.value


def test_a_short_reference_is_refused(reference: Window) -> None:
    with pytest.raises(ValueError, match="56 days of reference are fewer than 2 windows of 29"):
        detect_drift(reference, window(10, 56, 29), 0.01)


def test_rows_outside_their_window_are_refused() -> None:
    with pytest.raises(ValueError, match="outside the 2 days from 5"):
        Window(pd.DataFrame({"x": [1, 2]}), np.array([5, 7]), 5, 2)


def test_ratios_are_what_their_formulas_say() -> None:
    day = np.array([0, 0, 0, 0, 1, 1])
    frame = pd.DataFrame({"x": [1.0, 1.0, 2.0, np.nan, 3.0, 3.0], "place": [*"aab", None, *"cc"]})
    counted = {one.kind.name: one for one in Reference(Window(frame, day, 0, 2)).statistics}
    both = np.ones((1, 2))
    assert counted["missing share"].ratio(both).tolist() == [[1 / 6, 1 / 6]]
    assert counted["modal share"].ratio(both)[0] == pytest.approx([(2 / 3 + 1) / 2] * 2)
    assert counted["new share"].ratio(both)[0].tolist() == [1]  # the days share no value
    assert counted["unseen share"].ratio(both)[0].tolist() == [1]
    assert counted["duplicate share"].ratio(both)[0].tolist() == [2 / 6]
    assert counted["days without rows"].ratio(both)[0].tolist() == [0]
    assert counted["rows a day"].ratio(both)[0].tolist() == [3]
    assert dict(zip(counted["level share"].labels, counted["level share"].ratio(both)[0], strict=True)) == {
        "a": 2 / 5,
        "b": 1 / 5,
        "c": 2 / 5,
    }


def test_out_of_range_is_what_lies_more_than_half_a_width_beyond_the_range_of_the_reference() -> None:
    usual = Reference(Window(pd.DataFrame({"x": [0.0, 1.0, 2.0, 4.0]}), np.array([0, 0, 1, 1]), 0, 2))
    frame = pd.DataFrame({"x": [6.0, 8.1, -2.0, -5.0, np.nan]})
    counted = usual.count(Window(frame, np.full(5, 2), 2, 1))
    (beyond,) = (one for one in counted if one.kind.name == "out of range")
    assert beyond.ratio(np.ones((1, 1)))[0, 0] == 2 / 5


def test_rank_sums_are_those_of_mann_and_whitney() -> None:
    draw, kind = np.random.default_rng(7), Statistic("some", 0.1, ranked=True)
    now, usual = draw.normal(1, 1, PERIOD), draw.normal(0, 1, REFERENCE)

    def of(days: np.ndarray) -> DailyStatistic:
        return DailyStatistic.of(kind, [("x", "", days, np.ones(days.size))])

    weights = np.ones((1, PERIOD)), np.ones((1, REFERENCE))
    expected = mannwhitneyu(now, usual, method="asymptotic", use_continuity=False).pvalue
    assert 2 * norm.sf(rank_sums(of(now), of(usual), *weights)[0, 0]) == pytest.approx(expected)


def test_a_change_of_all_days_is_found_among_days_of_which_some_are_stormy() -> None:
    """The sum over a week, even without its furthest day, does not show it: ranks of the days do."""
    draw, found = np.random.default_rng(8), {True: 0, False: 0}
    for ranked in found:
        kind = Statistic("some", 0.1, jackknifed=not ranked, ranked=ranked)
        for _ in range(20):
            days = 0.1 * draw.normal(size=(REFERENCE + PERIOD, 10)) + draw.pareto(3, (REFERENCE + PERIOD, 10))
            days[REFERENCE:, 0] += 1
            then, now = (
                DailyStatistic(kind, tuple(map(str, range(10))), ("",) * 10, some, np.ones(some.shape))
                for some in (days[:REFERENCE], days[REFERENCE:])
            )
            limits = calibrate([then], PERIOD, 0.005)
            reached = compare_days([now], [then], np.ones((1, PERIOD)), np.ones((1, REFERENCE)))
            found[ranked] += bool((reached[kind.name] >= limits[kind.name]).any())
    assert found[True] >= 16
    assert found[False] <= 10


def test_a_week_whose_days_all_lie_beyond_the_reference_is_found_however_alike_neighbours_are() -> None:
    days = np.cumsum(np.random.default_rng(3).normal(size=(REFERENCE, 1)), axis=0)
    kind, ones = Statistic("some", 0.1, ranked=True), np.ones((REFERENCE, 1))
    then, beyond = (
        DailyStatistic(kind, ("x",), ("",), some, ones[: len(some)])
        for some in (days, days.max() + ones[:PERIOD])
    )
    assert widening(then, PERIOD)[0] > 1.9
    reached = compare_days([beyond], [then], np.ones((1, PERIOD)), np.ones((1, REFERENCE)))
    assert reached["some"][0, 0] >= calibrate([then], PERIOD, 0.001)["some"][0]


@pytest.mark.parametrize(("alike", "correlation", "most"), [(10, 0.3, 0.025), (5, 0.6, 0.07)])
@pytest.mark.parametrize("ranked", [True, False])
def test_weeks_of_days_that_resemble_their_neighbours_hardly_alarm_falsely(
    alike: int, correlation: float, most: float, *, ranked: bool
) -> None:
    """They vary more than weeks of days drawn one by one, whose limits would alarm in 5 to 13% of weeks."""
    draw, items, weeks, alarms = np.random.default_rng(9), 10, 40, 0.0
    kind = Statistic("", 0.1, jackknifed=not ranked, ranked=ranked)
    for _ in range(20):
        days = draw.normal(size=(12 * PERIOD + weeks * PERIOD, items))
        for day in range(1, len(days)):
            days[day, :alike] *= np.sqrt(1 - correlation**2)
            days[day, :alike] += correlation * days[day - 1, :alike]
        then, now = (
            DailyStatistic(kind, tuple(map(str, range(items))), ("",) * items, some, np.ones(some.shape))
            for some in np.split(days, [12 * PERIOD])
        )
        limit = calibrate([then], PERIOD, 0.01)[kind.name]
        each_week = np.repeat(np.eye(weeks), PERIOD, axis=1)
        distance = compare_days([now], [then], each_week, np.ones((weeks, 12 * PERIOD)))[kind.name]
        alarms += (distance >= limit).any(axis=1).mean()
    assert alarms / 20 <= most

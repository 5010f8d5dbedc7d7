from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fivestage.monitoring.daily_counts import examine
from fivestage.monitoring.distances import MISSING, WindowCounts, bin_column, count_days, jensen_shannon
from fivestage.monitoring.drift import BROKEN, VOLUME, chances_of, compare, detect_drift
from fivestage.monitoring.drift_page import write_drift_page

REFERENCE, PERIOD, ROWS = 56, 7, 60


def window(seed: int, first: int, days: int) -> WindowCounts:
    """Days that differ more than their rows do: in weather, in lateness, in what is missing."""
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(first, first + days), ROWS)
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
    return WindowCounts(frame, day, first, days)


@pytest.fixture(scope="module")
def reference() -> WindowCounts:
    return window(0, 0, REFERENCE)


def changed(base: WindowCounts, column: str, change: Callable[[pd.Series], pd.Series]) -> WindowCounts:
    return WindowCounts(
        base.frame.assign(**{column: change(base.frame[column])}), base.day, base.first, base.days
    )


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


def days_of(pool: WindowCounts, days: np.ndarray, first: int) -> WindowCounts:
    """Some days of a pool as a window."""
    rows = np.concatenate([np.flatnonzero(pool.day == day) for day in days])
    day = np.repeat(np.arange(first, first + len(days)), ROWS)
    return WindowCounts(pool.frame.iloc[rows].reset_index(drop=True), day, first, len(days))


@pytest.mark.parametrize("days", [1, PERIOD])
def test_alarms_are_false_as_often_as_stated(days: int) -> None:
    pool, draw, alarms = window(1, 0, 300), np.random.default_rng(2), 0
    for seed in range(6):
        order = draw.permutation(300)
        examined = examine(days_of(pool, order[:REFERENCE], 0), seed)
        chances = chances_of(examined, days, 0.05, seed)
        for number in range(10):
            some = order[REFERENCE + number * days : REFERENCE + (number + 1) * days]
            alarms += bool(compare(examined, days_of(pool, some, REFERENCE), chances).drifted)
    assert alarms <= 8  # 3 are expected; more than 8 happen once in 270 times


def test_rows_taken_for_independent_would_always_alarm(reference: WindowCounts) -> None:
    """Why all this: the threshold from shuffled rows lies below what unchanged days do."""
    shuffled = np.random.default_rng(3).permutation(reference.day)
    by_row = WindowCounts(reference.frame[["temperature"]], shuffled, reference.first, reference.days)
    by_day = WindowCounts(reference.frame[["temperature"]], reference.day, reference.first, reference.days)
    rows, days = (
        chances_of(examine(some), PERIOD, 0.01)["distance"].threshold[0] for some in (by_row, by_day)
    )
    assert rows < 0.5 * days


def test_a_week_like_the_others_is_silent(reference: WindowCounts) -> None:
    report = detect_drift(reference, window(10, 56, PERIOD), 0.01)
    assert (report.drifted, report.broken, report.sentences) == ((), (), ())
    assert [column.column for column in report.columns] == list(reference.frame)
    assert all(column.sentence.endswith("as in the reference") for column in report.columns)


@pytest.mark.parametrize(
    "columns", [["place"], ["place", "is_late"], ["is_late"], ["temperature", "is_late"]]
)
def test_tables_of_few_columns_and_kinds_are_judged_too(reference: WindowCounts, columns: list[str]) -> None:
    before, now = (
        replace(one, frame=one.frame.assign(is_late=(one.frame["score"] > 0.3) * 1.0)[columns])
        for one in (reference, window(10, 56, PERIOD))
    )
    assert detect_drift(before, now, 0.01).drifted == ()
    gone = changed(now, columns[0], lambda values: values.mask(np.arange(len(values)) % 2 == 0))
    assert columns[0] in detect_drift(before, gone, 0.01).broken


def test_a_table_in_which_no_column_is_watched_is_judged_by_its_rows(
    reference: WindowCounts, tmp_path: Path
) -> None:
    before, now = (replace(one, frame=one.frame[[]]) for one in (reference, window(10, 56, PERIOD)))
    assert detect_drift(before, now, 0.01).drifted == ()
    half = replace(now, frame=now.frame.iloc[::2], day=now.day[::2])
    report = detect_drift(before, half, 0.01)
    assert report.broken == (VOLUME,)
    write_drift_page(report, before, half, tmp_path / "drift.html")


def climate(seed: int, first: int, days: int, mean: float, clear: float) -> WindowCounts:
    """A dew point that the temperature bends; visibility that is mostly the same."""
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(first, first + days), ROWS)
    warm = draw.normal(mean, 3, days)[day - first] + draw.normal(0, 2, day.size)
    dew = warm - 0.03 * (warm - 15) ** 2 + draw.normal(0, 0.5, day.size)
    fog = np.where(draw.random(day.size) < clear, 10.0, draw.integers(0, 40, day.size) / 4)
    return WindowCounts(pd.DataFrame({"temperature": warm, "dew": dew, "visibility": fog}), day, first, days)


def test_a_season_is_not_called_broken() -> None:
    """Ranges not seen before bend relations, and other weather repeats less: nothing to page for."""
    usual = climate(0, 0, REFERENCE, 15, 0.9)
    summer = detect_drift(usual, climate(1, REFERENCE, PERIOD, 24, 0.9), 0.01)
    foggy, fog = (
        detect_drift(usual, climate(1, REFERENCE, PERIOD, 15, clear), 0.01) for clear in (0.62, 0.1)
    )
    for report, column, kind in (
        (summer, "temperature", "relation"),
        (foggy, "visibility", "alike"),
        (fog, "visibility", "relation"),
    ):
        change = next(one.changes[kind] for one in report.columns if one.column == column)
        assert change.drifted
        assert change.value > BROKEN[kind]
        assert report.broken == ()


def test_a_column_that_leaves_the_others_is_called_broken() -> None:
    usual, week = climate(0, 0, REFERENCE, 15, 0.9), climate(1, REFERENCE, PERIOD, 15, 0.9)
    report = detect_drift(usual, changed(week, "dew", lambda dew: dew + 4), 0.01)
    dew = next(column for column in report.columns if column.column == "dew")
    assert dew.changes["relation"].broken
    assert "dew" in report.broken


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("days", [1, PERIOD])
def test_gross_faults_are_seen_and_called_broken(reference: WindowCounts, fault: str, days: int) -> None:
    column, change = FAULTS[fault]
    report = detect_drift(reference, changed(window(10, 56, days), column, change), 0.01)
    assert column in report.drifted
    if days == PERIOD:
        assert report.broken == (column,)
        assert report.sentences[0].startswith(f"{column}: ")


def test_a_shift_of_level_is_drift_but_not_broken(reference: WindowCounts) -> None:
    shifted = changed(
        window(10, 56, PERIOD), "place", lambda place: place.mask(np.arange(420) % 6 == 0, "west")
    )
    report = detect_drift(reference, shifted, 0.01)
    assert report.drifted == ("place",)
    assert report.broken == ()
    assert "'west' has " in report.sentences[0]


@pytest.mark.parametrize(("kept", "broken"), [(6, ()), (3, (VOLUME,)), (0, (VOLUME,))])
def test_rows_that_do_not_come_are_seen(reference: WindowCounts, kept: int, broken: tuple[str, ...]) -> None:
    whole = window(10, 56, PERIOD)
    rows = np.arange(len(whole.frame)) % 10 < kept
    report = detect_drift(reference, WindowCounts(whole.frame[rows], whole.day[rows], 56, PERIOD), 0.01)
    assert VOLUME in report.drifted
    assert report.broken == broken


def test_a_day_without_rows_is_broken_where_there_never_was_one(reference: WindowCounts) -> None:
    whole = window(10, 56, PERIOD)
    rows = whole.day != 60
    report = detect_drift(reference, WindowCounts(whole.frame[rows], whole.day[rows], 56, PERIOD), 0.01)
    assert report.broken == (VOLUME,)
    assert report.sentences[0].endswith("none at all on 1 of 7 days, which never was")
    sparse = np.flatnonzero(np.arange(len(reference.frame)) % ROWS < 3)
    few = WindowCounts(reference.frame.iloc[sparse], reference.day[sparse], 0, REFERENCE)
    rows &= np.arange(len(whole.frame)) % ROWS < 3
    assert not detect_drift(few, WindowCounts(whole.frame[rows], whole.day[rows], 56, PERIOD), 0.01).broken
    rows = whole.day != 60
    there = reference.day != 10
    weekends = WindowCounts(reference.frame[there], reference.day[there], 0, REFERENCE)
    assert not detect_drift(
        weekends, WindowCounts(whole.frame[rows], whole.day[rows], 56, PERIOD), 0.01
    ).broken


def test_half_of_the_rows_are_missed_on_the_first_day_though_sundays_have_fewer() -> None:
    """A tail that ends is not carried on for ever: no day has fewer rows than a Sunday."""
    usual, day = window(0, 0, REFERENCE), window(12, REFERENCE, 1)
    closed = (usual.day % 7 == 6) & (np.arange(len(usual.frame)) % 4 == 0)
    fewer = WindowCounts(usual.frame[~closed], usual.day[~closed], 0, REFERENCE)
    for kept, drifted in ((3, ()), (2, (VOLUME,))):
        rows = np.arange(ROWS) % 4 < kept
        some = WindowCounts(day.frame[rows], day.day[rows], REFERENCE, 1)
        assert detect_drift(fewer, some, 0.01).drifted == drifted, kept


def test_half_of_the_rows_of_a_week_are_missed_though_weekends_have_hardly_any() -> None:
    """Each real week has two days of weekend, so that chance does not make weeks of weekends."""
    usual, week = window(0, 0, REFERENCE), window(12, REFERENCE, PERIOD)

    def at_work(some: WindowCounts, every: int) -> WindowCounts:
        place = np.arange(len(some.frame))
        rows = (place % every == 0) & (~np.isin(some.day % 7, (5, 6)) | (place % 4 == 0))
        return WindowCounts(some.frame[rows], some.day[rows], some.first, some.days)

    assert detect_drift(at_work(usual, 1), at_work(week, 1), 0.01).drifted == ()
    assert VOLUME in detect_drift(at_work(usual, 1), at_work(week, 2), 0.01).drifted


def hourly(seed: int, first: int, days: int) -> WindowCounts:
    """Counts that are mostly zero and at times many; the wind of an hour, which several rows share."""
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(first, first + days), ROWS)
    wild = draw.gamma(0.5, 4, days)[day - first]
    wind = np.repeat(draw.integers(0, 36, (days, ROWS // 5)), 5) * 10.0
    frame = {"waiting": draw.poisson(wild * draw.integers(0, 2, day.size)), "wind": wind}
    return WindowCounts(pd.DataFrame(frame), day, first, days)


@pytest.mark.parametrize(
    ("column", "change", "told"),
    [
        ("waiting", lambda values: values * 1.609, "are no multiples of 1"),
        ("waiting", lambda values: -values, "lie below 0"),
        ("wind", lambda values: values * np.pi / 180, "are no multiples of 10"),
        ("wind", lambda values: values.mask(np.arange(ROWS) > ROWS / 2).ffill(), "a late feed?"),
    ],
)
def test_what_no_chance_does_is_seen_on_the_first_day(
    column: str, change: Callable[[pd.Series], pd.Series], told: str
) -> None:
    usual, day = hourly(0, 0, REFERENCE), hourly(1, REFERENCE, 1)
    assert detect_drift(usual, day, 0.01).drifted == ()
    report = detect_drift(usual, changed(day, column, change), 0.01)
    assert report.broken == (column,)
    assert told in report.sentences[0]


@pytest.mark.parametrize(("days", "drifted"), [(1, ()), (5, ("temperature",))])
def test_one_wild_day_is_no_drift_of_a_week(
    reference: WindowCounts, days: int, drifted: tuple[str, ...]
) -> None:
    current = window(10, 56, PERIOD)
    wild = np.where(current.day < 56 + days, 25.0, 0.0)
    report = detect_drift(reference, changed(current, "temperature", lambda values: values + wild), 0.01)
    assert report.drifted == drifted


def test_a_fault_is_blamed_on_its_column_and_told_since_its_day(reference: WindowCounts) -> None:
    """Of three columns that go together two look odder than the one with the fault."""

    def going_together(some: WindowCounts, seed: int, default: float | None = None) -> WindowCounts:
        draw = np.random.default_rng(seed)
        heat = some.frame["temperature"]
        damp = heat * 0.5 + some.frame["late_share"] * 20 + draw.normal(0, 2, len(heat))
        dew = heat - damp * 0.4 + draw.normal(0, 0.3, len(heat))
        if default is not None:
            damp = damp.mask((draw.random(len(heat)) < 0.4) & (some.day >= 60), default)
        frame = some.frame.assign(damp=damp, dew=dew)
        return WindowCounts(frame, some.day, some.first, some.days)

    usual, current = going_together(reference, 0), window(10, 56, PERIOD)
    assert not detect_drift(usual, going_together(current, 1), 0.01).drifted
    report = detect_drift(usual, going_together(current, 1, default=25.0), 0.01)
    assert report.broken == ("damp",)
    assert [one.since for one in report.columns if one.column == "damp"] == [60 - 56]


def test_missing_values_say_how_many(reference: WindowCounts) -> None:
    report = detect_drift(
        reference, changed(window(10, 56, PERIOD), "temperature", one_in_five_missing), 0.01
    )
    found = report.columns[0]
    assert found.missing_share == pytest.approx(0.2)
    assert found.missing_reference == 0
    assert "missing in 20.0% of rows, was 0.0%" in found.sentence


def test_a_short_reference_is_refused(reference: WindowCounts) -> None:
    with pytest.raises(ValueError, match="56 days of reference are fewer than 2 windows of 29"):
        detect_drift(reference, window(10, 56, 29), 0.01)


def test_rows_outside_their_window_are_refused() -> None:
    with pytest.raises(ValueError, match="outside the 2 days from 5"):
        WindowCounts(pd.DataFrame({"x": [1, 2]}), np.array([5, 7]), 5, 2)


def test_the_distance_is_that_of_scipy(reference: WindowCounts) -> None:
    scipy = pytest.importorskip("scipy.spatial.distance")
    binnings = tuple(bin_column(reference.frame[name]) for name in reference.frame)
    counts = count_days(reference, binnings)
    found = jensen_shannon(counts.of_days(np.arange(0, 28)), counts.of_days(np.arange(28, 56)))
    ends = [*counts.starts[1:], counts.cells.shape[1]]
    for column, (start, end) in enumerate(zip(counts.starts, ends, strict=True)):
        for day in range(28):
            expected = scipy.jensenshannon(counts.cells[day, start:end], counts.cells[day + 28, start:end])
            assert found[day, column] == pytest.approx(expected, abs=1e-7)


def test_frequent_numbers_have_cells_of_their_own() -> None:
    values = pd.Series([10.0] * 96 + [9.0, 9.5, 11.0, np.nan], name="visibility")
    binning = bin_column(values)
    assert "10" in binning.labels
    codes = binning.codes(pd.Series([9.0, 9.99, 10.0, 10.01, 99.0, -99.0, np.nan, np.inf]))
    assert len(set(codes[:2])) == 1
    assert len(set(codes[[1, 2, 3, 4, 5, 6]])) == 6
    assert codes[6] == codes[7] == MISSING
    assert set(codes[[4, 5]]) == set(binning.unseen)


def test_rare_levels_share_a_cell_and_new_ones_have_theirs() -> None:
    values = pd.Series([f"level {level}" for level in range(60) for _ in range(60 - level)], name="place")
    binning = bin_column(values)
    codes = binning.codes(pd.Series(["level 0", "level 49", "level 50", "level 59", "other", None]))
    assert [binning.labels[code] for code in codes[:-1]] == [
        "level 0",
        "level 49",
        "(rare)",
        "(rare)",
        "(unseen)",
    ]
    assert codes[-1] == MISSING


@pytest.mark.parametrize("fault", [None, "unit", "missing", "new level", "all missing"])
def test_evidently_comes_to_the_same_verdict(
    reference: WindowCounts, tmp_path: Path, fault: str | None
) -> None:
    current = window(10, 56, PERIOD)
    if fault:
        current = changed(current, *FAULTS[fault])
    report = detect_drift(reference, current, 0.01)
    page = tmp_path / "pages" / "drift.html"
    assert write_drift_page(report, reference, current, page) == report.drifted
    assert "<html" in page.read_text()[:1000]

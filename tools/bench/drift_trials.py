"""Trials of the drift checks on real rows: random samples of whole days, with and without faults.

Days drawn at random do not resemble their neighbours; only `consecutive_periods` shows the effect if they do.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from fivestage.common.columns import Ints
from fivestage.evaluation.daily import Bools, Column, Floats
from fivestage.monitoring.daily_statistics import ROWS, CodedColumn, DailyStatistic, Window
from fivestage.monitoring.drift import (
    WEEK,
    Limits,
    Reference,
    Statistics,
    calibrate,
    compare,
    compare_days,
)
from fivestage.monitoring.label_drift import (
    CONFIDENT_ROWS,
    LABEL,
    SCORE_INPUT,
    label_statistics,
)
from tools.bench.best_statistic import Names, Reached, gather, names_of, reached
from tools.bench.faults import Fault, LabelFault, touched

Measure = Callable[[int, Floats], Statistics]  # exceedance of windows with a number of days and their weights
DRAWN_WINDOWS = 30  # per trial, for the distribution of unchanged windows of several days
OVERALL = (LABEL, CONFIDENT_ROWS, SCORE_INPUT)
PROCESSES = 2
# Least share of changed rows for a window to count, for gross faults and others.
TOUCHED = {True: 0.1, False: 0.02}


@dataclass(frozen=True)
class Table:
    """Monitored features, the day of each row, its label, and the monitored model's forecast."""

    frame: pd.DataFrame
    day: Ints
    label: Column
    forecast: Floats


@dataclass(frozen=True)
class Plan:
    """The days from which a trial draws its reference and its other days, and the lengths of its windows."""

    days: Ints  # in their order
    reference: int
    others: int
    lengths: tuple[int, ...]
    false_alarm: float


@dataclass
class Seen:
    """Detections in faulty windows of a day and of a week."""

    day: list[bool] = field(default_factory=list)
    week: list[bool] = field(default_factory=list)
    until: list[int] = field(default_factory=list)  # days until a window that grows daily alarms
    named: list[bool] = field(default_factory=list)  # whether a one-day alarm names a column of the fault
    broken: list[bool] = field(default_factory=list)  # whether a one-day alarm reports broken data
    reach: list[tuple[str, float, float]] = field(default_factory=list)  # of one-day windows, see `reach_of`
    reached: Reached = field(default_factory=dict)

    def add(self, other: "Seen") -> None:
        """Add the detections of another trial."""
        for name in ("day", "week", "until", "named", "broken", "reach"):
            getattr(self, name).extend(getattr(other, name))
        gather(self.reached, other.reached)


@dataclass
class Unchanged:
    """Alarms and exceedances in windows without a fault.

    Alarms are by length of the window; those of a trial share its reference, so they stay together.
    """

    alarms: dict[int, list[list[bool]]] = field(default_factory=dict)
    reached: Reached = field(default_factory=dict)

    def add(self, other: "Unchanged") -> None:
        """Add the windows of another trial."""
        for key, found in other.alarms.items():
            self.alarms.setdefault(key, []).extend(found)
        gather(self.reached, other.reached)


def window_of(table: Table, days: Ints) -> tuple[Window, Ints]:
    """Return a window of some days, renumbered in order, and the positions of its rows."""
    where = [np.flatnonzero(table.day == one) for one in days]
    of_day = np.repeat(np.arange(len(days)), [len(some) for some in where])
    rows = np.concatenate(where)
    return Window(table.frame.iloc[rows].reset_index(drop=True), of_day, 0, len(days)), rows


def drawn(plan: Plan, draw: np.random.Generator) -> tuple[Ints, Ints]:
    """Draw days for the reference, and others from the same period; both have every weekday equally often."""
    length = plan.reference + plan.others
    start = int(draw.integers(len(plan.days) - length + 1))
    days = plan.days[start + exchanged(length, draw)]
    return days[: plan.reference], days[plan.reference :]


def exchanged(days: int, draw: np.random.Generator) -> Ints:
    """Return the numbers of consecutive days, of which those of each weekday have changed places."""
    place = np.arange(days)
    for weekday in range(WEEK):
        place[weekday::WEEK] = draw.permutation(place[weekday::WEEK])
    return place


def consecutive(length: int, days: int) -> Floats:
    """Return the weights of disjoint windows with a number of days: windows x days."""
    weight = np.zeros((days // length, days))
    for place, row in enumerate(weight):
        row[place * length : (place + 1) * length] = 1
    return weight


def growing(days: int) -> Floats:
    """Return the weights of the first one to seven days of each week: weeks x WEEK x days."""
    weeks = consecutive(WEEK, days)
    return np.stack([np.where(weeks.cumsum(axis=1) <= length, weeks, 0) for length in range(1, WEEK + 1)], 1)


def drawn_windows(length: int, days: int, draw: np.random.Generator) -> Floats:
    """Draw windows with the weekdays of consecutive days, or take each day: windows x days."""
    if length == 1:
        return np.eye(days)
    weight = np.zeros((DRAWN_WINDOWS, days))
    for row in weight:
        start = int(draw.integers(days - length + 1))
        row[exchanged(days, draw)[start : start + length]] = 1
    return weight


def exceedance_of(
    days: Sequence[DailyStatistic], usual: Sequence[DailyStatistic], limits: Limits, weight: Floats
) -> Statistics:
    """Return how far windows reach towards the limits, 1 or more being an alarm: windows x items."""
    found = compare_days(days, usual, weight, np.ones((len(weight), len(usual[0].numerator))))
    return {name: distance / limits[name] for name, distance in found.items()}


def unchanged(number: int, table: Table, plan: Plan) -> Unchanged:
    """Run a trial without a fault."""
    draw = np.random.default_rng([plan.others, number])
    of_reference, of_others = drawn(plan, draw)
    reference = Reference(window_of(table, of_reference)[0])
    days = reference.count(window_of(table, of_others)[0])
    found, names = Unchanged(), names_of(reference.statistics)
    for length in plan.lengths:
        limits = calibrate(reference.statistics, length, plan.false_alarm)
        windows = drawn_windows(length, plan.others, draw)
        far = exceedance_of(days, reference.statistics, limits, windows)
        found.alarms[length] = [any_statistic(far).tolist()]
        if length in (1, WEEK):
            gather(found.reached, reached(far, names, length))
    return found


def faulty(number: int, table: Table, plan: Plan, faults: list[Fault]) -> list[Seen]:
    """Run a trial with each fault, and return its detections."""
    draw = np.random.default_rng([1, number])
    of_reference, of_others = drawn(plan, draw)
    reference, others = Reference(window_of(table, of_reference)[0]), window_of(table, of_others)[0]
    limits = {
        length: calibrate(reference.statistics, length, plan.false_alarm) for length in range(1, WEEK + 1)
    }
    first = Window(others.frame[others.day == 0], others.day[others.day == 0], 0, 1)
    measure_of, names = partial(_measure, reference, limits), names_of(reference.statistics)
    usual = measure_of(reference.count(others))(1, np.eye(plan.others))
    found = []
    for fault in faults:
        broken = fault.put(others, reference.window.frame, draw)
        share = touched(others, broken)
        compared = names, fault.columns or (ROWS,)
        seen = detections(measure_of(reference.count(broken)), share, TOUCHED[fault.gross], usual, compared)
        if share[0] >= TOUCHED[fault.gross]:
            findings = compare(reference, fault.put(first, reference.window.frame, draw), limits[1])
            drifted = {one.column for one in findings if one.drifted}
            expected = set(fault.columns or (ROWS,))
            seen.named += [bool(expected & drifted)] if drifted else []
            seen.broken += [any(one.is_broken for one in findings)] if drifted else []
        found.append(seen)
    return found


def _measure(reference: Reference, limits: dict[int, Limits], days: Sequence[DailyStatistic]) -> Measure:
    return lambda length, weight: exceedance_of(days, reference.statistics, limits[length], weight)


def detections(
    measure: Measure, share: Floats, least: float, usual: Statistics, compared: tuple[Names, Sequence[str]]
) -> Seen:
    """Return the detections in windows of a day and a week.

    Args:
        measure: The exceedance of windows.
        share: Share of each day's rows that the fault has changed.
        least: Least such share for a window to count.
        usual: Exceedance of the same days without the fault.
        compared: The columns of all numbers, and the columns to watch if the fault were known.
    """
    seen, days = Seen(), share.size
    by_day = measure(1, np.eye(days))
    seen.day = any_statistic(by_day)[share >= least].tolist()
    grown = growing(days)
    enough = grown[:, -1] @ share / WEEK >= least
    exceedances = [measure(length, grown[:, length - 1]) for length in range(1, WEEK + 1)]
    alarmed = np.column_stack([any_statistic(one)[enough] for one in exceedances])
    seen.week = alarmed[:, -1].tolist()
    seen.until = np.where(alarmed.any(axis=1), alarmed.argmax(axis=1) + 1, WEEK + 1).tolist()
    for length, one, where in ((1, by_day, share >= least), (WEEK, exceedances[-1], enough)):
        gather(
            seen.reached,
            reached({kind: value[where] for kind, value in one.items()}, compared[0], length, compared[1]),
        )
    if seen.day:
        seen.reach = [reach_of(by_day, usual, share >= least)]
    return seen


def reach_of(found: Statistics, usual: Statistics, where: Bools) -> tuple[str, float, float]:
    """Return the statistic that a fault raises most, how far, and how far unchanged days raise it.

    In units of its limit: the median of the days with the fault, and the maximum of the days without.
    """
    medians = {kind: np.median(value[where], axis=0) for kind, value in found.items()}
    kind = max(medians, key=lambda name: float(medians[name].max()))
    item = int(medians[kind].argmax())
    return kind, float(medians[kind][item]), float(usual[kind][:, item].max())


def labelled(
    number: int, table: Table, plan: Plan, faults: list[LabelFault], task: str
) -> tuple[Unchanged, list[Seen]]:
    """Run a trial of the label check: unchanged windows, and detections of each fault."""
    draw = np.random.default_rng([2, number])
    of_reference, of_others = drawn(plan, draw)
    (reference, then), (others, now) = (window_of(table, one) for one in (of_reference, of_others))
    columns = [CodedColumn(reference, str(name)) for name in reference.frame]
    usual = label_statistics(reference, table.label[then], table.forecast[then], columns, task)
    lengths = {*range(1, WEEK + 1), *plan.lengths}
    limits = {length: calibrate(usual, length, plan.false_alarm) for length in lengths}

    def look(days: Sequence[DailyStatistic], length: int, weight: Floats) -> Statistics:
        return exceedance_of(days, usual, limits[length], weight)

    truth = np.asarray(table.label[now])
    inputs = [CodedColumn(others, one.name, one.reference) for one in columns]
    as_is = label_statistics(others, truth, table.forecast[now], inputs, task)
    names = names_of(usual)
    null = Unchanged()
    for length in sorted({*plan.lengths, 1, WEEK}):
        far = look(as_is, length, drawn_windows(length, plan.others, draw))
        null.alarms[length] = [any_statistic(far).tolist()]
        if length in (1, WEEK):
            gather(null.reached, reached(far, names, length))
    undisturbed = look(as_is, 1, np.eye(plan.others))
    seen = []
    for fault in faults:
        changed = fault.put(others.frame, truth, draw)
        days = label_statistics(others, changed, table.forecast[now], inputs, task)
        compared = names, (*OVERALL, *fault.columns)
        seen.append(detections(partial(look, days), np.ones(others.days), 0.0, undisturbed, compared))
    return null, seen


def best_of_rate(
    table: Table, plan: Plan, faults: list[LabelFault], task: str
) -> Iterator[tuple[str, str, float]]:
    """Yield the power of a z-test of a week's label bias, by fault and by the rows that are counted.

    The test knows the bias over all days and the variance between days, and spends all false alarms on one
    number.
    """
    window, rows = window_of(table, plan.days)
    truth, forecast = np.asarray(table.label[rows]), table.forecast[rows]
    columns = [CodedColumn(window, str(name)) for name in window.frame]
    usual, _ = label_statistics(window, truth, forecast, columns, task)
    draw = np.random.default_rng(3)
    scatter = usual.ratio(np.eye(window.days)).std(axis=0, ddof=1)
    limit = NormalDist().inv_cdf(1 - plan.false_alarm / 2) * scatter / np.sqrt(WEEK)
    weeks = np.concatenate([drawn_windows(WEEK, window.days, draw) for _ in range(DRAWN_WINDOWS)])
    for fault in (one for one in faults if not one.columns):  # the others do not change the rate
        other = fault.put(window.frame, truth, draw)
        changed, _ = label_statistics(window, other, forecast, columns, task)
        far = np.abs(changed.ratio(weeks) - usual.ratio(np.ones((1, window.days))))
        seen = (far >= limit).mean(axis=0).tolist()
        yield from ((fault.name, *one) for one in zip(usual.columns, seen, strict=True))


def any_statistic(found: Statistics) -> Bools:
    """Return for each window whether any statistic alarms."""
    return np.asarray(np.any([value.max(axis=1) >= 1 for value in found.values()], axis=0), dtype=np.bool_)


def in_parallel(work: Callable[[int], Any], numbers: range, what: str) -> Iterator[Any]:
    """Yield the results of `work` on each number, in order, from forked processes."""
    global _work  # noqa: PLW0603 (forked processes inherit it, so it need not be pickled)
    _work = work
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(
        PROCESSES, mp_context=context, initializer=threadpool_limits, initargs=(1,)
    ) as pool:
        for done, found in enumerate(pool.map(_do, numbers), 1):
            if done % max(1, len(numbers) // 5) == 0:
                print(f"{what}: {done} of {len(numbers)}", flush=True)
            yield found


_work: Callable[[int], Any]


def _do(number: int) -> Any:
    return _work(number)

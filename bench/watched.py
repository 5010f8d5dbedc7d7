"""Trials of the drift checks on real rows: whole days drawn at random, as they are and with faults put in."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from bench.faults import Fault, LabelFault, touched
from core.columns import Ints
from monitoring.chance import Chance
from monitoring.concept import (
    Products,
    Residuals,
    concept_chances,
    concept_statistics,
    count_products,
)
from monitoring.counted import Reference, Sums, count, examine
from monitoring.days import Bools, Column, Floats
from monitoring.distances import Window, bin_column
from monitoring.drift import ROWS, VOLUME, alarms, chances_of, compare
from monitoring.relations import design_of

WEEK = 7
PROCESSES = 2
TOUCHED = 0.02  # of a window's rows: a fault that changes fewer has hardly happened


@dataclass(frozen=True)
class Table:
    """Watched features, the day of each row, and what the model that is watched says of the label."""

    frame: pd.DataFrame
    day: Ints
    label: Column
    forecast: Floats


@dataclass(frozen=True)
class Plan:
    """From which days a trial draws how many for its reference, and for its windows of so many days."""

    days: Ints  # in their order
    reference: int
    others: int
    lengths: tuple[int, ...]
    false_alarm: float


@dataclass
class Seen:
    """What became of windows: alarms over windows of a day and of a week, and what they were told by."""

    day: list[bool] = field(default_factory=list)
    week: list[bool] = field(default_factory=list)
    until: list[int] = field(default_factory=list)  # days of a window that grows by a day until it alarms
    named: list[bool] = field(default_factory=list)  # alarms over a day that name a column of the fault
    kinds: dict[str, float] = field(default_factory=dict)  # sums of shares

    def add(self, other: "Seen") -> None:
        """Take up another trial's."""
        for name in ("day", "week", "until", "named"):
            getattr(self, name).extend(getattr(other, name))
        for kind, share in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0.0) + share


def window_of(table: Table, days: Ints) -> tuple[Window, Ints]:
    """Some days, numbered anew in their order; and where their rows are."""
    where = [np.flatnonzero(table.day == one) for one in days]
    of_day = np.repeat(np.arange(len(days)), [len(some) for some in where])
    rows = np.concatenate(where)
    return Window(table.frame.iloc[rows].reset_index(drop=True), of_day, 0, len(days)), rows


def drawn(plan: Plan, draw: np.random.Generator) -> tuple[Ints, Ints]:
    """Days of a reference, and others of the same stretch of time."""
    length = plan.reference + plan.others
    start = int(draw.integers(len(plan.days) - length + 1))
    days = plan.days[start + draw.permutation(length)]
    return days[: plan.reference], days[plan.reference :]


def consecutive(length: int, days: int) -> Floats:
    """Weights of windows of so many days that share none (windows, days)."""
    weight = np.zeros((days // length, days))
    for place, row in enumerate(weight):
        row[place * length : (place + 1) * length] = 1
    return weight


def growing(days: int) -> Floats:
    """Weights of the first one to seven days of each week (weeks, WEEK, days)."""
    weeks = consecutive(WEEK, days)
    return np.stack([np.where(weeks.cumsum(axis=1) <= length, weeks, 0) for length in range(1, WEEK + 1)], 1)


def unchanged(number: int, table: Table, plan: Plan) -> dict[int, list[bool]]:
    """Alarms over windows in which nothing changed but the days, by their length."""
    draw = np.random.default_rng([plan.others, number])
    of_reference, of_others = drawn(plan, draw)
    reference = examine(window_of(table, of_reference)[0])
    days, _ = count(reference, window_of(table, of_others)[0])
    return {
        length: any_kind(
            alarms(
                reference,
                days,
                consecutive(length, plan.others),
                chances_of(reference, length, plan.false_alarm),
            )
        ).tolist()
        for length in plan.lengths
    }


def faulty(number: int, table: Table, plan: Plan, faults: list[Fault]) -> list[Seen]:
    """What is seen of each fault."""
    draw = np.random.default_rng([1, number])
    of_reference, of_others = drawn(plan, draw)
    reference, others = examine(window_of(table, of_reference)[0]), window_of(table, of_others)[0]
    chances = {length: chances_of(reference, length, plan.false_alarm) for length in range(1, WEEK + 1)}
    first = Window(others.frame[others.day == 0], others.day[others.day == 0], 0, 1)
    found = []
    for fault in faults:
        broken = fault.put(others, reference.window.frame, draw)
        share = touched(others, broken)
        days, _ = count(reference, broken)
        seen = judged(partial(_alarms, reference, days, chances), share)
        if share[0] >= TOUCHED:
            report = compare(reference, fault.put(first, reference.window.frame, draw), chances[1])
            expected = set(fault.columns or (VOLUME, ROWS))
            seen.named += [bool(expected & set(report.drifted))] if report.drifted else []
        found.append(seen)
    return found


def _alarms(
    reference: Reference, days: Sums, chances: dict[int, dict[str, Chance]], length: int, weight: Floats
) -> dict[str, Bools]:
    return alarms(reference, days, weight, chances[length])


def judged(look: Callable[[int, Floats], dict[str, Bools]], share: Floats) -> Seen:
    """Windows of a day and a week whose rows a fault has touched; `look` tells the alarms of windows."""
    seen, days = Seen(), share.size
    by_day = look(1, np.eye(days))
    seen.day = any_kind(by_day)[share >= TOUCHED].tolist()
    grown = growing(days)
    enough = grown[:, -1] @ share / WEEK >= TOUCHED
    by_length = [any_kind(look(length, grown[:, length - 1])) for length in range(1, WEEK)]
    by_week = look(WEEK, grown[:, -1])
    seen.week = any_kind(by_week)[enough].tolist()
    alarmed = np.column_stack([*by_length, any_kind(by_week)])[enough]
    seen.until = np.where(alarmed.any(axis=1), alarmed.argmax(axis=1) + 1, WEEK + 1).tolist()
    seen.kinds = {kind: float(by_day[kind].mean() + by_week[kind].mean()) for kind in by_day}
    return seen


def labelled(
    number: int, table: Table, plan: Plan, faults: list[LabelFault], kind: Residuals
) -> tuple[dict[int, list[bool]], list[Seen]]:
    """Alarms of the labels' own check: where nothing changed, by length of window; and of each fault."""
    draw = np.random.default_rng([2, number])
    of_reference, of_others = drawn(plan, draw)
    (reference, then), (others, now) = (window_of(table, one) for one in (of_reference, of_others))
    design = design_of(reference.frame, tuple(bin_column(reference.frame[one]) for one in reference.frame))
    usual = count_products(reference, table.label[then], table.forecast[then], design, kind)
    lengths = {*range(1, WEEK + 1), *plan.lengths}
    chances = {length: concept_chances(usual, length, plan.false_alarm) for length in lengths}

    def look(products: Products, length: int, weight: Floats) -> dict[str, Bools]:
        found = concept_statistics(products.weighted(weight), usual.whole)
        return {name: chances[length][name].beyond(value).max(axis=1) >= 1 for name, value in found.items()}

    truth = np.asarray(table.label[now])
    as_is = count_products(others, truth, table.forecast[now], design, kind)
    null = {
        length: any_kind(look(as_is, length, consecutive(length, plan.others))).tolist()
        for length in plan.lengths
    }
    seen = []
    for fault in faults:
        changed = fault.put(others.frame, truth, draw)
        products = count_products(others, changed, table.forecast[now], design, kind)
        seen.append(judged(partial(look, products), np.ones(others.days)))
    return null, seen


def any_kind(found: dict[str, Bools]) -> Bools:
    """Whether any kind alarmed."""
    return np.asarray(np.any(list(found.values()), axis=0), dtype=np.bool_)


def spread_out(work: Callable[[int], Any], numbers: range, what: str) -> Iterator[Any]:
    """The work on each number, in their order, by processes that share this one's memory."""
    global _work  # noqa: PLW0603 (what is forked need not be pickled)
    _work = work
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(
        PROCESSES, mp_context=context, initializer=threadpool_limits, initargs=(1,)
    ) as pool:
        for done, found in enumerate(pool.map(_do, numbers), 1):
            if done % max(1, len(numbers) // 5) == 0:
                print(f"{what}: {done} of {len(numbers)}", flush=True)  # noqa: T201 (for a person)
            yield found


_work: Callable[[int], Any]


def _do(number: int) -> Any:
    return _work(number)

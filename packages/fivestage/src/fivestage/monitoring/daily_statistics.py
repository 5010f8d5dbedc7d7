"""Six groups of daily statistics: what a window of rows shows, as ratios of two sums by day.

| group | statistic of a column (or of the rows) | formula, over the days of a window |
|---|---|---|
| missing | missing share | missing values / rows |
| level shares | share of each frequent level of a category | rows of the level / values |
| volume | rows a day; days without rows | log(rows / days); empty days / days |
| duplicates | duplicate share | rows equal to an earlier one of their day / rows |
| value habits | new share: values that no (other) day of the reference has | new values / values |
| | modal share: how often a day has its most frequent value | sum of the days' modal shares / days |
| | distinct share: different values of a day per value | log(sum of the days' distinct shares / days) |
| | share out of range: numbers beyond those of all (other) days, and a margin | numbers beyond / values |
| residuals | residual mean and spread given the other columns (`residuals`) | mean; log(mean square) / 2 |

Constraints (`constraints`) add one statistic with a fixed limit. Every statistic is compared as the absolute
difference of a window from its reference, and its own days are its picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.evaluation.daily import Column, Floats, sums
from fivestage.monitoring.constraints import ANY, Rule, rule_of

# Least scales: the limits of a statistic are at least some multiple of one, so that a column that never moved
# does not alarm at the first trifle, and does not set the limit of the others.
LEAST_SHARE = 0.01  # a point: of missing values and of repeated rows, whose mocks hardly move
LEAST_LEVEL = 0.008  # shares of levels move a little on every day, so less is enough
LEAST_HABIT = 0.1  # modal, distinct and out-of-range shares: a calm day can make a column one value
LEAST_MOVE = 0.03  # new values, and the logarithm of the rows a day
RANGE_MARGIN = 0.5  # of the range that other days had: seasons go a little beyond it, other units far
FREQUENT_LEVELS = 15  # of a category, watched one by one: the rest are too few rows a day to tell
FREQUENT = 0.01  # of the rows
CONSTRAINT_LIMIT = 0.05  # of values: what always held breaks by a fault, in more values than slips explain
SLIPS = 3  # values in a window that may break a constraint
SMALL = 0.003  # added to shares before their logarithm, so that none is infinite
# From here on the data are broken, which no season does: hard evidence, for it blocks a training.
BROKEN_MISSING = 0.1  # points more missing: a model that learns from these learns the fault
BROKEN_VOLUME = float(np.log(2))  # half or twice the rows a day
BROKEN_DUPLICATES = 0.05  # of the rows come again
BROKEN_CONSTRAINT = 0.1  # of the values break what always held
ROWS = "whole rows"

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """Rows of `days` whole days from day `first` on; `day` is each row's own, days without rows count too."""

    frame: pd.DataFrame
    day: Column
    first: int
    days: int

    def __post_init__(self) -> None:
        if len(self.frame) != len(self.day):
            raise ValueError(f"{len(self.frame)} rows, but {len(self.day)} days")
        if len(self.day) and not self.first <= self.day.min() <= self.day.max() < self.first + self.days:
            raise ValueError(f"a row's day lies outside the {self.days} days from {self.first}")

    @cached_property
    def of_day(self) -> Ints:
        """The day of each row, counted from the window's first."""
        return np.asarray(self.day, dtype=np.int64) - self.first

    @cached_property
    def rows(self) -> Floats:
        """Rows by day (days,)."""
        return np.bincount(self.of_day, minlength=self.days).astype(np.float64)


@dataclass(frozen=True)
class DailyStatistic:
    """A ratio of two sums by day (days, items), of which each item tells of a column.

    `name` is the statistic, `least` the least scale, `logarithm` what is added
    to the ratio before its logarithm is taken (None: no logarithm is), `fixed_limit` a limit that is not
    calibrated, `broken` the difference from which on the data are broken rather than drifted.
    """

    name: str
    columns: tuple[str, ...]
    numerator: Floats
    denominator: Floats
    least: float | Floats
    logarithm: float | None = None
    half: bool = False  # of the logarithm: that of a standard deviation from a variance
    jackknifed: bool = False
    fixed_limit: float | None = None
    slips: int = 0  # of a window, that a fixed limit lets pass
    broken: float | None = None
    labels: tuple[str, ...] = ()  # of items, beside their columns: the level
    words: str = "{name} {now:.1%}, was {then:.1%}"

    @property
    def items(self) -> int:
        """How many numbers the statistic has."""
        return len(self.columns)

    def item(self, number: int) -> "DailyStatistic":
        """One of its items alone."""
        some = slice(number, number + 1)
        return replace(
            self,
            columns=self.columns[some],
            labels=self.labels[some],
            numerator=self.numerator[:, some],
            denominator=self.denominator[:, some],
        )

    def ratio(self, weight: Floats) -> Floats:
        """The ratio over some days (windows, items); NaN where there is nothing to divide by."""
        below = weight @ self.denominator
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(below > 0, weight @ self.numerator, np.nan) / below, dtype=np.float64)

    def distance(self, weight: Floats, other: "DailyStatistic", other_weight: Floats) -> Floats:
        """How far windows lie from windows of another's days (windows, items); 0 where one has no values."""
        now, then = self.ratio(weight), other.ratio(other_weight)
        if self.logarithm is not None:
            now, then = (np.log(np.maximum(one, 0) + self.logarithm) for one in (now, then))
        moved = np.abs(now - then) / (2 if self.half else 1)
        if self.fixed_limit is not None:
            moved = np.where(weight @ self.numerator > self.slips, moved, 0)
        return np.nan_to_num(moved)


@dataclass(frozen=True)
class KnownValues:
    """What a reference column has had: its values, its frequent levels, its constraint."""

    values: pd.Index
    levels: tuple[str, ...]
    numeric: bool
    rule: Rule = ANY


def daily_statistics(
    window: Window, columns: Sequence[str], known: Sequence[KnownValues] = ()
) -> tuple[list[DailyStatistic], list[KnownValues]]:
    """The statistics of single columns and of the rows, and what later windows are counted by.

    Without `known` the window is a reference: a day's values are then new if no other day has them.
    """
    days = window.days
    counted = [_count(window, name, known[place] if known else None) for place, name in enumerate(columns)]
    learnt = [one.known for one in counted]
    rows, ones = window.rows[:, None], np.ones((days, 1))
    parts = {
        name: np.column_stack([np.zeros((days, 0)), *(getattr(one, name) for one in counted)])
        for name in ("values", "new", "modal", "distinct", "filled", "against", "beyond")
    }
    width = len(columns)
    wide = np.repeat(rows, width, axis=1)
    names = tuple(columns)
    levels = [(name, level) for name, one in zip(names, learnt, strict=True) for level in one.levels]
    of_levels = [np.column_stack([np.zeros((days, 0)), one.levels]) for one in counted]
    level_rows = np.column_stack([np.zeros((days, 0)), *of_levels])
    level_values = np.column_stack(
        [np.zeros((days, 0)), *(np.repeat(one.values[:, None], one.levels.shape[1], 1) for one in counted)]
    )
    empty = (rows == 0).astype(np.float64)
    found = [
        DailyStatistic(
            "missing share", names, wide - parts["values"], wide, LEAST_SHARE, broken=BROKEN_MISSING
        ),
        DailyStatistic(
            "level share",
            tuple(name for name, _ in levels),
            level_rows,
            level_values,
            LEAST_LEVEL,
            jackknifed=True,
            labels=tuple(level for _, level in levels),
            words="share of '{label}' {now:.1%}, was {then:.1%}",
        ),
        DailyStatistic(
            "rows a day",
            (ROWS,),
            rows,
            ones,
            LEAST_MOVE,
            logarithm=1e-9,
            jackknifed=True,
            broken=BROKEN_VOLUME,
            words="{now:,.0f} a day, were {then:,.0f}",
        ),
        DailyStatistic(
            "duplicate share",
            (ROWS,),
            _duplicates(window, counted),
            rows,
            LEAST_SHARE,
            broken=BROKEN_DUPLICATES,
        ),
        DailyStatistic("new share", names, parts["new"], parts["values"], LEAST_MOVE),
        DailyStatistic(
            "modal share",
            names,
            parts["modal"],
            parts["filled"],
            LEAST_HABIT,
            jackknifed=True,
        ),
        DailyStatistic(
            "distinct share",
            names,
            parts["distinct"],
            parts["filled"],
            LEAST_HABIT,
            logarithm=SMALL,
            jackknifed=True,
        ),
        DailyStatistic(
            "constraint",
            names,
            parts["against"],
            parts["values"],
            0.0,
            fixed_limit=CONSTRAINT_LIMIT,
            slips=SLIPS,
            broken=BROKEN_CONSTRAINT,
        ),
    ]
    found.append(
        DailyStatistic(
            "share out of range",
            names,
            parts["beyond"],
            parts["values"],
            LEAST_HABIT,
            jackknifed=True,
        )
    )
    if not empty.any() or known:
        found.append(
            DailyStatistic("days without rows", (ROWS,), empty, ones, 0.0, fixed_limit=1e-9, broken=0.0)
        )
    return [one for one in found if one.items], learnt


@dataclass(frozen=True)
class _Counts:
    """Sums of one column by day; `levels` has a column for each frequent level."""

    known: KnownValues
    code: NDArray[np.int32]
    values: Floats
    new: Floats
    modal: Floats
    distinct: Floats
    filled: Floats  # 1 where a day has values
    against: Floats
    beyond: Floats
    levels: Floats


def _count(window: Window, name: str, known: KnownValues | None) -> _Counts:
    """Count a column by day; one that the window lacks is missing throughout."""
    days = window.days
    column = window.frame[name] if name in window.frame else pd.Series(np.nan, index=window.frame.index)
    if known and known.numeric:
        column = pd.to_numeric(column, errors="coerce")  # text in a number column is missing
    elif known:
        column = column.astype("string")
    numeric = pd.api.types.is_numeric_dtype(column)
    if numeric:
        column = column.where(np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan)))
    code, distinct = pd.factorize(column)
    there = code >= 0
    of_day, value, times = _cells(window.of_day[there], code[there], days, max(len(distinct), 1))
    values = sums(of_day, times, days)
    most = np.zeros(days)
    np.maximum.at(most, of_day, times)
    index = pd.Index(distinct)
    new = _is_new(index, value, known)
    if numeric:
        number = np.asarray(distinct, dtype=np.float64)
        rule = known.rule if known else rule_of(number, value, of_day, times)
        against = rule.broken_by(number)[value]
        beyond = _out_of_range(number, value, of_day, days, known)
    else:
        rule, against, beyond = ANY, np.zeros(value.size, dtype=bool), np.zeros(value.size, dtype=bool)
    if known:
        levels = known.levels
    elif numeric:
        levels = ()
    else:
        total = pd.Series(sums(value, times, max(len(distinct), 1))[: len(index)], index=index)
        levels = frequent_levels(total, len(column))
    text = index.astype(str)
    by_level = [sums(of_day, times * (text[value] == level), days) for level in levels]
    safe = np.maximum(values, 1)
    return _Counts(
        KnownValues(index, levels, numeric, rule) if known is None else known,
        code.astype(np.int32),
        values,
        sums(of_day, times * new, days),
        most / safe,
        np.bincount(of_day, minlength=days) / safe,
        (values > 0).astype(np.float64),
        sums(of_day, times * against, days),
        sums(of_day, times * beyond, days),
        np.column_stack([np.zeros((days, 0)), *by_level]),
    )


def frequent_levels(rows: pd.Series, of: int) -> tuple[str, ...]:
    """The levels of a category that are watched one by one, from the rows of each level."""
    some = rows[rows >= FREQUENT * max(of, 1)].nlargest(FREQUENT_LEVELS)
    return tuple(str(level) for level in some.index)


def _is_new(index: pd.Index, value: Ints, known: KnownValues | None) -> NDArray[np.bool_]:
    """Whether each pair of a day and a value is one that no (other) day of the reference has."""
    if known is None:
        times = np.bincount(value, minlength=max(len(index), 1))
        return np.asarray(times[value] == 1, dtype=np.bool_)
    if not len(index):
        return np.zeros(0, dtype=bool)
    return np.asarray((known.values.get_indexer(index) < 0)[value], dtype=np.bool_)


def _out_of_range(
    number: Floats, value: Ints, of_day: Ints, days: int, known: KnownValues | None
) -> NDArray[np.bool_]:
    """Whether each pair of a day and a value lies beyond what the (other) days of the reference had."""
    if known is not None:
        seen = np.asarray(known.values, dtype=np.float64)
        low, high = (
            np.full(days, one) for one in ((seen.min(), seen.max()) if seen.size else (np.nan, np.nan))
        )
    else:
        low, high = np.full(days, np.inf), np.full(days, -np.inf)
        np.minimum.at(low, of_day, number[value])
        np.maximum.at(high, of_day, number[value])
        low, high = _least_of_others(low), -_least_of_others(-high)
    margin = RANGE_MARGIN * np.where(np.isfinite(high - low), high - low, np.inf)
    beyond = (number[value] < (low - margin)[of_day]) | (number[value] > (high + margin)[of_day])
    return np.asarray(beyond, dtype=np.bool_)


def _least_of_others(least: Floats) -> Floats:
    """For each day the least of all other days."""
    ordered = np.append(np.sort(least), np.inf)
    return np.asarray(
        np.where(np.arange(least.size) == least.argmin(), ordered[1], ordered[0]), dtype=np.float64
    )


def _cells(day: Ints, value: Ints, days: int, width: int) -> tuple[Ints, Ints, Ints]:
    """Each pair of a day and a value that occurs, and how often."""
    cell = day * width + value
    if days * width <= 4 * len(cell):
        counts = np.bincount(cell, minlength=days * width)
        found = np.flatnonzero(counts)
        times = counts[found]
    else:
        found, times = np.unique(cell, return_counts=True)
    return (*np.divmod(found, width), times)


def _duplicates(window: Window, counted: Sequence[_Counts]) -> Floats:
    """Rows of each day that equal an earlier one of it (days, 1)."""
    if not counted:
        return np.zeros((window.days, 1))
    key = pd.util.hash_array(window.of_day)
    for one in counted:
        key = pd.util.hash_array(key ^ pd.util.hash_array(one.code.astype(np.int64)))
    again = pd.Series(key).duplicated().to_numpy()
    return sums(window.of_day, again, window.days)[:, None]

"""Six groups of daily statistics: what a window of rows shows, as ratios of two sums by day.

| group | statistic of a column (or of the rows) | formula, over the days of a window |
|---|---|---|
| missing | missing share | missing values / rows |
| level shares | share of each frequent level of a category | rows of the level / values |
| volume | rows a day; days without rows | log(rows / days); empty days / days |
| duplicates | duplicate share | rows equal to an earlier one of their day / rows |
| value habits | new share: values that no (other) day of the reference has | new values / values |
| | modal share: how often a day has its most frequent value | sum of the days' modal shares / days |
| | range excess: how far values lie beyond the reference's range, in its widths | sum of excesses / values |
| residuals | residual mean and spread given the other columns (`residuals`) | mean; log(mean square) / 2 |

To these the violations of constraints are added (`constraints`). Every statistic is compared as the absolute
difference of a window from its reference, and its own days are its picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.evaluation.daily import SMALLEST, Column, Floats, side_by_side, sums
from fivestage.monitoring.constraints import NONE, Constraint, learn_constraint
from fivestage.monitoring.severity import (
    BROKEN_CONSTRAINT,
    BROKEN_DUPLICATES,
    BROKEN_MISSING,
    BROKEN_VOLUME,
    LEAST_CHANGE,
    LEAST_EXCESS,
    LEAST_MODAL,
    LEAST_SHARE,
    MOST_EXCESS,
    SLIPS,
)

FREQUENT_LEVELS = 15  # of a category, compared one by one: the rest are too few rows a day to show anything
FREQUENT = 0.01  # of the rows
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


def same(ratio: Floats) -> Floats:
    """A ratio as it is."""
    return ratio


def logarithm(ratio: Floats) -> Floats:
    """Its logarithm, which compares by factors."""
    return np.asarray(np.log(np.maximum(ratio, 1e-9)), dtype=np.float64)


@dataclass(frozen=True)
class DailyStatistic:
    """A ratio of two sums by day (days, items), of which each item is of a column.

    Attributes:
        name: of the statistic.
        columns: of each item.
        numerator: sums by day (days, items).
        denominator: sums by day (days, items).
        least: the least limit of a difference.
        scale: what is compared of the ratio.
        jackknifed: whether the day that moves it most is left out, see `compare_days`.
        broken: the difference from which on the data are broken rather than drifted (None: never).
        labels: of items, beside their columns: the level.
        words: the sentence of a difference.
    """

    name: str
    columns: tuple[str, ...]
    numerator: Floats
    denominator: Floats
    least: float
    scale: Callable[[Floats], Floats] = same
    jackknifed: bool = False
    broken: float | None = None
    labels: tuple[str, ...] = ()
    words: str = "{name} {now:.1%}, was {then:.1%}"

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
        now, then = self.scale(self.ratio(weight)), self.scale(other.ratio(other_weight))
        return np.nan_to_num(np.abs(now - then))


@dataclass(frozen=True)
class KnownValues:
    """What a reference column has had: its values, its frequent levels, its constraint."""

    values: pd.Index
    levels: tuple[str, ...] = ()
    constraint: Constraint = NONE

    @property
    def numeric(self) -> bool:
        """Whether they are numbers."""
        return bool(pd.api.types.is_numeric_dtype(self.values))


def daily_statistics(
    window: Window, columns: Sequence[str], known: Sequence[KnownValues] = ()
) -> tuple[list[DailyStatistic], list[KnownValues]]:
    """The statistics of single columns and of the rows, and what later windows are counted by.

    Without `known` the window is a reference: a day's values are then new if no other day has them.
    """
    counted = [_count(window, name, known[place] if known else None) for place, name in enumerate(columns)]
    learnt = [one.known for one in counted]
    names, rows = tuple(columns), window.rows[:, None]
    values, new, modal, violated, excess = (
        side_by_side((getattr(one, name)[:, None] for one in counted), window.days)
        for name in ("values", "new", "modal", "violated", "excess")
    )
    filled = (values > 0).astype(np.float64)
    levels = [(name, level) for name, one in zip(names, learnt, strict=True) for level in one.levels]
    of_levels, level_values = (
        side_by_side(parts, window.days)
        for parts in (
            (one.levels for one in counted),
            (np.repeat(one.values[:, None], len(one.known.levels), axis=1) for one in counted),
        )
    )
    codes = pd.DataFrame({"day": window.of_day} | {str(place): one.code for place, one in enumerate(counted)})
    again = codes.duplicated().to_numpy() if counted else np.zeros(len(codes), dtype=np.bool_)
    all_rows, ones = np.repeat(rows, len(names), axis=1), np.ones((window.days, 1))
    found = [
        DailyStatistic(
            "missing share", names, all_rows - values, all_rows, LEAST_SHARE, broken=BROKEN_MISSING
        ),
        DailyStatistic(
            "level share",
            tuple(name for name, _ in levels),
            of_levels,
            level_values,
            LEAST_SHARE,
            jackknifed=True,
            labels=tuple(level for _, level in levels),
            words="share of '{label}' {now:.1%}, was {then:.1%}",
        ),
        DailyStatistic(
            "rows a day",
            (ROWS,),
            rows,
            ones,
            LEAST_CHANGE,
            logarithm,
            jackknifed=True,
            broken=BROKEN_VOLUME,
            words="{now:,.0f} a day, were {then:,.0f}",
        ),
        DailyStatistic(
            "days without rows", (ROWS,), (rows == 0).astype(np.float64), ones, LEAST_SHARE, broken=0.0
        ),
        DailyStatistic(
            "duplicate share",
            (ROWS,),
            sums(window.of_day, again, window.days)[:, None],
            rows,
            LEAST_SHARE,
            broken=BROKEN_DUPLICATES,
        ),
        DailyStatistic("new share", names, new, values, LEAST_CHANGE),
        DailyStatistic("modal share", names, modal, filled, LEAST_MODAL, jackknifed=True),
        DailyStatistic("constraint", names, violated, values, LEAST_SHARE, broken=BROKEN_CONSTRAINT),
        DailyStatistic(
            "range excess",
            names,
            excess,
            values,
            LEAST_EXCESS,
            jackknifed=True,
            words="values lie {now:.2g} widths of the reference's range beyond it, were {then:.2g}",
        ),
    ]
    return [one for one in found if one.columns], learnt


@dataclass(frozen=True)
class _Counts:
    """Sums of one column by day (days,); `levels` has a column for each frequent level; `code` is of rows."""

    known: KnownValues
    code: NDArray[np.int32]
    values: Floats
    new: Floats
    modal: Floats
    violated: Floats
    excess: Floats
    levels: Floats


def _count(window: Window, name: str, known: KnownValues | None) -> _Counts:
    """Count a column by day; one that the window lacks is missing throughout."""
    days = window.days
    column = window.frame[name] if name in window.frame else pd.Series(np.nan, index=window.frame.index)
    if known and known.numeric:
        column = pd.to_numeric(column, errors="coerce")  # text in a number column is missing
    numeric = pd.api.types.is_numeric_dtype(column) and (known is None or known.numeric)
    if numeric:
        column = column.where(np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan)))
    code, distinct = pd.factorize(column)
    index = pd.Index(distinct) if numeric else pd.Index(distinct).astype("string")
    there = code >= 0
    day, value, times = _pairs(window.of_day[there], code[there], days, max(len(index), 1))
    values, modal = sums(day, times, days), np.zeros(days)
    np.maximum.at(modal, day, times)
    new = np.bincount(value)[value] == 1 if known is None else known.values.get_indexer(index)[value] < 0
    violated, excess = np.zeros(value.size, dtype=np.bool_), np.zeros(value.size)
    if known is None:
        known = _learn(index, (day, value, times), len(column), numeric=numeric)
    if numeric and len(known.values):
        number, seen = (np.asarray(some, dtype=np.float64) for some in (index, known.values))
        violated = known.constraint.violated_by(number)[value]
        beyond = np.maximum(seen.min() - number, number - seen.max()) / max(np.ptp(seen), SMALLEST)
        excess = np.clip(beyond, 0, MOST_EXCESS)[value]
    by_level = (
        sums(day, times * np.asarray(index == level, dtype=np.bool_)[value], days)[:, None]
        for level in known.levels
    )
    violations = sums(day, times * violated, days)
    return _Counts(
        known,
        code.astype(np.int32),
        values,
        sums(day, times * new, days),
        modal / np.maximum(values, 1),
        np.where(violations > SLIPS, violations, 0),
        sums(day, times * excess, days),
        side_by_side(by_level, days),
    )


def _learn(index: pd.Index, pairs: tuple[Ints, Ints, Ints], rows: int, *, numeric: bool) -> KnownValues:
    day, value, times = pairs
    if numeric:
        return KnownValues(
            index, constraint=learn_constraint(np.asarray(index, np.float64), value, day, times)
        )
    return KnownValues(index, frequent_levels(pd.Series(np.bincount(value, times, len(index)), index), rows))


def frequent_levels(rows: pd.Series, of: int) -> tuple[str, ...]:
    """The levels of a category that are compared one by one, from the rows of each level."""
    some = rows[rows >= FREQUENT * max(of, 1)].nlargest(FREQUENT_LEVELS)
    return tuple(str(level) for level in some.index)


def _pairs(day: Ints, value: Ints, days: int, width: int) -> tuple[Ints, Ints, Ints]:
    """Each pair of a day and a value that occurs, and how often."""
    cell = day * width + value
    if days * width <= 4 * len(cell):  # counting is several times faster than sorting
        counts = np.bincount(cell, minlength=days * width)
        found = np.flatnonzero(counts)
        times = counts[found]
    else:
        found, times = np.unique(cell, return_counts=True)
    return (*np.divmod(found, width), times)

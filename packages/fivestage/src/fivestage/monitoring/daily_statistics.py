"""Daily statistics of a window of rows, each a ratio of two sums by day.

| statistic | formula, over the days of a window | source |
|---|---|---|
| missing share | missing values / rows | Schelter et al., Deequ (2018): completeness |
| level share | rows of a frequent level of a category / values | Breck et al., TFDV (2019): drift |
| rows a day | rows / days, compared as its logarithm | TFDV: number of examples |
| days without rows | days without rows / days | the same |
| duplicate share | rows equal to an earlier one of their day / rows | Deequ: uniqueness |
| unseen share | values of a category that no (other) day of the reference has / values | TFDV: domain |
| new share | numbers that no (other) day of the reference has / values | the same |
| modal share | mean share of the most frequent value of each day, its arcsine | Berger and Parker (1970) |
| out of bounds | numbers beyond a minimum or maximum that most days reach / values | TFDV: schema |
| out of range | numbers more than half a width beyond the reference's range / rows | Tukey (1977): fences |
| residual mean, residual spread | of each column given the others, in standard deviations | `residuals` |
| residual mean by day | the same mean of each day; windows are compared by ranks | Mann and Whitney (1947) |

A window is compared with its reference by the absolute difference of each statistic, a ranked statistic by
the ranks of the window's days among the reference's.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.evaluation.daily import Bools, Column, Floats, sums

ROWS, NO_ROWS = "whole rows", "days without rows"
# Minimum limits, so that a column that never moved in the reference does not raise alarms for trifles.
LEAST_SHARE = 0.03  # three percentage points: missing values, levels, duplicates, empty days, violations
LEAST_CHANGE = 0.1  # a tenth: row counts, new and modal values, residuals, all of which vary from day to day
# Only hard evidence means broken data, which block retraining: seasons move inputs as much as faults do.
BROKEN_SHARE = 0.1  # of the values missing, of the rows repeated, of the numbers out of bounds
BROKEN_VOLUME = math.log(2)  # half or twice the rows per day, more than a season changes within a few weeks
TOUCHED = 0.5  # a minimum or maximum that this share of days reaches counts as a bound
FAR = 0.5  # of the range's width: new records stay within, values in another unit do not

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """The rows of `days` whole days from day `first` on, sorted by day; some days may have no rows."""

    frame: pd.DataFrame
    day: Column
    first: int
    days: int

    def __post_init__(self) -> None:
        if len(self.frame) != len(self.day) or (np.diff(self.day) < 0).any():
            raise ValueError("each row needs its day, and rows must be sorted by day")
        if len(self.day) and not self.first <= self.day[0] <= self.day[-1] < self.first + self.days:
            raise ValueError(f"a row's day lies outside the {self.days} days from {self.first}")

    @cached_property
    def of_day(self) -> Ints:
        """The day of each row, counted from the window's first."""
        return np.asarray(self.day, dtype=np.int64) - self.first

    @cached_property
    def rows(self) -> Floats:
        """The number of rows on each day (days,)."""
        return np.bincount(self.of_day, minlength=self.days).astype(np.float64)

    def column(self, name: str) -> pd.Series:
        """Return a column; all its values are missing if the rows lack it."""
        return self.frame[name] if name in self.frame else pd.Series(np.nan, index=self.frame.index)


@dataclass(frozen=True)
class Statistic:
    """A kind of statistic: how differences from the reference are scaled, limited and described."""

    name: str
    least: float  # the minimum limit of a difference
    scale: Callable[[Floats], Floats] = np.asarray  # the transformation of the ratio before comparison
    jackknifed: bool = False  # leave out the day that moves it most, see `compare_days`
    ranked: bool = False  # compare the ranks of the days, see `rank_sums`; only windows of several days
    broken: float | None = None  # the difference from which on the data are broken, not drifted; None: never
    words: str = "{name} {now:.1%}, was {then:.1%}"
    # Probability of it, from the reference's rows per day; if likely, no fault.
    by_chance: Callable[[Floats], float] = lambda _: 0.0


LEVEL_SHARE = "share of '{label}' {now:.1%}, was {then:.1%}"
ROWS_A_DAY = "{now:,.0f} per day, was {then:,.0f}"
OUT_OF_RANGE = "share far out of the reference's range {now:.1%}"
STATISTICS = (
    Statistic("missing share", LEAST_SHARE, broken=BROKEN_SHARE),
    Statistic("level share", LEAST_SHARE, jackknifed=True, words=LEVEL_SHARE),
    Statistic("rows a day", LEAST_CHANGE, np.log1p, jackknifed=True, broken=BROKEN_VOLUME, words=ROWS_A_DAY),
    # Poisson, on the quietest day.
    Statistic(NO_ROWS, LEAST_SHARE, broken=0.0, by_chance=lambda rows: math.exp(-rows.min())),
    Statistic("duplicate share", LEAST_SHARE, broken=BROKEN_SHARE),
    Statistic("unseen share", LEAST_SHARE),
    Statistic("new share", LEAST_CHANGE, jackknifed=True),
    # The noise of an arcsine hardly depends on the share (Bartlett, 1936).
    Statistic("modal share", LEAST_CHANGE, lambda share: np.arcsin(np.sqrt(share)), jackknifed=True),
    Statistic("out of bounds", LEAST_SHARE, broken=BROKEN_SHARE),
    Statistic("out of range", LEAST_CHANGE, jackknifed=True, words=OUT_OF_RANGE),
)


Item = tuple[str, str, Floats, Floats]  # column, label, numerator and denominator by day (days,)


@dataclass(frozen=True)
class DailyStatistic:
    """A statistic of some days: for each of its items, a column or a level, a ratio of two sums by day."""

    kind: Statistic
    columns: tuple[str, ...]  # of each item
    labels: tuple[str, ...]  # of each item, in addition to its column: the level
    numerator: Floats  # sums by day (days, items)
    denominator: Floats  # the same

    @classmethod
    def of(cls, kind: Statistic, items: Sequence[Item]) -> "DailyStatistic":
        """Return the statistic with these items."""
        columns, labels, above, below = zip(*items, strict=True)
        return cls(kind, columns, labels, np.column_stack(above), np.column_stack(below))

    def ratio(self, weight: Floats) -> Floats:
        """Return the ratios over weighted days (windows, items); NaN where the denominator is 0."""
        below = weight @ self.denominator
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(below > 0, weight @ self.numerator, np.nan) / below, dtype=np.float64)

    def distance(self, weight: Floats, other: "DailyStatistic", other_weight: Floats) -> Floats:
        """Return the distances to another's windows (windows, items); 0 where one has no values."""
        now, then = self.kind.scale(self.ratio(weight)), self.kind.scale(other.ratio(other_weight))
        return np.nan_to_num(np.abs(now - then))


@dataclass(frozen=True)
class ReferenceColumn:
    """A column's values, levels and limits in the reference, which define the counts in later windows."""

    values: pd.Index  # all of the reference
    levels: pd.Index  # the frequent ones, if the column is categorical
    bounds: tuple[float, float] | None = None  # minimum and maximum, infinite where few days reach it
    range: tuple[float, float] | None = (
        None  # the reference's range, extended by half its width on either side
    )


def daily_statistics(
    window: Window, columns: Sequence[str], known: Sequence[ReferenceColumn] = ()
) -> tuple[list[DailyStatistic], list[ReferenceColumn]]:
    """Return the statistics of columns and rows, and the reference columns: `known`, or this window's."""
    reference: list[ReferenceColumn] = []
    codes = pd.DataFrame({"day": window.of_day})
    items: dict[str, list[Item]] = defaultdict(list)
    for place, name in enumerate(columns):
        values = window.column(name)
        numeric = pd.api.types.is_numeric_dtype(known[place].values if known else values)
        code, distinct = pd.factorize(numbers_of(values) if numeric else values)
        codes[place] = code.astype(np.int32)
        counts = _Counts(window, code, pd.Index(distinct, dtype=np.float64 if numeric else "string"))
        reference.append(known[place] if known else _reference_column(counts))
        for statistic, label, above, below in _column_sums(counts, reference[-1], reference=not known):
            items[statistic].append((name, label, above, below))
    ones = np.ones(window.days)
    duplicate = codes.duplicated().to_numpy() & (len(columns) > 0)
    items["rows a day"] = [(ROWS, "", window.rows, ones)]
    items[NO_ROWS] = [(ROWS, "", (window.rows == 0).astype(np.float64), ones)]
    items["duplicate share"] = [(ROWS, "", sums(window.of_day, duplicate, window.days), window.rows)]
    kinds = (
        one if one.by_chance(window.rows) < LEAST_SHARE else replace(one, broken=None) for one in STATISTICS
    )
    return [DailyStatistic.of(kind, items[kind.name]) for kind in kinds if items[kind.name]], reference


def numbers_of(values: pd.Series) -> Floats:
    """Convert a column to finite numbers; all other values become NaN."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def frequent_levels(counts: pd.Series, rows: float) -> pd.Index:
    """Return the levels to compare one by one; rarer ones cannot reach the minimum limit."""
    return counts[counts >= LEAST_SHARE * rows].index


class _Counts:
    """How often each distinct value of a column occurs on each day, as `times` per (day, value) pair."""

    def __init__(self, window: Window, code: Ints, distinct: pd.Index) -> None:
        present, width = code >= 0, max(len(distinct), 1)
        pairs = pd.Series(window.of_day[present] * width + code[present]).value_counts(sort=False)
        self.day, self.value = np.divmod(pairs.index.to_numpy(), width)
        self.times, self.distinct, self.rows = pairs.to_numpy(), distinct, window.rows

    def by_day(self, flagged: Bools) -> Floats:
        """Return how often flagged distinct values occur on each day (days,)."""
        return sums(self.day, self.times * flagged[self.value], len(self.rows))


def _reference_column(counts: _Counts) -> ReferenceColumn:
    distinct = counts.distinct
    if not pd.api.types.is_numeric_dtype(distinct):
        rows = pd.Series(np.bincount(counts.value, counts.times, len(distinct)), distinct)
        return ReferenceColumn(distinct, frequent_levels(rows, counts.rows.sum()))
    days_with = np.bincount(counts.value, minlength=len(distinct))
    frequent = distinct[days_with >= TOUCHED * np.unique(counts.day).size]
    low, high = distinct.min(), distinct.max()
    bounds = low if low in frequent else -np.inf, high if high in frequent else np.inf
    margin = FAR * (high - low)
    return ReferenceColumn(distinct, distinct[:0], bounds, (low - margin, high + margin))


def _column_sums(counts: _Counts, known: ReferenceColumn, *, reference: bool) -> Iterator[Item]:
    """Yield each item of a column: the statistic's name, the label, numerator and denominator by day."""
    distinct, rows = counts.distinct, counts.rows
    values = counts.by_day(np.ones(len(distinct), dtype=np.bool_))
    yield "missing share", "", rows - values, rows
    for level in known.levels:
        yield "level share", level, counts.by_day(np.asarray(distinct == level, dtype=np.bool_)), values
    only = np.bincount(counts.value, minlength=len(distinct)) == 1
    new = "unseen share" if known.bounds is None else "new share"
    yield new, "", counts.by_day(only if reference else ~distinct.isin(known.values)), values
    modal = np.zeros(len(rows))
    np.maximum.at(modal, counts.day, counts.times)
    yield "modal share", "", modal / np.maximum(values, 1), (values > 0).astype(np.float64)
    for name, limits, total in (("out of bounds", known.bounds, values), ("out of range", known.range, rows)):
        if limits is not None:
            beyond = (distinct < limits[0]) | (distinct > limits[1])
            yield name, "", counts.by_day(np.asarray(beyond, dtype=np.bool_)), total

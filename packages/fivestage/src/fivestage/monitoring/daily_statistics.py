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
| residual by prediction | mean product of the residual and the predicted value; by ranks | `residuals` |

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
from scipy.stats import norm

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
QUANTILES = 200  # per numeric column; more would only resolve noise
RANKS = (np.arange(QUANTILES) + 0.5) / QUANTILES
NORMAL_SCORES = norm.ppf(RANKS)

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
    ranked: bool = False  # in windows of several days, compare the ranks of the days, see `rank_sums`
    broken: float | None = None  # the difference from which on the data are broken, not drifted; None: never
    words: str = "{name} {now:.1%}, was {then:.1%}"


LEVEL_SHARE = "share of '{label}' {now:.1%}, was {then:.1%}"
ROWS_A_DAY = "{now:,.0f} per day, was {then:,.0f}"
OUT_OF_RANGE = "share far out of the reference's range {now:.1%}"
STATISTICS = (
    Statistic("missing share", LEAST_SHARE, broken=BROKEN_SHARE),
    Statistic("level share", LEAST_SHARE, jackknifed=True, words=LEVEL_SHARE),
    Statistic("rows a day", LEAST_CHANGE, np.log1p, jackknifed=True, broken=BROKEN_VOLUME, words=ROWS_A_DAY),
    Statistic(NO_ROWS, LEAST_SHARE, broken=0.0),
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
    """A column's values in the reference, which define the statistics of later windows."""

    values: pd.Index  # all of the reference
    levels: pd.Index  # of a category: the frequent ones
    quantiles: Floats  # of a number
    # Minimum and maximum of a number, infinite where few days reach it.
    bounds: tuple[float, float] = (-np.inf, np.inf)
    zeros: bool = False  # whether a number is often zero and often not: a state or default (Cragg, 1971)

    @property
    def numeric(self) -> bool:
        """Whether the column holds numbers; otherwise it is a category."""
        return self.quantiles.size > 0


class CodedColumn:
    """A window's column as codes of its distinct values; without a reference it becomes one itself."""

    def __init__(self, window: Window, name: str, reference: ReferenceColumn | None = None) -> None:
        self.name, self.window, self.is_reference = name, window, reference is None
        values = window.column(name)
        numeric = pd.api.types.is_numeric_dtype(values) if reference is None else reference.numeric
        code, distinct = pd.factorize(numbers_of(values) if numeric else values)  # -1 is missing
        self.code = code.astype(np.int32)
        self.distinct = pd.Index(distinct, dtype=np.float64 if numeric else "string")
        self.reference = self._reference(numeric=numeric) if reference is None else reference

    def items(self) -> Iterator[tuple[str, Item]]:
        """Yield each item of the column with the name of its statistic."""
        distinct, rows, known = self.distinct, self.window.rows, self.reference
        present, width = self.code >= 0, max(len(distinct), 1)
        pairs = pd.Series(self.window.of_day[present] * width + self.code[present]).value_counts(sort=False)
        (day, value), times = np.divmod(pairs.index.to_numpy(), width), pairs.to_numpy()

        def by_day(flagged: Bools) -> Floats:
            """Return how often flagged distinct values occur on each day (days,)."""
            return sums(day, times * np.asarray(flagged)[value], self.window.days)

        values = by_day(np.ones(len(distinct), dtype=np.bool_))
        yield "missing share", (self.name, "", rows - values, rows)
        for level in known.levels:
            yield "level share", (self.name, level, by_day(distinct == level), values)
        only = np.bincount(value, minlength=len(distinct)) == 1  # on one day
        unseen = by_day(only if self.is_reference else ~distinct.isin(known.values))
        yield "new share" if known.numeric else "unseen share", (self.name, "", unseen, values)
        modal = np.zeros(len(rows))
        np.maximum.at(modal, day, times)
        with_values = (values > 0).astype(np.float64)
        yield "modal share", (self.name, "", modal / np.maximum(values, 1), with_values)
        if known.numeric:
            low, high = known.values.min(), known.values.max()
            margin = FAR * (high - low)
            for kind, (least, most), total in (
                ("out of bounds", known.bounds, values),
                ("out of range", (low - margin, high + margin), rows),
            ):
                yield kind, (self.name, "", by_day((distinct < least) | (distinct > most)), total)

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """The design columns of the residuals by distinct value; 0 if missing (1 + values, columns).

        Normal scores of numbers (Blom, 1958), and indicators of zero, if it is frequent, and of levels.
        """
        known, columns = self.reference, [self.distinct == level for level in self.reference.levels]
        if known.numeric:
            columns = [np.interp(self.distinct, known.quantiles, NORMAL_SCORES)]
            columns += [self.distinct == 0] if known.zeros else []
        scores = np.zeros((len(self.distinct) + 1, len(columns)), dtype=np.float32)
        for place, column in enumerate(columns):
            scores[:-1, place] = column
        return scores

    def _reference(self, *, numeric: bool) -> ReferenceColumn:
        distinct, present = self.distinct, self.code >= 0
        rows = np.bincount(self.code[present], minlength=len(distinct))
        if not numeric or not len(distinct):  # rarer levels cannot reach the minimum limit
            levels = distinct[rows >= LEAST_SHARE * len(self.code)]
            return ReferenceColumn(distinct, levels, np.zeros(QUANTILES if numeric else 0))
        order, day = distinct.argsort(), self.window.of_day
        quantiles = distinct[order].to_numpy()[np.searchsorted(rows[order].cumsum(), RANKS * rows.sum())]
        ends = (np.unique(day[self.code == place]).size for place in (order[0], order[-1]))
        low, high = (days >= TOUCHED * np.unique(day[present]).size for days in ends)
        bounds = distinct.min() if low else -np.inf, distinct.max() if high else np.inf
        zeros = LEAST_SHARE <= rows[distinct == 0].sum() / rows.sum() <= 1 - LEAST_SHARE
        return ReferenceColumn(distinct, distinct[:0], quantiles, bounds, bool(zeros))


def daily_statistics(window: Window, columns: Sequence[CodedColumn]) -> list[DailyStatistic]:
    """Return the statistics of a window's columns and rows."""
    items: dict[str, list[Item]] = defaultdict(list)
    for column in columns:
        for statistic, item in column.items():
            items[statistic].append(item)
    ones, codes = np.ones(window.days), {one.name: one.code for one in columns}
    duplicate = pd.DataFrame({ROWS: window.of_day, **codes}).duplicated().to_numpy() & (len(columns) > 0)
    items["rows a day"] = [(ROWS, "", window.rows, ones)]
    items[NO_ROWS] = [(ROWS, "", (window.rows == 0).astype(np.float64), ones)]
    items["duplicate share"] = [(ROWS, "", sums(window.of_day, duplicate, window.days), window.rows)]
    by_chance = {NO_ROWS} if math.exp(-window.rows.min()) >= LEAST_SHARE else ()  # Poisson: the quietest day
    kinds = (replace(kind, broken=None) if kind.name in by_chance else kind for kind in STATISTICS)
    return [DailyStatistic.of(kind, items[kind.name]) for kind in kinds if items[kind.name]]


def numbers_of(values: pd.Series) -> Floats:
    """Convert a column to finite numbers; all other values become NaN."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)

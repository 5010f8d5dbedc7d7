"""Residual mean and spread of each column given the others: a fault in one column breaks its relations.

A season moves columns together and leaves their relations as they were. So each column is predicted from all
others by ridge regression (Hoerl and Kennard, 1970), and its residuals are compared: their mean, and of
numbers their spread. The regressions are solved from sums of products by day, one pass over the rows for any
number of fits, and a reference day's residuals come from a fit on other days (cross-fitting), so that they
are as large as a new day's will be.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from fivestage.evaluation.daily import Bools, Floats
from fivestage.monitoring.daily_statistics import (
    LEAST_CHANGE,
    LEAST_SHARE,
    DailyStatistic,
    Statistic,
    Window,
    frequent_levels,
    numbers_of,
)

RIDGE = 0.01  # of a column's variance: enough to invert, too little to bend a relation
QUANTILES = 200  # of a number: more show nothing that days do not blur
SMALLEST_VARIANCE = 1e-4  # of a column or a residual: below it is rounding
FOLDS = 8  # of the reference's days, each left out of its own fit: more cost time and change little
BATCH_ROWS = 50_000  # of a matrix at once, which bounds memory
RANKS = (np.arange(QUANTILES) + 0.5) / QUANTILES
SCORES = norm.ppf(RANKS)
MEAN, SPREAD = "residual mean", "residual spread"


OFF = "{now:+.2f} standard deviations off what the other columns predict, was {then:+.2f}"
FAR = "squared distance from what the other columns predict {now:.3g}, was {then:.3g}"
STATISTICS = (
    Statistic(MEAN, LEAST_CHANGE, jackknifed=True, words=OFF),
    # The logarithm of a standard deviation.
    Statistic(
        SPREAD,
        LEAST_CHANGE,
        lambda square: np.log(square + SMALLEST_VARIANCE) / 2,
        jackknifed=True,
        words=FAR,
    ),
)


@dataclass(frozen=True)
class Design:
    """The columns of the regressions: normal scores (Blom, 1958), then indicators of zeros and of levels."""

    quantiles: dict[str, Floats]  # by number, those of the reference
    zeros: tuple[str, ...]  # numbers that often are zero, and often not: a state or default (Cragg, 1971)
    levels: dict[str, pd.Index]  # by category, the frequent ones

    @property
    def names(self) -> NDArray[np.str_]:
        """Which frame column each column is of."""
        of_levels = [name for name, levels in self.levels.items() for _ in levels]
        return np.array([*self.quantiles, *self.zeros, *of_levels], dtype=np.str_)

    def matrix(self, window: Window) -> NDArray[np.float32]:
        """The design of a window's rows, led by a one (rows, 1 + columns)."""
        columns: list[Floats | Bools] = [np.ones(len(window.frame))]
        for name, quantiles in self.quantiles.items():
            score = np.interp(numbers_of(window.column(name)), quantiles, SCORES)
            columns.append(np.nan_to_num(score))  # 0 where it is missing
        columns += [numbers_of(window.column(name)) == 0 for name in self.zeros]
        for name, levels in self.levels.items():
            code, distinct = pd.factorize(window.column(name))  # only distinct values are read as text
            level = levels.get_indexer(pd.Index(distinct, dtype="string"))
            columns += [np.append(level == one, False)[code] for one in range(len(levels))]  # -1: missing
        return np.column_stack([column.astype(np.float32) for column in columns])


def design_of(window: Window) -> Design:
    """The design for columns like those of a reference."""
    quantiles, zeros, levels = {}, [], {}
    for name, values in window.frame.items():
        if pd.api.types.is_numeric_dtype(values):
            numbers = numbers_of(values)
            known = np.zeros(1) if np.isnan(numbers).all() else np.sort(numbers[~np.isnan(numbers)])
            # Of sorted numbers: NumPy's own quantiles look for each of them anew.
            quantiles[str(name)] = np.interp(RANKS * (known.size - 1), np.arange(known.size), known)
            if LEAST_SHARE <= (known == 0).mean() <= 1 - LEAST_SHARE:
                zeros.append(str(name))
        else:
            levels[str(name)] = frequent_levels(values.value_counts(), len(values)).astype("string")
    return Design(quantiles, tuple(zeros), levels)


def products(window: Window, design: Design) -> Floats:
    """Sums of products of the design's columns by day (days, 1 + columns, 1 + columns)."""
    found = []
    ends = np.searchsorted(window.of_day, np.arange(window.days + 1))
    for days in np.array_split(np.arange(window.days), 1 + len(window.frame) // BATCH_ROWS):
        rows = slice(ends[days[0]], ends[days[-1] + 1])
        batch = Window(window.frame.iloc[rows], window.day[rows], window.first, window.days)
        by_day = np.split(design.matrix(batch), ends[days[1:]] - rows.start)
        found += [some.T @ some for some in by_day]  # of one day: single precision is enough
    return np.stack(found).astype(np.float64)


def residual_statistics(
    reference: Floats, window: Floats, design: Design
) -> tuple[list[DailyStatistic], list[DailyStatistic]]:
    """The statistics of a reference's and a window's residuals, from `products`."""
    total, days, names = reference.sum(axis=0), len(reference), design.names
    fold = np.random.default_rng(0).permutation(days) % FOLDS
    of_reference = np.zeros((2, days, names.size))
    for here in (fold == number for number in np.unique(fold)):
        others = _fit(total - reference[here].sum(axis=0), names)
        of_reference[:, here] = _residual_sums(reference[here], others)
    deviation = np.sqrt(of_reference[1].sum(axis=0) / max(total[0, 0], 1) + SMALLEST_VARIANCE)

    def statistics(sums: Floats, rows: Floats) -> list[DailyStatistic]:
        items = zip(
            STATISTICS, (sums[0] / deviation, sums[1]), (names.size, len(design.quantiles)), strict=True
        )
        return [
            DailyStatistic.of(kind, [(str(names[n]), "", of[:, n], rows) for n in range(count)])
            for kind, of, count in items
            if count
        ]

    of_window = _residual_sums(window, _fit(total, names))
    return statistics(of_reference, reference[:, 0, 0]), statistics(of_window, window[:, 0, 0])


def _fit(total: Floats, names: NDArray[np.str_]) -> Floats:
    """Coefficients (columns, 1 + columns) that turn a row of the design into residuals given other columns.

    From the precision matrix: with a category's levels as one block, what a block is beyond its regression on
    all others is inverse(P[block, block]) P[block] x (Lauritzen, Graphical Models, 1996, appendix C).
    """
    rows = max(total[0, 0], 1.0)
    mean = total[0, 1:] / rows
    covariance = total[1:, 1:] / rows - np.outer(mean, mean)
    deviation = np.sqrt(np.maximum(np.diag(covariance), SMALLEST_VARIANCE))
    precision = np.linalg.inv(covariance / np.outer(deviation, deviation) + RIDGE * np.eye(mean.size))
    coefficients = np.empty_like(precision)
    for name in np.unique(names):
        block = np.flatnonzero(names == name)
        coefficients[block] = np.linalg.solve(precision[np.ix_(block, block)], precision[block])
    coefficients /= deviation
    return np.hstack([-(coefficients @ mean)[:, None], coefficients])


def _residual_sums(product: Floats, coefficients: Floats) -> Floats:
    """Sums by day of the residuals and of their squares (2, days, columns)."""
    residual = product[:, :, 0] @ coefficients.T
    squared = np.einsum("dpq,pq->dp", np.matmul(coefficients, product), coefficients)
    return np.stack([residual, np.maximum(squared, 0)])

"""Residual mean and spread of each column given the others: a fault in one column breaks its relations.

A season moves columns together without changing their relations. So each column is predicted from all others
by ridge regression (Hoerl and Kennard, 1970), and its residuals are compared: their mean and, for numbers,
their spread. The regressions are solved from sums of products by day, so any number of fits takes one pass
over the rows. A reference day's residuals come from a fit on other days (cross-fitting), so that they are as
large as a new day's.
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

RIDGE = 0.01  # share of a column's variance: enough for inversion, too little to bias relations
QUANTILES = 200  # per numeric column; more would only resolve noise
SMALLEST_VARIANCE = 1e-4  # of a column or a residual; below it there is only rounding error
FOLDS = 8  # of the reference's days for cross-fitting; more cost time and change little
BATCH_ROWS = 50_000  # rows per matrix, which bounds memory
RANKS = (np.arange(QUANTILES) + 0.5) / QUANTILES
SCORES = norm.ppf(RANKS)
MEAN, MEAN_BY_DAY, SPREAD = "residual mean", "residual mean by day", "residual spread"
OFF = "{now:+.2f} standard deviations from the value that the other columns predict, was {then:+.2f}"
FAR = "mean squared deviation from the value that the other columns predict {now:.3g}, was {then:.3g}"
STATISTICS = (
    Statistic(MEAN, LEAST_CHANGE, jackknifed=True, words=OFF),
    Statistic(MEAN_BY_DAY, LEAST_CHANGE, ranked=True, words=OFF),
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

    quantiles: dict[str, Floats]  # of each numeric column in the reference
    zeros: tuple[str, ...]  # columns that are often zero and often not: a state or default (Cragg, 1971)
    levels: dict[str, pd.Index]  # the frequent levels of each categorical column

    @property
    def names(self) -> NDArray[np.str_]:
        """The frame column from which each design column is computed."""
        of_levels = [name for name, levels in self.levels.items() for _ in levels]
        return np.array([*self.quantiles, *self.zeros, *of_levels], dtype=np.str_)

    def matrix(self, window: Window) -> NDArray[np.float32]:
        """Return the design matrix of a window, with a leading column of ones (rows, 1 + columns)."""
        columns: list[Floats | Bools] = [np.ones(len(window.frame))]
        for name, quantiles in self.quantiles.items():
            score = np.interp(numbers_of(window.column(name)), quantiles, SCORES)
            columns.append(np.nan_to_num(score))  # 0 where it is missing
        columns += [numbers_of(window.column(name)) == 0 for name in self.zeros]
        for name, levels in self.levels.items():
            code, distinct = pd.factorize(window.column(name))  # converts only distinct values to text
            level = levels.get_indexer(pd.Index(distinct, dtype="string"))
            columns += [np.append(level == one, False)[code] for one in range(len(levels))]  # -1: missing
        return np.column_stack([column.astype(np.float32) for column in columns])


def design_of(window: Window) -> Design:
    """Build the design from a reference window."""
    quantiles, zeros, levels = {}, [], {}
    for name, values in window.frame.items():
        if pd.api.types.is_numeric_dtype(values):
            numbers = numbers_of(values)
            known = np.zeros(1) if np.isnan(numbers).all() else np.sort(numbers[~np.isnan(numbers)])
            # Interpolated from sorted numbers, which is faster than NumPy's quantile function.
            quantiles[str(name)] = np.interp(RANKS * (known.size - 1), np.arange(known.size), known)
            if LEAST_SHARE <= (known == 0).mean() <= 1 - LEAST_SHARE:
                zeros.append(str(name))
        else:
            levels[str(name)] = frequent_levels(values.value_counts(), len(values)).astype("string")
    return Design(quantiles, tuple(zeros), levels)


def products(window: Window, design: Design) -> Floats:
    """Sum the products of the design's columns by day (days, 1 + columns, 1 + columns)."""
    sums_by_day = []
    ends = np.searchsorted(window.of_day, np.arange(window.days + 1))
    for days in np.array_split(np.arange(window.days), 1 + len(window.frame) // BATCH_ROWS):
        rows = slice(ends[days[0]], ends[days[-1] + 1])
        batch = Window(window.frame.iloc[rows], window.day[rows], window.first, window.days)
        by_day = np.split(design.matrix(batch), ends[days[1:]] - rows.start)
        sums_by_day += [rows_of_day.T @ rows_of_day for rows_of_day in by_day]  # single precision is enough
    return np.stack(sums_by_day).astype(np.float64)


def residual_statistics(
    reference: Floats, window: Floats, design: Design
) -> tuple[list[DailyStatistic], list[DailyStatistic]]:
    """Compute the residual statistics of a reference and a window from their `products`."""
    total, days, names = reference.sum(axis=0), len(reference), design.names
    fold = np.random.default_rng(0).permutation(days) % FOLDS
    of_reference = np.zeros((2, days, names.size))
    for here in (fold == number for number in np.unique(fold)):
        others = _fit(total - reference[here].sum(axis=0), names)
        of_reference[:, here] = _residual_sums(reference[here], others)
    deviation = np.sqrt(of_reference[1].sum(axis=0) / max(total[0, 0], 1) + SMALLEST_VARIANCE)

    def statistics(sums: Floats, rows: Floats) -> list[DailyStatistic]:
        mean, spread = (sums[0] / deviation, names.size), (sums[1], len(design.quantiles))
        return [
            DailyStatistic.of(kind, [(str(names[n]), "", of[:, n], rows) for n in range(count)])
            for kind, (of, count) in zip(STATISTICS, (mean, mean, spread), strict=True)
            if count
        ]

    of_window = _residual_sums(window, _fit(total, names))
    return statistics(of_reference, reference[:, 0, 0]), statistics(of_window, window[:, 0, 0])


def _fit(total: Floats, names: NDArray[np.str_]) -> Floats:
    """Return coefficients (columns, 1 + columns) that turn design rows into residuals given other columns.

    From the precision matrix P: with a category's levels as one block, the residual of a block's regression
    on all others is inverse(P[block, block]) P[block] x (Lauritzen, Graphical Models, 1996, appendix C).
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
    """Sum the residuals and their squares by day (2, days, columns)."""
    residual = product[:, :, 0] @ coefficients.T
    squared = np.einsum("dpq,pq->dp", np.matmul(coefficients, product), coefficients)
    return np.stack([residual, np.maximum(squared, 0)])

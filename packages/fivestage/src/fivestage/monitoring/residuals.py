"""Residuals of each column given the others: a fault in one column breaks its relations.

A season moves columns together without changing their relations. So each column is predicted from all others
by ridge regression (Hoerl and Kennard, 1970), and its residuals are compared: their mean, their mean product
with the prediction, which is 0 by the normal equations, and, for numbers, their spread. The regressions are
solved from sums of products by day, so any number of fits takes one pass over the rows. A reference day's
residuals come from a fit on other days (cross-fitting), so that they are as large as a new day's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fivestage.evaluation.daily import Floats
from fivestage.monitoring.daily_statistics import (
    LEAST_CHANGE,
    CodedColumn,
    DailyStatistic,
    Statistic,
    Window,
)

RIDGE = 0.01  # share of a column's variance: enough for inversion, too little to bias relations
SMALLEST_VARIANCE = 1e-4  # of a column or a residual; below it there is only rounding error
FOLDS = 8  # of the reference's days for cross-fitting; more cost time and change little
BATCH_ROWS = 50_000  # rows per matrix, which bounds memory
MEAN, MEAN_BY_DAY, SPREAD = "residual mean", "residual mean by day", "residual spread"
BY_PREDICTION = "residual by prediction"
RELATED = "mean product of the value that the other columns predict and its error {now:+.2f}, was {then:+.2f}"
OFF = "{now:+.2f} standard deviations from the value that the other columns predict, was {then:+.2f}"
FAR = "mean squared deviation from the value that the other columns predict {now:.3g}, was {then:.3g}"
STATISTICS = (
    Statistic(MEAN, LEAST_CHANGE, jackknifed=True, words=OFF),
    Statistic(MEAN_BY_DAY, LEAST_CHANGE, jackknifed=True, ranked=True, words=OFF),
    Statistic(BY_PREDICTION, LEAST_CHANGE, jackknifed=True, ranked=True, words=RELATED),
    Statistic(SPREAD, LEAST_CHANGE, lambda square: np.log(square) / 2, jackknifed=True, words=FAR),
)


def design_matrix(columns: Sequence[CodedColumn], first: int, last: int) -> NDArray[np.float32]:
    """Return the design matrix of rows [first, last), with a leading column of ones (rows, 1 + columns)."""
    scores = [one.scores[one.code[first:last]] for one in columns]  # the last score is that of -1, missing
    return np.hstack([np.ones((last - first, 1), dtype=np.float32), *scores])


def design_names(columns: Sequence[CodedColumn]) -> list[str]:
    """Return the window's column from which each design column is computed."""
    return [one.name for one in columns for _ in range(one.scores.shape[1])]


def products(window: Window, columns: Sequence[CodedColumn]) -> Floats:
    """Sum the products of the design's columns by day (days, 1 + columns, 1 + columns)."""
    sums_by_day = []
    ends = np.searchsorted(window.of_day, np.arange(window.days + 1))
    for days in np.array_split(np.arange(window.days), 1 + len(window.frame) // BATCH_ROWS):
        first = ends[days[0]]
        matrix = design_matrix(columns, first, ends[days[-1] + 1])
        by_day = np.split(matrix, ends[days[1:]] - first)
        sums_by_day += [rows.T @ rows for rows in by_day]  # single precision is enough
    return np.stack(sums_by_day).astype(np.float64)


def residual_statistics(
    reference: Floats, window: Floats | None, columns: Sequence[CodedColumn]
) -> list[DailyStatistic]:
    """Compute the residual statistics of a window, or of the reference itself, from their `products`."""
    total, days = reference.sum(axis=0), len(reference)
    names = np.array(design_names(columns), dtype=np.str_)
    fold = np.random.default_rng(0).permutation(days) % FOLDS
    sums = np.zeros((3, days, names.size))
    for here in (fold == number for number in np.unique(fold)):
        sums[:, here] = _residual_sums(reference[here], _fit(total - reference[here].sum(axis=0), names))
    deviation = np.sqrt(sums[1].sum(axis=0) / max(total[0, 0], 1) + SMALLEST_VARIANCE)
    if window is not None:
        sums = _residual_sums(window, _fit(total, names))
    rows, every = (reference if window is None else window)[:, 0, 0], range(names.size)
    numbers = [names.tolist().index(one.name) for one in columns if one.reference.numeric]
    mean = sums[0] / deviation, every
    items = mean, mean, (sums[2], every), (sums[1], numbers)
    return [
        DailyStatistic.of(kind, [(str(names[n]), "", of[:, n], rows) for n in some])
        for kind, (of, some) in zip(STATISTICS, items, strict=True)
        if len(some)
    ]


def _fit(total: Floats, names: NDArray[np.str_]) -> Floats:
    """Return coefficients of design rows for residuals and predictions (2, columns, 1 + columns).

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
    own = np.hstack([-(mean / deviation)[:, None], np.diag(1 / deviation)])
    residual = np.hstack([-(coefficients @ mean)[:, None], coefficients])
    return np.stack([residual, own - residual])


def _residual_sums(product: Floats, coefficients: Floats) -> Floats:
    """Sum the residuals, their squares and their products with the predictions by day (3, days, columns)."""
    of_residual, of_prediction = coefficients
    times = np.matmul(of_residual, product)
    residual, squared = product[:, :, 0] @ of_residual.T, np.einsum("dpq,pq->dp", times, of_residual)
    by_prediction = np.einsum("dpq,pq->dp", times, of_prediction)
    squared = np.maximum(squared, SMALLEST_VARIANCE * product[:, :1, 0])
    return np.stack([residual, squared, by_prediction])

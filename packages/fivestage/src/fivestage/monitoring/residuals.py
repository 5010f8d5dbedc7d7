"""Residual mean and spread of each column given the others: a fault in one column breaks its relations.

A season moves columns together and leaves their relations as they were. So each column is predicted from all
others by ridge regression, and what it is beyond that prediction is watched. The regressions are solved from
sums of products by day, and a reference day's residuals come from a fit on other days (cross-fitting), so
that they are as large as a new day's will be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.evaluation.daily import Floats
from fivestage.monitoring.daily_statistics import (
    FREQUENT,
    DailyStatistic,
    Window,
    frequent_levels,
)

RIDGE = 0.01  # of a column's variance: enough to invert, too little to bend a relation
QUANTILES = np.linspace(0, 1, 201)
SCORE_TAIL = 0.0025  # half a quantile step: no normal score is infinite
QUANTILE_ROWS = 50_000  # of a column, from which its quantiles are known well enough
LEAST_VARIANCE = 1e-6
LEAST_RESIDUAL = 1e-4  # mean square below which a column is a function of the others, by rounding
LEAST_RESIDUAL_MOVE = 0.02  # of a residual's standard deviation
FOLDS = 8
BATCH_ROWS = 50_000  # of a matrix at once, which bounds memory
MEAN, SPREAD = "residual mean", "residual spread"

_normal = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])


@dataclass(frozen=True)
class NormalScore:
    """A number becomes the normal quantile of its rank in the reference, 0 where it is missing."""

    quantiles: Floats
    scores: Floats
    may_miss: bool  # then whether it is missing is a column of the design too

    def columns(self, values: pd.Series) -> list[NDArray[np.float32]]:
        """One or two columns of the design."""
        value = numbers(values)
        there = np.isfinite(value)
        score = np.interp(np.where(there, value, 0), self.quantiles, self.scores)
        found = [np.where(there, score, 0).astype(np.float32)]
        return [*found, (~there).astype(np.float32)] if self.may_miss else found


@dataclass(frozen=True)
class Indicators:
    """A category becomes one column of zeros and ones for each frequent level."""

    levels: tuple[str, ...]

    def columns(self, values: pd.Series) -> list[NDArray[np.float32]]:
        """As many columns as there are levels."""
        code = pd.Index(self.levels, dtype="string").get_indexer(pd.Index(values.astype("string")))
        return [(code == level).astype(np.float32) for level in range(len(self.levels))]


@dataclass(frozen=True)
class Design:
    """The columns of the regressions: `names` says which frame column each tells of."""

    parts: dict[str, NormalScore | Indicators]
    names: NDArray[np.str_]
    watched: NDArray[np.bool_]  # indicators of missing values only help to predict

    def matrix(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """The design of some rows, led by a one (rows, 1 + columns)."""
        columns = [np.ones(len(frame), dtype=np.float32)]
        for name, part in self.parts.items():
            values = frame[name] if name in frame else pd.Series(np.nan, index=frame.index)
            columns += part.columns(values)
        return np.column_stack(columns)

    def without(self, column: str) -> NDArray[np.bool_]:
        """Which columns of the design tell of others."""
        return np.asarray(self.names != column)


def numbers(values: pd.Series) -> Floats:
    """A column as numbers; what is none is NaN."""
    known = values if pd.api.types.is_numeric_dtype(values) else pd.to_numeric(values, errors="coerce")
    return known.to_numpy(dtype=np.float64, na_value=np.nan)


def design_of(frame: pd.DataFrame, columns: Sequence[str]) -> Design:
    """The design for columns like those of a reference."""
    parts: dict[str, NormalScore | Indicators] = {}
    names: list[str] = []
    watched: list[bool] = []
    for name in columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            parts[name] = indicators = Indicators(frequent_levels(frame[name].value_counts(), len(frame)))
            width, helping = len(indicators.levels), 0
        else:
            parts[name] = part = _normal_score(numbers(frame[name]))
            width, helping = 1, int(part.may_miss)
        names += [name] * (width + helping)
        watched += [True] * width + [False] * helping
    return Design(parts, np.array(names, dtype=np.str_), np.array(watched, dtype=np.bool_))


def _normal_score(value: Floats) -> NormalScore:
    there = np.isfinite(value)
    known = value[there] if there.any() else np.zeros(1)
    quantiles = np.quantile(known[:: max(1, known.size // QUANTILE_ROWS)], QUANTILES)
    distinct = np.unique(quantiles)
    first, last = (np.searchsorted(quantiles, distinct, side) for side in ("left", "right"))
    rank = (first + last) / 2 / QUANTILES.size  # of ties, the middle
    scores = _normal(np.clip(rank, SCORE_TAIL, 1 - SCORE_TAIL))
    return NormalScore(distinct, scores, bool(FREQUENT <= (~there).mean() <= 1 - FREQUENT))


def products(window: Window, design: Design) -> Floats:
    """Sums of products of the design's columns by day (days, 1 + columns, 1 + columns)."""
    order = np.argsort(window.of_day, kind="stable")
    ends = np.searchsorted(window.of_day[order], np.arange(window.days + 1))
    width = 1 + design.names.size
    found = np.zeros((window.days, width, width))
    batch = ends[:-1] // BATCH_ROWS
    for days in np.split(np.arange(window.days), np.flatnonzero(np.diff(batch)) + 1):
        begin = ends[days[0]]
        matrix = design.matrix(window.frame.iloc[order[begin : ends[days[-1] + 1]]])
        for day in days:
            some = matrix[ends[day] - begin : ends[day + 1] - begin]  # of one day: single precision is enough
            found[day] = some.T @ some
    return found


def fit(total: Floats, names: NDArray[np.str_]) -> Floats:
    """Coefficients (columns, 1 + columns) that turn a row of the design into residuals given other columns.

    From the precision matrix: with a category's levels as one block, what a block is beyond its regression on
    all others is inverse(P[block, block]) P[block] x (Lauritzen, Graphical Models, 1996, appendix C).
    """
    rows = max(total[0, 0], 1.0)
    mean = total[0, 1:] / rows
    covariance = total[1:, 1:] / rows - np.outer(mean, mean)
    deviation = np.sqrt(np.maximum(np.diag(covariance), LEAST_VARIANCE))
    precision = np.linalg.inv(covariance / np.outer(deviation, deviation) + RIDGE * np.eye(mean.size))
    coefficients = np.empty_like(precision)
    for name in np.unique(names):
        block = np.flatnonzero(names == name)
        coefficients[block] = np.linalg.solve(precision[np.ix_(block, block)], precision[block])
    coefficients /= deviation
    return np.hstack([-(coefficients @ mean)[:, None], coefficients])


def cross_fitted(product: Floats, names: NDArray[np.str_], seed: int) -> tuple[Floats, Floats]:
    """Sums by day (days, columns) of the reference's residuals and their squares, by fits on other days."""
    days = len(product)
    total = product.sum(axis=0)
    fold = np.random.default_rng(seed).permutation(days) % min(FOLDS, days)
    residual, squared = np.zeros((2, days, names.size))
    for number in np.unique(fold):
        here = fold == number
        coefficients = fit(total - product[here].sum(axis=0), names)
        residual[here], squared[here] = residual_sums(product[here], coefficients)
    return residual, squared


def residual_sums(product: Floats, coefficients: Floats) -> tuple[Floats, Floats]:
    """Sums by day (days, columns) of the residuals and of their squares."""
    residual = product[:, :, 0] @ coefficients.T
    squared = np.einsum("dpq,pq->dp", np.matmul(coefficients, product), coefficients)
    return residual, np.maximum(squared, 0)


def residual_statistics(
    sums: tuple[Floats, Floats], rows: Floats, design: Design, deviation: Floats
) -> list[DailyStatistic]:
    """The statistics of residuals, whose mean is told in the reference's standard deviations.

    Args:
        sums: of residuals and of their squares, by day (days, columns of the design).
        rows: by day (days,).
        design: of the reference.
        deviation: of the reference's residuals (columns of the design,).
    """
    kept = design.watched
    names = tuple(design.names[kept].tolist())
    residual, squared = (one[:, kept] for one in sums)
    of_rows = np.repeat(rows[:, None], len(names), axis=1)
    found = [
        DailyStatistic(
            MEAN,
            names,
            residual / deviation[kept],
            of_rows,
            LEAST_RESIDUAL_MOVE,
            jackknifed=True,
            words="{now:+.2f} standard deviations off what the other columns predict, was {then:+.2f}",
        ),
        DailyStatistic(
            SPREAD,
            names,
            squared,
            of_rows,
            LEAST_RESIDUAL_MOVE,
            logarithm=LEAST_RESIDUAL,
            half=True,
            jackknifed=True,
            words="squared distance from what the other columns predict {now:.3g}, was {then:.3g}",
        ),
    ]
    return [one for one in found if one.items]

"""Residual mean and spread of each column given the others: a fault in one column breaks its relations.

A season moves columns together and leaves their relations as they were. So each column is predicted from all
others by ridge regression, and its residuals are compared. The regressions are solved from sums of products
by day, one pass over the rows for any number of fits, and a reference day's residuals come from a fit on
other days (cross-fitting), so that they are as large as a new day's will be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from fivestage.evaluation.daily import Bools, Floats
from fivestage.monitoring.daily_statistics import FREQUENT, DailyStatistic, Window, frequent_levels
from fivestage.monitoring.severity import LEAST_RESIDUAL

RIDGE = 0.01  # of a column's variance: enough to invert, too little to bend a relation
QUANTILES = np.linspace(0, 1, 201)  # scikit-learn's QuantileTransformer takes four times as long
QUANTILE_ROWS = 50_000  # of a column, from which its quantiles are known well enough
LEAST_VARIANCE = 1e-6
ROUNDING = 1e-4  # mean square below which a column is a function of the others, by rounding
FOLDS = 8
BATCH_ROWS = 50_000  # of a matrix at once, which bounds memory
MEAN, SPREAD = "residual mean", "residual spread"

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class NormalScore:
    """A number becomes the normal quantile of its rank in the reference, 0 where it is missing."""

    quantiles: Floats
    scores: Floats
    may_miss: bool  # then whether it is missing is a column of the design too

    @classmethod
    def of(cls, value: Floats) -> "NormalScore":
        """The scores of a reference's values."""
        there = np.isfinite(value)
        known = value[there] if there.any() else np.zeros(1)
        quantiles = np.quantile(known[:: max(1, known.size // QUANTILE_ROWS)], QUANTILES)
        distinct = np.unique(quantiles)
        first, last = (np.searchsorted(quantiles, distinct, side) for side in ("left", "right"))
        rank = (first + last) / 2 / QUANTILES.size  # of ties, the middle
        half = 0.5 / QUANTILES.size  # so that no score is infinite
        missing = 1 - float(there.mean())
        return cls(distinct, norm.ppf(np.clip(rank, half, 1 - half)), FREQUENT <= missing <= 1 - FREQUENT)

    def columns(self, values: pd.Series) -> list[Matrix]:
        """One or two columns of the design."""
        value = _numbers(values)
        there = np.isfinite(value)
        score = np.interp(np.where(there, value, 0), self.quantiles, self.scores)
        found = [np.where(there, score, 0).astype(np.float32)]
        return [*found, (~there).astype(np.float32)] if self.may_miss else found


@dataclass(frozen=True)
class Indicators:
    """A category becomes one column of zeros and ones for each frequent level."""

    levels: tuple[str, ...]

    def columns(self, values: pd.Series) -> list[Matrix]:
        """As many columns as there are levels."""
        value, distinct = pd.factorize(values)  # only distinct values are read as text
        known = pd.Index(self.levels, dtype="string").get_indexer(pd.Index(distinct).astype("string"))
        code = np.append(known, -1)[value]  # missing ones, which are -1, take the last
        return [(code == level).astype(np.float32) for level in range(len(self.levels))]


@dataclass(frozen=True)
class Design:
    """The columns of the regressions: `names` says which frame column each is of."""

    parts: dict[str, NormalScore | Indicators]
    names: NDArray[np.str_]
    compared: Bools  # indicators of missing values only help to predict

    def matrix(self, frame: pd.DataFrame) -> Matrix:
        """The design of some rows, led by a one (rows, 1 + columns)."""
        columns = [np.ones(len(frame), dtype=np.float32)]
        for name, part in self.parts.items():
            values = frame[name] if name in frame else pd.Series(np.nan, index=frame.index)
            columns += part.columns(values)
        return np.column_stack(columns)


def _numbers(values: pd.Series) -> Floats:
    """A column as numbers; what is none is NaN."""
    known = values if pd.api.types.is_numeric_dtype(values) else pd.to_numeric(values, errors="coerce")
    return known.to_numpy(dtype=np.float64, na_value=np.nan)


def design_of(frame: pd.DataFrame, columns: Sequence[str]) -> Design:
    """The design for columns like those of a reference."""
    parts: dict[str, NormalScore | Indicators] = {}
    compared: list[tuple[str, bool]] = []
    for name in columns:
        if pd.api.types.is_numeric_dtype(frame[name]):
            parts[name] = score = NormalScore.of(_numbers(frame[name]))
            compared += [(name, True), (name, False)][: 1 + score.may_miss]
        else:
            parts[name] = levels = Indicators(frequent_levels(frame[name].value_counts(), len(frame)))
            compared += [(name, True)] * len(levels.levels)
    names = np.array([name for name, _ in compared], dtype=np.str_)
    return Design(parts, names, np.array([one for _, one in compared], dtype=np.bool_))


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


def residual_statistics(
    reference: Floats, window: Floats, design: Design, without: Sequence[str] = (), seed: int = 0
) -> tuple[list[DailyStatistic], list[DailyStatistic]]:
    """The statistics of a reference's residuals and of a window's; the mean in the reference's deviations.

    Args:
        reference: sums of products by day, see `products`.
        window: the same of the window.
        design: of the reference.
        without: columns that predict nothing and have no residuals: theirs are 0.
        seed: of the folds.
    """
    kept = ~np.isin(design.names, list(without))
    cells = np.append(True, kept)  # the first is of the intercept
    then, now = (one[:, cells][:, :, cells] for one in (reference, window))
    total, days = then.sum(axis=0), len(then)
    fold = np.random.default_rng(seed).permutation(days) % min(FOLDS, days)
    sums = np.zeros((2, days, kept.sum()))
    for number in np.unique(fold):
        here = fold == number
        sums[:, here] = _residual_sums(then[here], _fit(total - then[here].sum(axis=0), design.names[kept]))
    deviation = np.sqrt(sums[1].sum(axis=0) / max(total[0, 0], 1) + ROUNDING)
    of_window = _residual_sums(now, _fit(total, design.names[kept]))
    return tuple(  # type: ignore[return-value]
        _statistics(some, product[:, 0, 0], deviation, design, kept)
        for some, product in ((sums, reference), (of_window, window))
    )


def _fit(total: Floats, names: NDArray[np.str_]) -> Floats:
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


def _residual_sums(product: Floats, coefficients: Floats) -> Floats:
    """Sums by day of the residuals and of their squares (2, days, columns)."""
    residual = product[:, :, 0] @ coefficients.T
    squared = np.einsum("dpq,pq->dp", np.matmul(coefficients, product), coefficients)
    return np.stack([residual, np.maximum(squared, 0)])


def _statistics(
    sums: Floats, rows: Floats, deviation: Floats, design: Design, kept: Bools
) -> list[DailyStatistic]:
    names = tuple(design.names[design.compared].tolist())
    scaled = np.zeros((2, len(rows), kept.size))
    scaled[:, :, kept] = sums[0] / deviation, sums[1]
    mean, square = scaled[:, :, design.compared]
    of_rows = np.repeat(rows[:, None], len(names), axis=1)
    found = [
        DailyStatistic(
            MEAN,
            names,
            mean,
            of_rows,
            LEAST_RESIDUAL,
            jackknifed=True,
            words="{now:+.2f} standard deviations off what the other columns predict, was {then:+.2f}",
        ),
        DailyStatistic(
            SPREAD,
            names,
            square,
            of_rows,
            LEAST_RESIDUAL,
            log_deviation,
            jackknifed=True,
            words="squared distance from what the other columns predict {now:.3g}, was {then:.3g}",
        ),
    ]
    return [one for one in found if one.columns]


def log_deviation(mean_square: Floats) -> Floats:
    """The logarithm of a standard deviation from a mean square."""
    return np.asarray(np.log(np.maximum(mean_square, 0) + ROUNDING) / 2, dtype=np.float64)

"""What each column is given the others: joint drift, which no column shows by itself.

A season moves columns together and keeps their relations; a fault in one column breaks them. Each column is
predicted from all others by ridge regression; what it is beyond that has a mean and a scatter, and against
the prediction it has a slope. The matrices of products are sums by day, so every fit is a solved system, and
a reference day's residuals come from a fit on other days.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.evaluation.daily import Floats
from fivestage.monitoring.distances import Binning, WindowCounts, numbers

RIDGE = 0.01
LEVELS = 15  # of a category that have a column of their own, if frequent
FREQUENT = 0.01
QUANTILES = np.linspace(0, 1, 201)
SCORE_TAIL = 0.0025
WINSOR = 0.001
ENOUGH = 50_000  # rows to know a distribution from
LEAST_VARIANCE = 1e-6
LEAST_RESIDUAL = 1e-4
FOLDS = 8
AT_ONCE = 50_000  # rows of a matrix, and those of the day that it ends with

_normal = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])


@dataclass(frozen=True)
class ResidualModel:
    """A number column becomes its normal score, itself (standardised, winsorised) and whether it misses."""

    quantiles: Floats
    scores: Floats
    center: float
    spread: float
    low: float
    high: float
    may_miss: bool


@dataclass(frozen=True)
class Design:
    """The columns of a regression: `place` says of which frame column each is, `kind` what it is of it."""

    binnings: tuple[Binning, ...]
    parts: tuple[ResidualModel | tuple[int, ...], ...]
    place: NDArray[np.int64]
    kind: NDArray[np.str_]  # "score", "raw", "missing" or "level"

    def matrix(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """One row a row, led by a one (rows, 1 + columns)."""
        columns: list[NDArray[np.float32]] = [np.ones(len(frame), dtype=np.float32)]
        for binning, part in zip(self.binnings, self.parts, strict=True):
            if isinstance(part, tuple):
                code = binning.codes(frame[binning.column])
                columns += [(code == level).astype(np.float32) for level in part]
                continue
            value = numbers(frame[binning.column])
            there = np.isfinite(value)
            value = np.where(there, value, part.center)
            score = np.interp(value, part.quantiles, part.scores)
            raw = (np.clip(value, part.low, part.high) - part.center) / part.spread
            columns += [np.where(there, one, 0).astype(np.float32) for one in (score, raw)]
            columns += [(~there).astype(np.float32)] if part.may_miss else []
        return np.column_stack(columns)


@dataclass(frozen=True)
class Residuals:
    """By day (days, columns of the design): sums of the columns, of their residuals, and of products."""

    total: Floats
    residual: Floats
    own: Floats  # the columns squared
    crossed: Floats  # the columns times their residuals
    squared: Floats  # the residuals squared


def design_of(frame: pd.DataFrame, binnings: tuple[Binning, ...]) -> Design:
    """The design for columns like those of a reference."""
    parts: list[ResidualModel | tuple[int, ...]] = []
    place: list[int] = []
    kind: list[str] = []
    for number, binning in enumerate(binnings):
        if binning.edges is None:
            code = binning.codes(frame[binning.column])
            frequent = tuple(
                level
                for level in range(min(len(binning.labels) - 1, LEVELS))
                if (code == level).mean() >= FREQUENT
            )
            parts.append(frequent)
            kinds = ["level"] * len(frequent)
        else:
            part = _number(numbers(frame[binning.column]))
            parts.append(part)
            kinds = ["score", "raw", *(["missing"] if part.may_miss else [])]
        place += [number] * len(kinds)
        kind += kinds
    return Design(binnings, tuple(parts), np.array(place, dtype=np.int64), np.array(kind, dtype=np.str_))


def _number(value: Floats) -> ResidualModel:
    there = np.isfinite(value)
    known = value[there] if there.any() else np.zeros(1)
    known = known[:: max(1, known.size // ENOUGH)]
    quantiles = np.quantile(known, QUANTILES)
    distinct = np.unique(quantiles)
    first, last = (np.searchsorted(quantiles, distinct, side) for side in ("left", "right"))
    rank = (first + last) / 2 / QUANTILES.size  # of ties, the middle
    low, high = np.quantile(known, [WINSOR, 1 - WINSOR])
    margin = (float(high - low) or 1.0) / 4
    return ResidualModel(
        distinct,
        _normal(np.clip(rank, SCORE_TAIL, 1 - SCORE_TAIL)),
        float(np.median(known)),
        float(known.std()) or 1.0,
        float(low) - margin,
        float(high) + margin,
        bool(FREQUENT <= (~there).mean() <= 1 - FREQUENT),
    )


def products(window: WindowCounts, design: Design) -> Floats:
    """Sums of products of the design's columns by day (days, 1 + columns, 1 + columns)."""
    of_day = np.asarray(window.day, dtype=np.int64) - window.first
    order = np.argsort(of_day, kind="stable")
    ends = np.searchsorted(of_day[order], np.arange(window.days + 1))
    width = 1 + design.place.size
    found = np.zeros((window.days, width, width))
    batch = ends[:-1] // AT_ONCE
    for days in np.split(np.arange(window.days), np.flatnonzero(np.diff(batch)) + 1):
        begin = ends[days[0]]
        matrix = design.matrix(window.frame.iloc[order[begin : ends[days[-1] + 1]]])
        for day in days:
            some = matrix[ends[day] - begin : ends[day + 1] - begin]  # of one day: single precision is enough
            found[day] = some.T @ some
    return found


def fit(total: Floats, design: Design) -> Floats:
    """Coefficients (columns, 1 + columns) that turn a row of the design into residuals given other columns.

    From the precision matrix: with a category's levels as one block, what a block is beyond its regression on
    all others is inverse(P[block, block]) P[block] x (Lauritzen, Graphical Models, 1996, appendix C).
    """
    rows = max(total[0, 0], 1.0)
    mean = total[0, 1:] / rows
    covariance = total[1:, 1:] / rows - np.outer(mean, mean)
    spread = np.sqrt(np.maximum(np.diag(covariance), LEAST_VARIANCE))
    precision = np.linalg.inv(covariance / np.outer(spread, spread) + RIDGE * np.eye(mean.size))
    coefficients = np.empty_like(precision)
    for place in np.unique(design.place):
        block = np.flatnonzero(design.place == place)
        coefficients[block] = np.linalg.solve(precision[np.ix_(block, block)], precision[block])
    coefficients /= spread
    return np.hstack([-(coefficients @ mean)[:, None], coefficients])


def residuals(product: Floats, coefficients: Floats) -> Residuals:
    """Sums of residuals by day."""
    crossed = np.matmul(coefficients, product)
    return Residuals(
        product[:, 0, 1:],
        np.einsum("pq,dq->dp", coefficients, product[:, :, 0]),
        np.diagonal(product, axis1=1, axis2=2)[:, 1:],
        np.diagonal(crossed[:, :, 1:], axis1=1, axis2=2),
        np.maximum(np.einsum("dpq,pq->dp", crossed, coefficients), 0),
    )


def cross_fitted(product: Floats, design: Design, draw: np.random.Generator) -> Residuals:
    """Residuals of each day by a fit on other days: those that a new day's will be like."""
    days = len(product)
    total = product.sum(axis=0)
    fold = draw.permutation(days) % min(FOLDS, days)
    found = Residuals(*np.zeros((5, days, design.place.size)))
    for number in np.unique(fold):
        here = fold == number
        some = residuals(product[here], fit(total - product[here].sum(axis=0), design))
        for name, part in vars(some).items():
            getattr(found, name)[here] = part
    return found

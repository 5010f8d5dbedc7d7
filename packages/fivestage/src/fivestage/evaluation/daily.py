"""Rows of one day move together: sums by day, and what resampled days make of them."""

from collections.abc import Iterable, Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Column = NDArray[Any]
Interval = tuple[float, float]

SEED = 0
SMALLEST = 1e-15
DECISIONS = 1000
NAN = float("nan")


class DailySample:
    """Rows sorted into their days once, so that a resample is a vector of weights, one a day."""

    def __init__(self, day: Column, rows: int) -> None:
        days, self.of_day = np.unique(np.asarray(day), return_inverse=True)
        if self.of_day.shape != (rows,):
            raise ValueError(f"{rows} labels, but {self.of_day.size} days")
        self.days = days.size

    def resamples(self, draws: int) -> Iterator[Floats]:
        """Weights of the days, for each draw of as many days with replacement."""
        generator = np.random.default_rng(SEED)
        for _ in range(draws):
            drawn = generator.integers(self.days, size=self.days)
            yield np.bincount(drawn, minlength=self.days).astype(np.float64)

    def scores(self, weight: Floats) -> dict[str, float]:
        """The scores of the days, each as often as its weight says."""
        raise NotImplementedError

    def by_day(self, value: Column) -> Floats:
        """The sum of each day's values; of columns of them, days x columns."""
        if value.ndim == 1:
            return sums(self.of_day, value, self.days)
        return np.column_stack([sums(self.of_day, column, self.days) for column in value.T])


def side_by_side(parts: Iterable[Floats], days: int) -> Floats:
    """Columns as one array (days, columns), which may be none."""
    return np.column_stack([np.zeros((days, 0)), *parts])


def sums(group: Column, value: Column, groups: int) -> Floats:
    """The sum of the values in each of `groups` groups, which are numbered from 0."""
    return np.bincount(group, value, groups).astype(np.float64)


def day_means(total: Floats, rows: Floats, draws: int) -> Floats:
    """Means of resamples of days, from each day's sum and number of rows."""
    days = rows.size
    weight = np.random.default_rng(SEED).multinomial(days, np.full(days, 1 / days), size=draws)
    return np.asarray((weight @ total) / (weight @ rows), dtype=np.float64)


def percentiles(drawn: Floats, confidence: float, days: int) -> Interval:
    """The interval of a statistic from its values on resamples of so many days.

    Percentiles alone are too narrow for few days (a week's 95% hold 88% of the time), so they are taken
    further out, where Student's t would be: the "expanded percentiles" of Hesterberg (2015), What Teachers
    Should Know About the Bootstrap. They need 1,000 draws for a week. One day has no interval: NaN.
    """
    if days == 1:
        return NAN, NAN
    normal, freedom = NormalDist(), days - 1
    z = normal.inv_cdf((1 + confidence) / 2)
    student = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    tail = normal.cdf(-student * (days / freedom) ** 0.5)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)

"""Block bootstrap over days, because the rows of a day are not independent: daily sums and resamples."""

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Column = NDArray[Any]
Interval = tuple[float, float]

SEED = 0
SMALLEST = 1e-15  # probabilities are clipped to this, so that the log-loss is finite
DECISIONS = 1000  # costs are given per this number of decisions
NAN = float("nan")


class DailySample:
    """Rows grouped by day once, so that a resample is a vector of weights, one per day."""

    def __init__(self, day: Column, rows: int) -> None:
        days, self.of_day = np.unique(np.asarray(day), return_inverse=True)
        if self.of_day.shape != (rows,):
            raise ValueError(f"{rows} labels, but {self.of_day.size} days")
        self.days = days.size

    def resamples(self, draws: int) -> Floats:
        """Return how often each day is drawn in each resample, with replacement (draws, days)."""
        drawn = np.random.default_rng(SEED).integers(self.days, size=(draws, self.days))
        return np.stack([np.bincount(days, minlength=self.days) for days in drawn]).astype(np.float64)

    def scores(self, weights: Floats) -> dict[str, Floats]:
        """Return the metrics of all rows for several weightings of the days (weightings, days)."""
        raise NotImplementedError

    def by_day(self, value: Column) -> Floats:
        """Return the sum of the values for each day: days, or days x columns for several columns."""
        if value.ndim == 1:
            return sums(self.of_day, value, self.days)
        return np.column_stack([sums(self.of_day, column, self.days) for column in value.T])


def sums(group: Column, value: Column, groups: int) -> Floats:
    """Return the sum of the values in each of `groups` groups, which are numbered from 0."""
    return np.bincount(group, value, groups).astype(np.float64)


def day_means(total: Floats, rows: Floats, draws: int) -> Floats:
    """Return the mean per row of each resample of days, from each day's sum and number of rows."""
    days = rows.size
    weight = np.random.default_rng(SEED).multinomial(days, np.full(days, 1 / days), size=draws)
    return np.asarray((weight @ total) / (weight @ rows), dtype=np.float64)


def percentiles(resampled: Floats, confidence: float, days: int) -> Interval:
    """Return the bootstrap interval of a statistic from its values on resamples of days.

    Plain percentiles are too narrow for few days (95% intervals of a week cover 88%), so they are widened as
    Student's t would be: the "expanded percentiles" of Hesterberg (2015), What Teachers Should Know About the
    Bootstrap. They need 1,000 draws for a week. A single day has no interval: NaN.
    """
    if days == 1:
        return NAN, NAN
    normal, freedom = NormalDist(), days - 1
    z = normal.inv_cdf((1 + confidence) / 2)
    student = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    tail = normal.cdf(-student * (days / freedom) ** 0.5)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)

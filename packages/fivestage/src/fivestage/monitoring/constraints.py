"""What a column's numbers always kept to: decimals that all have, and bounds that most days touch.

Counts are whole, a price has two decimals, a share is at most one. A number that violates such a constraint
is no chance, so a few of them show another unit, or sign, on the first day, however wild the column is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fivestage.evaluation.daily import Bools, Floats

DISTINCT = 10  # numbers, from which on the decimals that all have are no accident
TOUCHED = 0.5  # of the days must touch a bound
FAR = 0.5  # of a range's width beyond it: a record is less, another unit more
USUAL = 0.95  # of the values have the decimals, as sight in fog has more; of the days, nothing stands out
Places = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Constraint:
    """Bounds (infinite: none), the range, and the step of all numbers in between (0: none)."""

    bounds: tuple[float, float]
    range: tuple[float, float]
    step: float
    between: tuple[float, float]

    def violated_by(self, number: Floats) -> Bools:
        """Which numbers violate it."""
        slack = _single_precision(number)
        violated = (number < self.bounds[0] - slack) | (number > self.bounds[1] + slack)
        if self.step:
            inside = (number >= self.between[0]) & (number <= self.between[1])
            violated |= inside & ~_multiples(number, self.step)
        return np.asarray(violated, dtype=np.bool_)

    def far_from(self, number: Floats) -> Bools:
        """Which numbers lie far beyond the range."""
        low, high = self.range
        reach = FAR * (high - low)
        return np.asarray((number < low - reach) | (number > high + reach), dtype=np.bool_)


def learn_constraint(number: Floats, value: Places, day: Places, times: Places) -> Constraint | None:
    """The constraint of distinct numbers, of which `value` was there on `day`, so many `times`."""
    if not number.size:
        return None
    low, high = float(number.min()), float(number.max())
    days = {end: np.unique(day[number[value] == end]).size / np.unique(day).size for end in (low, high)}
    bounds = low if days[low] >= TOUCHED else -np.inf, high if days[high] >= TOUCHED else np.inf
    decimals = range(np.finfo(np.float32).precision + 1) if number.size >= DISTINCT else ()
    steps = (10.0**-some for some in decimals)
    step = next((step for step in steps if _multiples(number, step).all()), 0.0)
    first, last = np.quantile(np.repeat(number[value], times), [(1 - USUAL) / 2, (1 + USUAL) / 2])
    return Constraint(bounds, (low, high), step, (float(first), float(last)))


def _multiples(number: Floats, step: float) -> Bools:
    """Which are multiples of a step; none where single precision knows no half step of so large numbers."""
    steps = number / step
    near = _single_precision(steps)
    with np.errstate(invalid="ignore"):  # of infinite steps: not multiples either
        return np.asarray((np.abs(steps - np.rint(steps)) <= near) & (near < 1 / 2), dtype=np.bool_)


def _single_precision(number: Floats) -> Floats:
    """How far neighbours in single precision lie apart at these numbers."""
    return np.asarray(np.spacing(np.abs(number).astype(np.float32)), dtype=np.float64)

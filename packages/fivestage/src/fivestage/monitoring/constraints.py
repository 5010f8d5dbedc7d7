"""What a column's numbers always kept to: a grid that all lie on, and bounds that most days touch.

Counts are whole, a price has two digits, a share is at most one. A number that violates such a constraint is
no chance, so that a few of them show another unit, or sign, on the first day, however wild the column is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fivestage.evaluation.daily import Bools, Floats

DISTINCT = 10  # numbers, from which on what all have in common is no accident
TOUCHED = 0.5  # of the days must touch a bound
DIGITS = 6
NEAR, RELATIVE = 1e-3, 1e-7  # of a step and of a number: what single precision keeps
MOST = 0.25  # of a step
SEEN_WELL = (0.025, 0.975)  # beyond these quantiles a grid may be another one, as of a sight in fog


@dataclass(frozen=True)
class Constraint:
    """Bounds, which may be infinite, and a grid's step (0: none), which holds between two numbers."""

    low: float = -np.inf
    high: float = np.inf
    step: float = 0.0
    between: tuple[float, float] = (-np.inf, np.inf)

    def violated_by(self, number: Floats) -> Bools:
        """Which numbers violate it."""
        slack = RELATIVE * np.abs(number)
        violated = (number < self.low - slack) | (number > self.high + slack)
        if self.step:
            first, last = self.between
            violated |= (number >= first) & (number <= last) & ~_on_grid(number, self.step)
        return np.asarray(violated, dtype=np.bool_)


NONE = Constraint()


def learn_constraint(
    number: Floats, value: NDArray[np.int64], day: NDArray[np.int64], times: NDArray[np.int64]
) -> Constraint:
    """The constraint of distinct finite numbers, of which `value` was there on `day`, so many `times`."""
    if number.size < DISTINCT:
        return NONE
    days = np.unique(day).size
    low, high = (
        end if np.unique(day[number[value] == end]).size >= TOUCHED * days else none
        for end, none in ((number.min(), -np.inf), (number.max(), np.inf))
    )
    order = np.argsort(number[value], kind="stable")
    share = times[order].cumsum() / times.sum()
    first, last = number[value][order][np.searchsorted(share, SEEN_WELL)]
    return Constraint(float(low), float(high), _step(number), (float(first), float(last)))


def _step(number: Floats) -> float:
    """The widest step of a grid through 0 that all numbers lie on; 0 where there is none."""
    for scale in 10.0 ** np.arange(DIGITS + 1):
        if _on_grid(number, 1 / scale).all():
            return float(np.gcd.reduce(np.rint(number * scale).astype(np.int64)) / scale)
    return 0.0


def _on_grid(number: Floats, step: float) -> Bools:
    """Where numbers are so large that single precision knows no step, none lies on it."""
    steps = number / step
    near = NEAR + RELATIVE * np.abs(steps)
    return np.asarray((np.abs(steps - np.rint(steps)) <= near) & (near <= MOST), dtype=np.bool_)

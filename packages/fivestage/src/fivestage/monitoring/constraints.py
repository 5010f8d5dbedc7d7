"""What a column's numbers always kept to: a grid that all lie on, and bounds that most days touch.

Counts are whole, a price has two digits, a share is at most one. A number against such a rule is no chance,
so that a few of them tell of another unit, or sign, on the first day, however wild the column is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fivestage.evaluation.daily import Bools, Floats

DISTINCT = 10  # numbers, from which on what all have in common is no accident
DIGITS = 6
NEAR = 1e-3  # of a step, and ...
SINGLE = 6e-8  # ... of a number: what single precision keeps
MOST = 0.25  # of a step
TOUCHED = 0.5  # of the days
WELL_SEEN = (0.025, 0.975)  # beyond these quantiles a grid may be another one, as of a sight in fog


@dataclass(frozen=True)
class Rule:
    """Bounds, which may be infinite, and a grid's step (0: none), which holds between two numbers."""

    low: float = -np.inf
    high: float = np.inf
    step: float = 0.0
    between: tuple[float, float] = (-np.inf, np.inf)

    def broken_by(self, number: Floats) -> Bools:
        """Which numbers break it; what is not finite does not."""
        near = SINGLE * np.abs(number)
        broken = (number < self.low - near) | (number > self.high + near)
        if self.step:
            first, last = self.between
            broken |= (number >= first) & (number <= last) & ~_on_grid(number, self.step)
        return np.asarray(broken & np.isfinite(number), dtype=np.bool_)

    @property
    def words(self) -> str:
        """What numbers that break it do."""
        told = [f"are no multiples of {self.step:g}"] if self.step else []
        ends = {"below": self.low, "above": self.high}
        told += [f"lie {word} {end:g}" for word, end in ends.items() if np.isfinite(end)]
        return " or ".join(told)


def rule_of(
    distinct: Floats, value: NDArray[np.int64], of_day: NDArray[np.int64], times: NDArray[np.int64]
) -> Rule:
    """The rule of distinct numbers, of which `value` was there on `of_day`, so many `times`."""
    there = np.isfinite(distinct[value])
    known, number = distinct[np.isfinite(distinct)], distinct[value][there]
    if known.size < DISTINCT:
        return ANY
    ends, enough = (float(known.min()), float(known.max())), TOUCHED * np.unique(of_day[there]).size
    touched = [np.unique(of_day[there][number == end]).size >= enough for end in ends]
    order = np.argsort(number, kind="stable")
    share = times[there][order].cumsum() / times[there].sum()
    first, last = number[order][np.searchsorted(share, WELL_SEEN)].tolist()
    low, high = (
        end if is_bound else far for end, is_bound, far in zip(ends, touched, (-np.inf, np.inf), strict=True)
    )
    return Rule(low, high, _step(known), (first, last))


def _step(number: Floats) -> float:
    """The widest step of a grid through 0 that all numbers lie on; 0 where there is none."""
    for digits in range(DIGITS + 1):
        scale = 10.0**digits
        if _on_grid(number, 1 / scale).all():
            return float(np.gcd.reduce(np.rint(number * scale).astype(np.int64)) / scale)
    return 0.0


def _on_grid(number: Floats, step: float) -> Bools:
    """Where numbers are so large that single precision knows no step, none lies on it."""
    steps = np.where(np.isfinite(number), number, 0) / step
    near = NEAR + SINGLE * np.abs(steps)
    return np.asarray((np.abs(steps - np.rint(steps)) <= near) & (near <= MOST), dtype=np.bool_)


ANY = Rule()

"""How far chance moves a statistic: mock windows of the reference's own days, and limits from them.

Rows of one day move together, so chance is in the days. A mock window of some of the reference's days is held
against the rest, again and again. Statistics differ in noise and in how wild their worst days are, so each
column is measured from its own usual value (the 80th percentile of the mocks) in a scale of its own: its
standard deviation, drawn a little to that of its like (Smyth 2004), or its mean excess where that tells of
wilder days. The columns of a kind share one limit, for the largest of them; the kinds share the chance of a
false alarm equally.

What a mock is measured with comes from mocks that share no day with it, as a new window shares none. The
limit lies beyond what so few days have shown: above their 80th percentile, excesses are taken as exponential
with the mean that was seen, which as a prediction from n of them has the tail (1 + x / (n mean))^-n.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from monitoring.days import Bools, Floats

MOCKS = 300
JUDGED = 100
LEAST_DISJOINT = 20
TOP = 0.2
PRIOR_DAYS = 20  # of the columns' common spread
EXCESS = 2.0  # standard deviations that a mean excess counts for; a normal one's is half of one
LEAST_LIMIT = 3.0
LEAST_WINDOWS = 2  # in a reference; periods have more, see the contract
WINDOWS = 8  # of a reference: of fewer, windows share so many days that few are news

STEADY = 14  # days of a window up to which one of them may be left out

Statistics = dict[str, Floats]
Weighing = Callable[[Floats, Floats], Statistics]  # weights of days (sums, days), now and then
# Kinds that no wild day raises, so that a fault of one day shows in a week.
WHOLE = ("missing", "novel", "duplicates")


@dataclass(frozen=True)
class Chance:
    """Of one kind of statistic, per column: usual value and scale; and the limit that all share."""

    usual: Floats
    scale: Floats
    limit: float

    def beyond(self, value: Floats) -> Floats:
        """How far values reach towards the limit; from 1 on is an alarm."""
        return np.asarray((value - self.usual) / (self.scale * self.limit), dtype=np.float64)

    @property
    def threshold(self) -> Floats:
        """The value of each column from which on it is an alarm."""
        return np.asarray(self.usual + self.limit * self.scale, dtype=np.float64)


def steady(statistics: Weighing, now: Floats, then: Floats) -> Statistics:
    """What is left of the statistics of some days without the one of them that raises each most.

    One wild day in a hundred is in every tenth window of ten days, so that it must not alarm by itself.
    """
    found = statistics(now, then)
    days = np.count_nonzero(now, axis=1)
    if days.min() == 1 or days.max() > STEADY:
        return found
    window, day = np.nonzero(now)
    without = now[window]
    without[np.arange(day.size), day] = 0
    left, begin = statistics(without, then[window]), np.cumsum(days) - days
    return {
        kind: value if kind in WHOLE else np.minimum.reduceat(left[kind], begin)
        for kind, value in found.items()
    }


def calibrate(
    statistics: Weighing,
    days: int,
    window_days: int,
    false_alarm: float,
    least: Mapping[str, float | Floats],
    draw: np.random.Generator,
    least_limit: float = LEAST_LIMIT,
) -> dict[str, Chance]:
    """The chance of each kind; `statistics` tells all from weights of the days (mocks, days), now and then.

    Where nothing changes but the days, any alarm has the chance `false_alarm`. `least` holds a scale below
    which nothing matters, by kind, of all columns or of each.

    Raises:
        ValueError: where the reference is shorter than two windows, too short to know chance from.
    """
    if days < LEAST_WINDOWS * window_days:
        raise ValueError(f"{days} days of reference are fewer than {LEAST_WINDOWS} windows of {window_days}")
    mock = _mocks(days, window_days, draw)
    disjoint = mock @ mock.T == 0
    if disjoint.sum(axis=1).min() < LEAST_DISJOINT:
        disjoint = ~np.eye(len(mock), dtype=bool)
    found = steady(statistics, mock, 1 - mock)
    share = false_alarm / len(found)
    independent = days * min(1.0, days / window_days / WINDOWS) ** 2
    return {
        kind: _chance(value, disjoint, (share, independent), days, least[kind], least_limit)
        for kind, value in found.items()
    }


def _mocks(days: int, window_days: int, draw: np.random.Generator) -> Floats:
    """Weights (mocks, days): 1 for the chosen days; every single day where windows have one."""
    if window_days == 1:
        return np.eye(days)
    weight = np.zeros((MOCKS, days))
    np.put_along_axis(weight, draw.random((MOCKS, days)).argsort(axis=1)[:, :window_days], 1, axis=1)
    return weight


def _chance(
    value: Floats,
    disjoint: Bools,
    level: tuple[float, float],
    days: int,
    least: float | Floats,
    least_limit: float,
) -> Chance:
    """Of one kind; the level is the chance of a false alarm, and how many days it is to be known from."""
    largest = []
    for mock in range(min(JUDGED, len(value))):
        usual, scale = _measure(value[disjoint[mock]], days, least)
        largest.append(((value[mock] - usual) / scale).max(initial=-np.inf))
    return Chance(*_measure(value, days, least), max(least_limit, _limit(np.array(largest), *level)))


def _measure(value: Floats, days: int, least: float | Floats) -> tuple[Floats, Floats]:
    variance = np.maximum(value.var(axis=0), least**2)
    common = np.median(variance) if variance.size else 0.0
    spread = np.sqrt((days * variance + PRIOR_DAYS * common) / (days + PRIOR_DAYS))
    usual = np.quantile(value, 1 - TOP, axis=0)
    excess = np.maximum(value - usual, 0).mean(axis=0) / TOP
    return usual, np.maximum(spread, EXCESS * excess)


def _limit(largest: Floats, false_alarm: float, days: float) -> float:
    start = np.quantile(largest, 1 - TOP)
    count = max(2.0, TOP * days)
    mean = np.maximum(largest - start, 0).mean() / TOP
    return float(start + count * mean * ((false_alarm / TOP) ** (-1 / count) - 1))

"""How far chance moves a statistic: mock windows of the reference's own days, and limits from them.

Rows of one day move together, so chance is in the days. A mock window of some of the reference's days is held
against the rest, again and again. Statistics differ in noise and in how wild their worst days are, so each
column is measured from its own usual value (the 80th percentile of the mocks) in a scale of its own: its
standard deviation, drawn a little to that of its like (Smyth 2004), or its mean excess where that tells of
wilder days. The columns of a kind share one limit, for the largest of them; the kinds share the chance of a
false alarm equally.

What a mock is measured with comes from mocks that share no day with it, as a new window shares none. The
limit lies beyond what so few days have shown: above their 80th percentile, excesses are taken as exponential
with the mean that was seen, which as a prediction from n of them has the tail (1 + x / (n mean))^-n. Where
tails end, as those of counts that only differ by weekday, that is far too far: of single days no limit lies
further than 1.7 times what the furthest of those has shown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fivestage.evaluation.daily import Bools, Floats

MOCKS = 300
JUDGED = 100
LEAST_DISJOINT = 20
TOP = 0.2
PRIOR_DAYS = 20  # of the columns' common spread
EXCESS = 2.0  # standard deviations that a mean excess counts for; a normal one's is half of one
LEAST_LIMIT = 3.0  # standard deviations
FURTHEST = 1.7  # times the furthest single day that was seen
LEAST_WINDOWS = 2  # in a reference; periods have more, see the contract
WEEK = 7
WINDOWS = 8  # of a reference: of fewer, windows share so many days that few are news

STEADY = 14  # days of a window up to which one of them may be left out

Statistics = dict[str, Floats]
Weighing = Callable[[Floats, Floats], Statistics]  # weights of days (sums, days), now and then
# Kinds that no wild day raises, so that a fault of one day shows in a week.
WHOLE = ("missing", "gaps", "novel", "duplicates", "rule")


@dataclass(frozen=True)
class Chance:
    """Of one kind of statistic, per column: the usual value, and from which one on it is an alarm."""

    usual: Floats
    threshold: Floats

    def beyond(self, value: Floats) -> Floats:
        """How far values reach towards the limit; from 1 on is an alarm."""
        return np.asarray((value - self.usual) / (self.threshold - self.usual), dtype=np.float64)


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
    which nothing matters, by kind, of all columns or of each; kinds that it lacks are no matter of chance.

    Raises:
        ValueError: where the reference is shorter than two windows, too short to know chance from.
    """
    if days < LEAST_WINDOWS * window_days:
        raise ValueError(f"{days} days of reference are fewer than {LEAST_WINDOWS} windows of {window_days}")
    mock = _mocks(days, window_days, draw)
    disjoint = mock @ mock.T == 0
    if disjoint.sum(axis=1).min() < LEAST_DISJOINT:
        disjoint = ~np.eye(len(mock), dtype=bool)
    found = {kind: value for kind, value in steady(statistics, mock, 1 - mock).items() if kind in least}
    share = false_alarm / len(found)
    independent = days * min(1.0, days / window_days / WINDOWS) ** 2
    furthest = FURTHEST if window_days == 1 else np.inf
    return {
        kind: _chance(value, disjoint, (share, independent, furthest), days, least[kind], least_limit)
        for kind, value in found.items()
    }


def _mocks(days: int, window_days: int, draw: np.random.Generator) -> Floats:
    """Weights (mocks, days): 1 for the chosen days; every single day where windows have one."""
    if window_days == 1:
        return np.eye(days)
    luck = draw.random((MOCKS, days))
    if window_days >= WEEK:  # consecutive days have each weekday about as often: so have these
        for weekday in range(WEEK):
            some = luck[:, weekday::WEEK]
            some += some.argsort(axis=1).argsort(axis=1)
    weight = np.zeros((MOCKS, days))
    np.put_along_axis(weight, luck.argsort(axis=1)[:, :window_days], 1, axis=1)
    return weight


def _chance(
    value: Floats,
    disjoint: Bools,
    level: tuple[float, float, float],
    days: int,
    least: float | Floats,
    least_limit: float,
) -> Chance:
    """Of one kind; the level is the chance of a false alarm, of how many days, and how far it may go."""
    largest = []
    for mock in range(min(JUDGED, len(value))):
        usual, scale, _ = _measure(value[disjoint[mock]], days, least)
        largest.append(((value[mock] - usual) / scale).max(initial=-np.inf))
    usual, scale, spread = _measure(value, days, least)
    reach = np.maximum(_limit(np.array(largest), *level) * scale, least_limit * spread)
    return Chance(usual, usual + reach)


def _measure(value: Floats, days: int, least: float | Floats) -> tuple[Floats, Floats, Floats]:
    """The usual value, the scale, and the standard deviation."""
    variance = np.maximum(value.var(axis=0), least**2)
    common = np.median(variance) if variance.size else 0.0
    spread = np.sqrt((days * variance + PRIOR_DAYS * common) / (days + PRIOR_DAYS))
    usual = np.quantile(value, 1 - TOP, axis=0)
    excess = np.maximum(value - usual, 0).mean(axis=0) / TOP
    return usual, np.maximum(spread, EXCESS * excess), spread


def _limit(largest: Floats, false_alarm: float, days: float, furthest: float) -> float:
    start = np.quantile(largest, 1 - TOP)
    count = max(2.0, TOP * days)
    mean = np.maximum(largest - start, 0).mean() / TOP
    limit = start + count * mean * ((false_alarm / TOP) ** (-1 / count) - 1)
    return float(min(limit, furthest * largest.max())) if largest.max() > 0 else 0.0

"""Thresholds of drift statistics, calibrated on mock windows that are drawn from the reference's own days.

Rows of one day move together, so chance acts on days, not on rows. A mock window of some of the reference's
days is compared with all its other days, some hundred times; what these comparisons show is what chance does.
The items of a statistic, its columns, differ in noise, so each is measured from its usual value in a scale of
its own, and all share one limit in that scale: the one that the largest of them rarely exceeds (the maximum
statistic of Westfall and Young, Resampling-Based Multiple Testing, 1993). The statistics share the false
alarms equally.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fivestage.evaluation.daily import Bools, Floats
from fivestage.monitoring.daily_statistics import DailyStatistic

MOCK_WINDOWS = 300  # enough that a limit changes by a few per cent with the seed
JUDGED_MOCKS = 100  # of them, each against those that share no day with it, which is what costs time
LEAST_DISJOINT = 20  # such mocks; where a reference is too short for so many, all others are used
TAIL = 0.2  # share of mocks from which the exponential tail is estimated: fewer are noise, more are no tail
PRIOR_DAYS = 20  # weight of the columns' common variance in each one's own (Smyth, Limma, 2004)
EXCESS_WEIGHT = 2.0  # a normal distribution's mean excess over its 80th percentile is half of its deviation
LEAST_LIMIT = 3.0  # standard deviations: below it a limit would rest on the luck of few days
FURTHEST = 1.7  # times the furthest mock of a single day: bounded counts have no exponential tail
MIN_WINDOWS = 2  # windows that a reference must hold
STABLE_WINDOWS = 10  # of fewer windows per reference, mocks share so many days that few are independent
JACKKNIFE_DAYS = 14  # longer windows are not moved by one day
WEEK = 7

Statistics = dict[str, Floats]  # by the statistic's name: (windows, items)


@dataclass(frozen=True)
class DriftThreshold:
    """What a statistic usually is, and from which value on it is an alarm, per item."""

    usual: Floats
    limit: Floats

    def exceedance_ratio(self, value: Floats) -> Floats:
        """Where values lie between the usual one (0) and the limit (1): from 1 on is an alarm."""
        return np.asarray((value - self.usual) / (self.limit - self.usual), dtype=np.float64)


def compare_days(
    now: Sequence[DailyStatistic], then: Sequence[DailyStatistic], days: Floats, reference_days: Floats
) -> Statistics:
    """How far each statistic of some windows lies from that of the reference.

    Windows of up to two weeks are taken without the day that moves a statistic most (jackknife), so that one
    wild day in a hundred, which is in every tenth window of ten, does not raise an alarm by itself.
    Statistics that no wild day explains, such as missing values, are taken whole.

    Args:
        now: daily sums of the windows' statistics.
        then: the same statistics of the reference.
        days: weights of days (windows, days); 1 for a day that belongs to the window.
        reference_days: weights of the reference's days (windows, reference days).
    """
    found = {
        one.name: one.distance(days, other, reference_days) for one, other in zip(now, then, strict=True)
    }
    length = np.count_nonzero(days, axis=1)
    if length.min() == 1 or length.max() > JACKKNIFE_DAYS:
        return found
    window, day = np.nonzero(days)
    without = days[window]
    without[np.arange(day.size), day] = 0
    begin = np.cumsum(length) - length
    for one, other in zip(now, then, strict=True):
        if one.jackknifed:
            left = one.distance(without, other, reference_days[window])
            found[one.name] = np.minimum.reduceat(left, begin)
    return found


def calibrate(
    reference: Sequence[DailyStatistic],
    window_days: int,
    false_alarm: float,
    seed: int = 0,
    least_limit: float = LEAST_LIMIT,
    stable_windows: int = STABLE_WINDOWS,
) -> dict[str, DriftThreshold]:
    """The threshold of each statistic, by its name.

    Args:
        reference: daily sums of the reference.
        window_days: days of the windows that will be compared with it.
        false_alarm: chance that any statistic of a window alarms in which nothing changed but the days.
        seed: of the mock windows.
        least_limit: the least limit, in standard deviations.
        stable_windows: windows of a reference of which fewer make the limits reach further.

    Raises:
        ValueError: where the reference is shorter than two windows, too short to know chance from.
    """
    days = len(reference[0].numerator)
    if days < MIN_WINDOWS * window_days:
        raise ValueError(f"{days} days of reference are fewer than {MIN_WINDOWS} windows of {window_days}")
    mock = _mock_windows(days, window_days, np.random.default_rng(seed))
    disjoint = mock @ mock.T == 0
    if disjoint.sum(axis=1).min() < LEAST_DISJOINT:
        disjoint = ~np.eye(len(mock), dtype=bool)
    found = compare_days(reference, reference, mock, 1 - mock)
    calibrated = [one for one in reference if one.fixed_limit is None]
    independent = days * min(1.0, days / window_days / stable_windows) ** 2
    furthest = FURTHEST if window_days == 1 else np.inf
    thresholds = {
        one.name: DriftThreshold(np.zeros(one.items), np.full(one.items, one.fixed_limit))
        for one in reference
        if one.fixed_limit is not None
    }
    for one in calibrated:
        scale = _Scale.of(found[one.name], days, one.least)
        largest = _largest(one, found[one.name], disjoint, days)
        limit = _limit(largest, false_alarm / len(calibrated), independent, furthest)
        reach = np.maximum(limit * scale.scale, least_limit * scale.deviation)
        thresholds[one.name] = DriftThreshold(scale.usual, scale.usual + reach)
    return thresholds


def _largest(statistic: DailyStatistic, found: Floats, disjoint: Bools, days: int) -> Floats:
    """How far the furthest item lies in each mock, measured by mocks that share no day with it."""
    largest = []
    for mock in range(min(JUDGED_MOCKS, len(disjoint))):
        scale = _Scale.of(found[disjoint[mock]], days, statistic.least)
        largest.append(((found[mock] - scale.usual) / scale.scale).max())
    return np.array(largest)


def _mock_windows(days: int, window_days: int, draw: np.random.Generator) -> Floats:
    """Weights (mocks, days): 1 for the chosen days; every single day where windows have one."""
    if window_days == 1:
        return np.eye(days)
    luck = draw.random((MOCK_WINDOWS, days))
    if window_days >= WEEK:  # consecutive days have each weekday about as often, so these do as well
        for weekday in range(WEEK):
            some = luck[:, weekday::WEEK]
            some += some.argsort(axis=1).argsort(axis=1)
    weight = np.zeros((MOCK_WINDOWS, days))
    np.put_along_axis(weight, luck.argsort(axis=1)[:, :window_days], 1, axis=1)
    return weight


@dataclass(frozen=True)
class _Scale:
    """The usual value, the scale and the standard deviation of each item over mock windows."""

    usual: Floats
    scale: Floats
    deviation: Floats

    @classmethod
    def of(cls, value: Floats, days: int, least: float | Floats) -> "_Scale":
        variance = np.maximum(value.var(axis=0), np.square(least))
        common = np.median(variance)
        deviation = np.sqrt((days * variance + PRIOR_DAYS * common) / (days + PRIOR_DAYS))
        usual = np.quantile(value, 1 - TAIL, axis=0)
        excess = np.maximum(value - usual, 0).mean(axis=0) / TAIL
        return cls(usual, np.maximum(deviation, EXCESS_WEIGHT * excess), deviation)


def _limit(largest: Floats, false_alarm: float, days: float, furthest: float) -> float:
    """The limit that a new window's largest statistic exceeds with the chance `false_alarm`.

    Excesses over the 80th percentile are exponential with an estimated mean. As a prediction from n of them
    the tail is (1 + x / (n mean))^-n, which reaches further than the exponential's own the fewer there are.
    """
    start = np.quantile(largest, 1 - TAIL)
    count = max(2.0, TAIL * days)
    mean = np.maximum(largest - start, 0).mean() / TAIL
    limit = start + count * mean * ((false_alarm / TAIL) ** (-1 / count) - 1)
    return float(min(limit, furthest * largest.max())) if largest.max() > 0 else 0.0

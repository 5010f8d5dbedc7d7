"""Limits of drift statistics, calibrated on mock windows that are drawn from the reference's own days.

Rows of one day move together, so chance acts on days, not on rows. A mock window of some of the reference's
days is compared with all its other days, a hundred times; what these comparisons show is what chance does.
The items of a statistic, its columns, differ in noise, so each is measured in a scale of its own, and all
share one limit in that scale: the maximum statistic of Westfall and Young (Resampling-Based Multiple Testing,
1993). The statistics share the false alarms equally.
"""

from collections.abc import Sequence

import numpy as np

from fivestage.evaluation.daily import Floats
from fivestage.monitoring.daily_statistics import DailyStatistic

MOCK_WINDOWS = 100  # enough that a limit changes by a few per cent with the seed
FURTHEST_SHARE = 0.05  # of the mocks, whose mean is a column's scale: light and heavy tails alike
INDEPENDENT_SHARE = 0.5  # of the days: what mocks are worth, see `calibrate`
PRIOR_DAYS = 20  # weight of the columns' common scale in each one's own (Smyth, Limma, 2004)
WEEK = 7

Statistics = dict[str, Floats]  # by the statistic's name: (windows, items)
Limits = dict[str, Floats]  # by the statistic's name: (items,)


def compare_days(
    now: Sequence[DailyStatistic], then: Sequence[DailyStatistic], days: Floats, reference_days: Floats
) -> Statistics:
    """How far each statistic of some windows lies from that of the reference, by weights of their days.

    A window is taken without the day that moves a statistic most (jackknife), so that one wild day in a
    hundred, which is in every tenth window of ten, does not raise an alarm by itself. Statistics that no wild
    day explains, such as missing values, are taken whole.
    """
    window, day = np.nonzero(days)
    without = days[window]
    without[np.arange(day.size), day] = 0
    length = np.count_nonzero(days, axis=1)
    found = {}
    for one, other in zip(now, then, strict=True):
        if one.kind.jackknifed and length.min() > 1:
            left = one.distance(without, other, reference_days[window])
            found[one.kind.name] = np.minimum.reduceat(left, length.cumsum() - length)
        else:
            found[one.kind.name] = one.distance(days, other, reference_days)
    return found


def whole(statistics: Sequence[DailyStatistic]) -> Floats:
    """The weights of one window of all the days of some statistics (1, days)."""
    return np.ones((1, len(statistics[0].numerator)))


def calibrate(
    reference: Sequence[DailyStatistic], window_days: int, false_alarm: float, seed: int = 0
) -> Limits:
    """The limit of each item of each statistic, by the statistic's name.

    The furthest of n mocks is itself luck: with an exponential tail, a limit b times as far has false alarms
    in gamma(1 + b) n^-b of windows, twice what is stated for b from n, and what is stated for b from n / 2.
    """
    days = len(reference[0].numerator)
    if days < 2 * window_days:
        raise ValueError(f"{days} days of reference are fewer than 2 windows of {window_days}")
    mock = _mock_windows(days, window_days, np.random.default_rng(seed))
    # The furthest of n is expected at log(n) + gamma scales of the tail, the one in N at log(N).
    furthest_mock = np.log(days * INDEPENDENT_SHARE) + np.euler_gamma
    beyond = np.log(len(reference) / false_alarm) / furthest_mock
    found, limits = compare_days(reference, reference, mock, 1 - mock), {}
    for one in reference:
        distance, least = found[one.kind.name], one.kind.least
        others = (_scale(np.delete(distance, place, axis=0), days, least) for place in range(len(mock)))
        furthest = max((some / scale).max() for some, scale in zip(distance, others, strict=True))
        limits[one.kind.name] = np.maximum(beyond * furthest * _scale(distance, days, least), least)
    return limits


def _mock_windows(days: int, window_days: int, draw: np.random.Generator) -> Floats:
    """Weights (mocks, days): 1 for the chosen days; every single day where windows have one."""
    if window_days == 1:
        return np.eye(days)
    luck = draw.random((MOCK_WINDOWS, days))
    if window_days >= WEEK:  # consecutive days have each weekday about as often, so these do as well
        for weekday in range(WEEK):
            some = luck[:, weekday::WEEK]
            some += some.argsort(axis=1).argsort(axis=1)
    return (luck.argsort(axis=1).argsort(axis=1) < window_days).astype(np.float64)


def _scale(distance: Floats, days: int, least: float) -> Floats:
    """The mean of each item's furthest mocks, drawn towards that of all; half a least limit at least."""
    count = max(1, round(FURTHEST_SHARE * len(distance)))
    furthest = np.partition(distance, len(distance) - count, axis=0)[-count:].mean(axis=0)
    square = np.square(np.maximum(furthest, least / 2))
    return np.asarray(np.sqrt((days * square + PRIOR_DAYS * np.median(square)) / (days + PRIOR_DAYS)))

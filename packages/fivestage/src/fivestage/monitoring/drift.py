"""Compare a window of rows with its reference: statistics, their calibrated limits, and findings.

Rows of one day move together, so chance acts on days, not on rows. A mock window of some of the reference's
days is compared with all its other days, a hundred times; these comparisons show the differences that arise
by chance. The items of a statistic, its columns, share one limit: the maximum statistic of Westfall and Young
(Resampling-Based Multiple Testing, 1993). They differ in noise, so each is measured on its own scale, and few
mock windows show no rare event, so the limit extends beyond them with an exponential tail. Ranks of days have
one scale and no tail: their limit is a quantile of ten thousand mock windows. The statistics share the false
alarms equally. Days of mock windows are drawn one by one; where neighbouring days of the reference are alike,
its limits are wider, see `widening`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from fivestage.contract.contract import LEAST_REFERENCE
from fivestage.evaluation.daily import NAN, Bools, Floats
from fivestage.monitoring.daily_statistics import ROWS, CodedColumn, DailyStatistic, Window, daily_statistics
from fivestage.monitoring.residuals import (
    BY_PREDICTION,
    MEAN,
    MEAN_BY_DAY,
    SPREAD,
    products,
    residual_statistics,
)

DAY_COLUMN = "decision day"
USUAL = 0.95  # quantile of the reference's days beyond which a day, or mock window, stands out
MOCK_WINDOWS = 100  # enough for limits to vary by only a few per cent with the seed
INDEPENDENT_SHARE = 0.5  # share of the days that counts as independent mock windows, see `calibrate`
PRIOR_DAYS = 20  # weight of the common scale in each column's own (Smyth, Limma, 2004)
RANKED_DAYS = 4  # of a window; the ranks of fewer days cannot reach the limit
WEEK = 7

Statistics = dict[str, Floats]  # by the statistic's name: (windows, items)
Limits = dict[str, Floats]  # by the statistic's name: (items,)


@dataclass(frozen=True)
class DailySeries:
    """One number per day of the reference and of the window; NaN on days that have none."""

    what: str
    first: int  # day of the first number of the reference
    usual: tuple[float, ...]
    now: tuple[float, ...]
    low: float  # nine in ten of the reference's days lie between `low`
    high: float  # and `high`


@dataclass(frozen=True)
class Finding:
    """The result for one statistic of one column: how far it moved, the limits, and a sentence."""

    statistic: str
    column: str
    value: float  # the difference from the reference
    limit: float  # rarely exceeded by chance
    broken: float | None  # the difference from which on the data are broken; None: never
    sentence: str
    since: int | None = None  # the first day from which on it stands out, in days since 1970
    series: DailySeries | None = None  # of what moved

    @property
    def exceedance(self) -> float:
        """The value as a multiple of its limit."""
        return self.value / self.limit

    @property
    def drifted(self) -> bool:
        """Whether the value reaches its limit."""
        return self.value >= self.limit

    @property
    def is_residual(self) -> bool:
        """Whether the statistic is of residuals given the other columns, not of the column's own values."""
        return self.statistic in (MEAN, SPREAD, MEAN_BY_DAY, BY_PREDICTION)

    @property
    def is_broken(self) -> bool:
        """Whether the column drifted so far that its data are broken."""
        return self.drifted and self.broken is not None and self.value >= self.broken


class Reference:
    """A reference window whose statistics are computed once, for any number of comparisons."""

    def __init__(self, window: Window) -> None:
        self.window, self.columns = window, [CodedColumn(window, str(name)) for name in window.frame]
        counted, self.product = daily_statistics(window, self.columns), products(window, self.columns)
        self.statistics = [*counted, *residual_statistics(self.product, None, self.columns)]

    def count(self, window: Window) -> list[DailyStatistic]:
        """Compute the same statistics for another window."""
        columns = [CodedColumn(window, one.name, one.reference) for one in self.columns]
        counted, product = daily_statistics(window, columns), products(window, columns)
        return [*counted, *residual_statistics(self.product, product, columns)]


def detect_drift(reference: Window, current: Window, false_alarm: float) -> list[Finding]:
    """Compare all statistics of all columns; `false_alarm` is the probability of any drift by chance."""
    counted = Reference(reference)
    return compare(counted, current, calibrate(counted.statistics, current.days, false_alarm))


def windows_of(
    reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[str]
) -> tuple[Window, Window] | None:
    """Return the windows of a report's frames, or None if the reference is too short for calibration."""
    if reference.empty or current.empty:
        return None
    then, now = (
        Window(frame[list(columns)], day, int(day[0]), int(day[-1] - day[0]) + 1)
        for frame in (reference, current)
        for day in [frame[DAY_COLUMN].to_numpy(dtype=np.int64)]
    )
    return None if then.days < LEAST_REFERENCE * now.days else (then, now)


def compare(reference: Reference, current: Window, limits: Limits) -> list[Finding]:
    """Return the findings of `detect_drift`, sorted, without the residuals of columns that are not at fault.

    A faulty column also moves the residuals of the columns that are predicted from it. So drifted residuals
    are reported only for columns whose own values moved or, if there are none, for the one that moved most.
    """
    statistics, firsts = reference.count(current), (reference.window.first, current.first)
    findings = findings_of(statistics, reference.statistics, limits, firsts)
    moved = [one.column for one in findings if one.drifted and not one.is_residual and one.column != ROWS]
    at_fault = moved or [one.column for one in findings if one.drifted and one.is_residual][:1]
    return [one for one in findings if not (one.drifted and one.is_residual) or one.column in at_fault]


def compare_days(
    now: Sequence[DailyStatistic], then: Sequence[DailyStatistic], days: Floats, reference_days: Floats
) -> Statistics:
    """Return the distance of each statistic of some windows from the reference, by weights of their days.

    A jackknifed statistic leaves out the window's day that moves it most, so that one odd day is not drift.
    """
    window, day = np.nonzero(days)
    without = days[window]
    without[np.arange(day.size), day] = 0
    length = np.count_nonzero(days, axis=1)
    distances = {}
    for one, other in zip(now, then, strict=True):
        if one.kind.ranked and length.min() >= RANKED_DAYS:
            trifle = one.distance(days, other, reference_days) < one.kind.least
            distances[one.kind.name] = np.where(trifle, 0, rank_sums(one, other, days, reference_days))
        elif one.kind.jackknifed and length.min() > 1:
            remaining = one.distance(without, other, reference_days[window])
            distances[one.kind.name] = np.minimum.reduceat(remaining, length.cumsum() - length)
        else:
            distances[one.kind.name] = one.distance(days, other, reference_days)
    return distances


def rank_sums(now: DailyStatistic, then: DailyStatistic, days: Floats, reference_days: Floats) -> Floats:
    """Return the standardised rank sum of each window's days among the reference's (windows, items).

    Ranks hardly depend on the tails, which a few weeks cannot show: a lasting change of all days is detected
    sooner than by sums, in which one stormy day hides it. Source: Mann and Whitney, "On a Test of Whether one
    of Two Random Variables is Stochastically Larger than the Other" (1947).
    """
    daily, usual = (one.ratio(np.eye(len(one.numerator))) for one in (now, then))
    # A window's own days cancel out where they are part of the reference, as in mock windows.
    score = np.nan_to_num(np.sign(daily[:, None] - usual[None])).sum(axis=1)
    length, others = days.sum(axis=1)[:, None], reference_days.sum(axis=1)[:, None]
    return np.asarray(np.abs(days @ score) / np.sqrt(length * others * (length + others + 1) / 3))


def days_with_values(statistics: Sequence[DailyStatistic]) -> Bools:
    """Return on which days any statistic has a value: for labels, those with labelled rows (days,)."""
    return np.asarray(np.any([one.denominator.any(axis=1) for one in statistics], axis=0), dtype=np.bool_)


def calibrate(
    reference: Sequence[DailyStatistic], window_days: int, false_alarm: float, seed: int = 0
) -> Limits:
    """Return the limit of each item of each statistic, by the statistic's name.

    The maximum over n mock windows is itself random: with an exponential tail, a limit of b times the maximum
    gives false alarms in gamma(1 + b) n^-b of windows: twice the stated rate if b is computed from n, and the
    stated rate if it is computed from n / 2.
    """
    usable = days_with_values(reference)
    days = int(np.count_nonzero(usable))
    if days < 2 * window_days:
        raise ValueError(f"{days} days of reference are fewer than 2 windows of {window_days}")
    key = tuple(usable.tolist()), window_days
    mock = _mock_windows(*key, MOCK_WINDOWS, seed)
    # So many mock windows, which cost little for ranks, that their limit needs no extrapolation.
    ranked = _mock_windows(*key, 100 * MOCK_WINDOWS, seed)
    # In scales of the tail, the maximum of n is expected at log(n) + gamma, and the 1-in-N event at log(N).
    furthest_mock = np.log(days * INDEPENDENT_SHARE) + np.euler_gamma
    distances, limits = compare_days(reference, reference, mock, usable - mock), {}
    share = false_alarm / len(distances)
    beyond = np.log(1 / share) / furthest_mock
    for one in reference:
        distance, least, wider = distances[one.kind.name], one.kind.least, widening(one, window_days)
        if one.kind.ranked and window_days >= RANKED_DAYS:
            furthest = rank_sums(one, one, ranked, usable - ranked).max(axis=1)
            limit = wider * np.quantile(furthest, 1 - share, method="higher")  # 0 if all days are equal
            pairs = window_days * days  # of days: all of them, if each day lies beyond the reference's
            most = pairs / np.sqrt(pairs * (window_days + days + 1) / 3)
            limits[one.kind.name] = np.maximum(np.minimum(limit, most), least)
            continue
        own, others = (
            _scale(some, days, least) for some in (_furthest(distance), _furthest_others(distance))
        )
        furthest = (distance / others).max()
        limits[one.kind.name] = np.maximum(beyond * wider * furthest * own, least)
    return limits


def widening(reference: DailyStatistic, window_days: int) -> Floats:
    """Return how much further windows of consecutive days vary than windows of independent days (items,).

    Neighbouring days are alike. With an autocorrelation of r, a mean of n days varies as that of
    n / (1 + 2 sum of (1 - k / n) r^k) independent days (Bayley and Hammersley, "The Effective Number of
    Independent Observations in an Autocorrelated Time Series", 1946). Of the days' ranks among their weekday,
    r is the item's own less two standard errors or, if more, the items' median less one, so that chance
    widens little.
    """
    days, lag = len(reference.numerator), np.arange(1, window_days)
    rank = pd.DataFrame(reference.ratio(np.eye(days))).rank()
    rank -= rank.groupby(np.arange(days) % WEEK).transform("mean")
    own, error = rank.corrwith(rank.shift()), 1 / np.sqrt(days)
    alike = np.fmax(np.fmax(own - 2 * error, own.median() - error), 0.0).to_numpy()
    return np.asarray(np.sqrt(1 + 2 * alike[:, None] ** lag @ (1 - lag / window_days)))


@lru_cache(maxsize=8)  # inputs, scores and labels of all periods have the same windows
def _mock_windows(usable: tuple[bool, ...], window_days: int, number: int, seed: int) -> Floats:
    """Return weights (mock windows, days), 1 for chosen days; windows of one day are each usable day."""
    if window_days == 1:
        return np.eye(len(usable))[list(usable)]
    days = np.flatnonzero(usable)
    rank = np.random.default_rng(seed).random((number, days.size))
    weekdays, count = np.unique(days % WEEK, return_counts=True)
    if window_days >= weekdays.size:  # a real window has its share of each weekday, so mock windows do too
        for weekday, often in zip(weekdays, count, strict=True):
            same = days % WEEK == weekday
            order = rank[:, same].argsort(axis=1).argsort(axis=1)
            rank[:, same] = (rank[:, same] + order) / often
    mock = np.zeros((number, len(usable)))
    mock[:, days] = rank.argsort(axis=1).argsort(axis=1) < window_days
    return mock


def _furthest(distance: Floats) -> Floats:
    """Return the mean of each item's furthest mock windows (items,)."""
    count = max(1, round((1 - USUAL) * len(distance)))
    return np.asarray(np.partition(distance, -count, axis=0)[-count:].mean(axis=0))


def _furthest_others(distance: Floats) -> Floats:
    """Return the same for each mock window among the others (windows, items)."""
    count = max(1, round((1 - USUAL) * (len(distance) - 1)))
    furthest = np.partition(distance, -count - 1, axis=0)[-count - 1 :]
    left_out = np.maximum(distance, furthest.min(axis=0))  # the window itself, or else the nearest of these
    return np.asarray((furthest.sum(axis=0) - left_out) / count)


def _scale(furthest: Floats, days: int, least: float) -> Floats:
    """Return scales (..., items): those of the furthest windows, shrunk towards the items' median."""
    square = np.square(np.maximum(furthest, least / 2))
    usual = np.median(square, axis=-1, keepdims=True)
    return np.asarray(np.sqrt((days * square + PRIOR_DAYS * usual) / (days + PRIOR_DAYS)))


def findings_of(
    counted: Sequence[DailyStatistic],
    reference: Sequence[DailyStatistic],
    limits: Limits,
    firsts: tuple[int, int],
) -> list[Finding]:
    """Return the finding of each statistic and column; `firsts` are the first days of both windows."""
    weights = [days_with_values(some)[None].astype(np.float64) for some in (counted, reference)]
    distances, findings = compare_days(counted, reference, *weights), []
    for now, was in zip(counted, reference, strict=True):
        kind, value, limit = now.kind, distances[now.kind.name][0], limits[now.kind.name]
        current, before = (one.ratio(weight)[0] for one, weight in zip((now, was), weights, strict=True))
        for column in dict.fromkeys(now.columns):
            items = np.flatnonzero(np.array(now.columns) == column)
            item = int(items[(value / limit)[items].argmax()])
            words = kind.words.format(
                name=kind.name, label=now.labels[item], now=current[item], then=before[item]
            )
            moved = value[item] >= limit[item]
            since, series = _since(now, was, item, firsts) if moved else (None, None)
            numbers = float(value[item]), float(limit[item])
            findings.append(Finding(kind.name, column, *numbers, was.kind.broken, words, since, series))

    def order(one: Finding) -> tuple[bool, bool, float]:
        """Sort broken data first, then drift of columns' own values, then residuals and the rest."""
        return not one.is_broken, one.is_residual or not one.drifted, -one.exceedance

    return sorted(findings, key=order)


def _since(
    now: DailyStatistic, was: DailyStatistic, item: int, firsts: tuple[int, int]
) -> tuple[int | None, DailySeries]:
    """Return the day from which on an item stands out steadily, ignoring odd days before, and its series."""
    days, length = len(was.numerator), len(now.numerator)
    usual = was.distance(np.eye(days), was, 1 - np.eye(days))[:, item]
    daily = now.distance(np.eye(length), was, np.ones((length, days)))[:, item]
    standing = daily / (np.quantile(usual, USUAL) + now.kind.least / 2)
    steadily = np.clip(standing - 1, -1, 1)[::-1].cumsum()[::-1]
    since = firsts[1] + int(steadily.argmax()) if steadily.max() > 0 else None
    before, after = (one.ratio(np.eye(len(one.numerator)))[:, item] for one in (was, now))
    known = before[np.isfinite(before)]
    low, high = np.quantile(known, [1 - USUAL, USUAL]).tolist() if known.size else (NAN, NAN)
    series = DailySeries(now.kind.name, firsts[0], tuple(before.tolist()), tuple(after.tolist()), low, high)
    return since, series

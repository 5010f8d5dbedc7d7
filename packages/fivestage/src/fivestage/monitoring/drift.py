"""Compare a window of rows with its reference: statistics, their calibrated limits, and findings.

Rows of one day move together, so chance acts on days, not on rows. A mock window of some of the reference's
days is compared with all its other days, a hundred times; what these comparisons show is what chance does.
The items of a statistic, its columns, differ in noise, so each is measured in a scale of its own, and all
share one limit in that scale: the maximum statistic of Westfall and Young (Resampling-Based Multiple Testing,
1993). The statistics share the false alarms equally.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fivestage.contract.contract import LEAST_REFERENCE
from fivestage.evaluation.daily import NAN, Floats
from fivestage.monitoring.daily_statistics import ROWS, DailyStatistic, Window, daily_statistics
from fivestage.monitoring.residuals import MEAN, SPREAD, design_of, products, residual_statistics

DAY_COLUMN = "decision day"
USUAL = 0.95  # of the days: from there on one stands out
MOCK_WINDOWS = 100  # enough that a limit changes by a few per cent with the seed
FURTHEST_SHARE = 0.05  # of the mocks, whose mean is a column's scale: light and heavy tails alike
INDEPENDENT_SHARE = 0.5  # of the days: what mocks are worth, see `calibrate`
PRIOR_DAYS = 20  # weight of the columns' common scale in each one's own (Smyth, Limma, 2004)
WEEK = 7

Statistics = dict[str, Floats]  # by the statistic's name: (windows, items)
Limits = dict[str, Floats]  # by the statistic's name: (items,)


@dataclass(frozen=True)
class DailySeries:
    """One number a day, those of the reference and those of the window; NaN on days that have none."""

    what: str
    first: int  # day of the first number of the reference
    usual: tuple[float, ...]
    now: tuple[float, ...]
    low: float  # nine in ten of the reference's days lie between this
    high: float  # and this


@dataclass(frozen=True)
class Finding:
    """One statistic of one column: how far it moved, the limits, and what to say of it."""

    statistic: str
    column: str
    value: float  # the difference from the reference
    limit: float  # what chance rarely exceeds
    broken: float | None  # the difference from which on the data are broken; None: never
    sentence: str
    since: int | None = None  # the day from which on it stands out, counted like the window's
    series: DailySeries | None = None  # of what moved

    @property
    def exceedance(self) -> float:
        """How far it reaches towards its limit."""
        return self.value / self.limit

    @property
    def drifted(self) -> bool:
        """Whether chance hardly explains it."""
        return self.value >= self.limit

    @property
    def is_residual(self) -> bool:
        """Whether it is of what the other columns predict, not of the column's own values."""
        return self.statistic in (MEAN, SPREAD)

    @property
    def is_broken(self) -> bool:
        """Whether it drifted so far that the data are broken."""
        return self.drifted and self.broken is not None and self.value >= self.broken


class Reference:
    """A reference window, counted once for any number of windows that are compared with it."""

    def __init__(self, window: Window) -> None:
        self.window, self.design = window, design_of(window)
        self.product = products(window, self.design)
        counted, self.known = daily_statistics(window, list(map(str, window.frame)))
        self.statistics = [*counted, *residual_statistics(self.product, self.product, self.design)[0]]

    def count(self, window: Window) -> list[DailyStatistic]:
        """The same statistics of another window."""
        counted, _ = daily_statistics(window, list(map(str, self.window.frame)), self.known)
        product = products(window, self.design)
        return [*counted, *residual_statistics(self.product, product, self.design)[1]]


def detect_drift(reference: Window, current: Window, false_alarm: float) -> list[Finding]:
    """Every statistic of every column; `false_alarm` is the chance that any drifts where only days differ."""
    counted = Reference(reference)
    return compare(counted, current, calibrate(counted.statistics, current.days, false_alarm))


def windows_of(
    reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[str], reference_from: int = 0
) -> tuple[Window, Window] | None:
    """Windows of a report's frames; None where the reference is too short to know chance from."""
    frames = reference[reference[DAY_COLUMN] >= reference_from], current
    if any(frame.empty for frame in frames):
        return None
    then, now = (
        Window(frame[list(columns)], day, int(day[0]), int(day[-1] - day[0]) + 1)
        for frame in frames
        for day in [frame[DAY_COLUMN].to_numpy(dtype=np.int64)]
    )
    return None if then.days < LEAST_REFERENCE * now.days else (then, now)


def compare(reference: Reference, current: Window, limits: Limits) -> list[Finding]:
    """See `detect_drift`.

    A column at fault moves the residuals of those that are predicted from it. So residuals are told of the
    columns whose own values moved, or where there are none, of that whose residuals moved furthest.
    """
    counted, firsts = reference.count(current), (reference.window.first, current.first)
    findings = findings_of(counted, reference.statistics, limits, firsts)
    moved = [one.column for one in findings if one.drifted and not one.is_residual and one.column != ROWS]
    blamed = moved or [one.column for one in findings if one.drifted and one.is_residual][:1]
    return [one for one in findings if not (one.drifted and one.is_residual) or one.column in blamed]


def compare_days(
    now: Sequence[DailyStatistic], then: Sequence[DailyStatistic], days: Floats, reference_days: Floats
) -> Statistics:
    """How far each statistic of some windows lies from that of the reference, by weights of their days.

    A jackknifed statistic is taken without the window's day that moves it most: one wild day is no drift.
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


def findings_of(
    counted: Sequence[DailyStatistic],
    reference: Sequence[DailyStatistic],
    limits: Limits,
    firsts: tuple[int, int],
) -> list[Finding]:
    """What is to be said of each statistic and column; `firsts` are the first days of both windows."""
    found, findings = compare_days(counted, reference, whole(counted), whole(reference)), []
    for now, was in zip(counted, reference, strict=True):
        kind, value, limit = now.kind, found[now.kind.name][0], limits[now.kind.name]
        current, before = now.ratio(whole([now]))[0], was.ratio(whole([was]))[0]
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
        """Broken data first; what a column's own values show says more than what the others predict of it."""
        return not one.is_broken, one.is_residual or not one.drifted, -one.exceedance

    return sorted(findings, key=order)


def _since(
    now: DailyStatistic, was: DailyStatistic, item: int, firsts: tuple[int, int]
) -> tuple[int | None, DailySeries]:
    """The day from which on an item stands out most steadily, so that an odd day before is none; its days."""
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

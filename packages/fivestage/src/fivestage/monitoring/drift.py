"""Compare a window of rows with its reference: statistics, limits and findings, in one place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fivestage.evaluation.daily import NAN, Floats
from fivestage.monitoring.daily_statistics import DailyStatistic, KnownValues, Window, daily_statistics
from fivestage.monitoring.drift_limits import Limits, Statistics, calibrate, compare_days, exceedance_ratios
from fivestage.monitoring.residuals import MEAN, SPREAD, Design, design_of, products, residual_statistics

MAX_CULPRITS = 6  # columns that are taken out of the regressions, one after the other
USUAL_DAYS = 0.95  # of the reference's days: a day that lies further stands out


@dataclass(frozen=True)
class DailySeries:
    """One number a day, those of the reference and those of the window; NaN on days that have none.

    `low` and `high` are what nine in ten of the reference's days lie between.
    """

    what: str
    first: int  # day of the first number of the reference
    usual: tuple[float, ...]
    now: tuple[float, ...]
    low: float
    high: float


@dataclass(frozen=True)
class Finding:
    """One statistic of one column: how far it moved, the limits, and what to say of it.

    `value` is the difference from the reference, `limit` what chance rarely exceeds, `broken` the difference
    from which on the data are broken (None: the statistic never says so), `since` the day from which on it
    stands out, counted like the window's.
    """

    statistic: str
    column: str
    value: float
    limit: float
    broken: float | None
    sentence: str
    since: int | None = None
    series: DailySeries | None = None

    @property
    def exceedance(self) -> float:
        """How far it reaches towards its limit."""
        return self.value / self.limit

    @property
    def drifted(self) -> bool:
        """Whether chance hardly explains it."""
        return self.value >= self.limit

    @property
    def is_broken(self) -> bool:
        """Whether it drifted so far that the data are broken."""
        return self.drifted and self.broken is not None and self.value >= self.broken


@dataclass(frozen=True)
class Reference:
    """A reference window, counted once for any number of windows that are compared with it."""

    window: Window
    columns: tuple[str, ...]
    known: tuple[KnownValues, ...]
    design: Design
    product: Floats  # sums of products of the design's columns by day
    statistics: tuple[DailyStatistic, ...]

    @classmethod
    def of(cls, window: Window) -> "Reference":
        """Count a reference window."""
        columns = tuple(str(name) for name in window.frame)
        counted, known = daily_statistics(window, columns)
        design = design_of(window.frame, columns)
        product = products(window, design)
        residuals, _ = residual_statistics(product, product, design)
        return cls(window, columns, tuple(known), design, product, (*counted, *residuals))

    def count(self, window: Window) -> tuple[list[DailyStatistic], Floats]:
        """The same statistics of another window, and its products."""
        counted, _ = daily_statistics(window, self.columns, self.known)
        product = products(window, self.design)
        _, residuals = residual_statistics(self.product, product, self.design)
        return [*counted, *residuals], product

    def limits(self, window_days: int, false_alarm: float, seed: int = 0) -> Limits:
        """See `calibrate`."""
        return calibrate(self.statistics, window_days, false_alarm, seed)

    def exceedance(self, window: Sequence[DailyStatistic], days: Floats, limits: Limits) -> Statistics:
        """The exceedance ratio of each statistic over windows of some days (windows, days)."""
        then = np.ones((len(days), self.window.days))
        return exceedance_ratios(compare_days(window, self.statistics, days, then), limits)


def detect_drift(reference: Window, current: Window, false_alarm: float, seed: int = 0) -> list[Finding]:
    """Every statistic of every column of the reference, furthest first.

    Args:
        reference: the days that say what is usual.
        current: the window to judge.
        false_alarm: chance that anything at all drifts where nothing changed but the days.
        seed: of the mock windows.

    Raises:
        ValueError: where the reference is shorter than two current windows, too short to know chance from.
    """
    counted = Reference.of(reference)
    return compare(counted, current, counted.limits(current.days, false_alarm, seed))


def compare(reference: Reference, current: Window, limits: Limits) -> list[Finding]:
    """See `detect_drift`."""
    counted, product = reference.count(current)
    days, then = np.ones((1, current.days)), np.ones((1, reference.window.days))
    found = compare_days(counted, reference.statistics, days, then)
    found = _explain_residuals(found, reference, product, limits)
    return findings_of(counted, reference.statistics, found, limits, (reference.window.first, current.first))


def findings_of(
    counted: Sequence[DailyStatistic],
    reference: Sequence[DailyStatistic],
    found: Statistics,
    limits: Limits,
    firsts: tuple[int, int],
) -> list[Finding]:
    """What is to be said of each statistic and column, broken ones first, then by how far they moved.

    Args:
        counted: the window's statistics.
        reference: the reference's.
        found: how far they moved, see `compare_days` (one window).
        limits: see `calibrate`.
        firsts: the first day of the reference and that of the window.
    """
    findings = []
    for now, was in zip(counted, reference, strict=True):
        value, limit = found[now.name][0], limits[now.name]
        for column in dict.fromkeys(now.columns):
            items = np.flatnonzero(np.array(now.columns) == column)
            item = int(items[(value / limit)[items].argmax()])
            numbers = float(value[item]), float(limit[item])
            pair = now.item(item), was.item(item)
            since, series = _when(*pair, firsts, now.name) if numbers[0] >= numbers[1] else (None, None)
            findings.append(Finding(now.name, column, *numbers, now.broken, _sentence(*pair), since, series))
    furthest: dict[str, float] = {}
    for one in findings:
        furthest[one.column] = max(furthest.get(one.column, 0.0), one.exceedance)

    def order(one: Finding) -> tuple[bool, float, bool, float]:
        """Of a column, what its own values show says more than what the others predict of them."""
        of_others = one.statistic in (MEAN, SPREAD) or not one.drifted
        return not one.is_broken, -furthest[one.column], of_others, -one.exceedance

    return sorted(findings, key=order)


def _explain_residuals(
    found: Statistics, reference: Reference, product: Floats, limits: Limits
) -> Statistics:
    """Lower residuals that moved only because another column, which they are predicted from, is at fault.

    Columns that drifted by themselves are taken out of the regressions first, then the one whose residuals
    moved furthest, one by one; what the columns that are left say of each other counts, where that is less.
    """
    kinds = [name for name in (MEAN, SPREAD) if name in found]
    ratios = exceedance_ratios(found, limits)
    out = {
        column
        for one in reference.statistics
        if one.name not in kinds
        for column in np.array(one.columns)[ratios[one.name][0] >= 1].tolist()
    }
    names = reference.design.names[reference.design.compared]
    days, then = np.ones((1, len(product))), np.ones((1, reference.window.days))
    for _ in range(MAX_CULPRITS if kinds else 0):
        before, now = residual_statistics(reference.product, product, reference.design, sorted(out))
        left = ~np.isin(names, list(out))
        for name, distance in compare_days(now, before, days, then).items():
            found[name] = np.where(left, np.minimum(found[name], distance), found[name])
        ratio = np.where(left, np.max([found[kind][0] / limits[kind] for kind in kinds], axis=0), 0)
        if (ratio >= 1).sum() <= 1:
            break
        out.add(str(names[ratio.argmax()]))
    return found


def _sentence(now: DailyStatistic, was: DailyStatistic) -> str:
    """What one item of a statistic is and was; an exception of one day is no part of it."""
    current, before = (float(one.ratio(np.ones((1, len(one.numerator))))[0, 0]) for one in (now, was))
    return now.words.format(name=now.name, label="".join(now.labels), now=current, then=before)


def _when(
    now: DailyStatistic, was: DailyStatistic, firsts: tuple[int, int], what: str
) -> tuple[int | None, DailySeries]:
    """The day since which one item stands out, and its days."""
    usual, current = (one.ratio(np.eye(len(one.numerator)))[:, 0] for one in (was, now))
    onset = _onset(now, was)
    since = None if onset is None else firsts[1] + onset
    return since, daily_series(what, firsts[0], usual, current)


def _onset(now: DailyStatistic, was: DailyStatistic) -> int | None:
    """The day from which on a statistic stands out most steadily, so that one odd day before is none."""
    days, length = len(was.numerator), len(now.numerator)
    usual = was.distance(np.eye(days), was, 1 - np.eye(days))[:, 0]
    daily = now.distance(np.eye(length), was, np.ones((length, days)))[:, 0]
    standing = daily / (np.quantile(usual, USUAL_DAYS) + now.least / 2)
    steadily = np.clip(standing - 1, -1, 1)[::-1].cumsum()[::-1]
    return int(steadily.argmax()) if steadily.max() > 0 else None


def daily_series(what: str, first: int, usual: Floats, now: Floats) -> DailySeries:
    """A series with the range that nine in ten of the usual days keep to."""
    known = usual[np.isfinite(usual)]
    low, high = np.quantile(known, [0.05, 0.95]) if known.size else (NAN, NAN)
    return DailySeries(what, first, tuple(usual.tolist()), tuple(now.tolist()), float(low), float(high))

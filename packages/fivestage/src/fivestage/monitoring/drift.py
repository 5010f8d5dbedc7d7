"""Compare a window of rows with its reference: statistics, thresholds and findings, in one place.

Inputs that moved cannot be told from a season, so they only warn. Data are broken, which blocks a training,
on hard evidence alone: values missing, constraints violated, rows duplicated, rows gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fivestage.evaluation.daily import NAN, Floats
from fivestage.monitoring.daily_statistics import DailyStatistic, KnownValues, Window, daily_statistics
from fivestage.monitoring.drift_limits import DriftThreshold, Statistics, calibrate, compare_days
from fivestage.monitoring.residuals import (
    LEAST_RESIDUAL,
    MEAN,
    SPREAD,
    Design,
    cross_fitted,
    design_of,
    fit,
    products,
    residual_statistics,
    residual_sums,
)

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
    exceedance: float
    sentence: str
    since: int | None = None
    series: DailySeries | None = None

    def named(self, column: str) -> "Finding":
        """The same finding under another name."""
        return replace(self, column=column)

    @property
    def drifted(self) -> bool:
        """Whether chance hardly explains it."""
        return self.exceedance >= 1

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
    deviation: Floats  # of the residuals
    statistics: tuple[DailyStatistic, ...]

    @classmethod
    def of(cls, window: Window, seed: int = 0) -> "Reference":
        """Count a reference window."""
        columns = tuple(str(name) for name in window.frame)
        counted, known = daily_statistics(window, columns)
        design = design_of(window.frame, columns)
        product = products(window, design)
        sums = cross_fitted(product, design.names, seed)
        deviation = _deviation(sums, window.rows.sum())
        statistics = (*counted, *residual_statistics(sums, window.rows, design, deviation))
        return cls(window, columns, tuple(known), design, product, deviation, statistics)

    def count(self, window: Window) -> tuple[list[DailyStatistic], Floats]:
        """The same statistics of another window, and its products."""
        counted, _ = daily_statistics(window, self.columns, self.known)
        product = products(window, self.design)
        sums = residual_sums(product, fit(self.product.sum(axis=0), self.design.names))
        of_residuals = residual_statistics(sums, window.rows, self.design, self.deviation)
        names = {one.name for one in self.statistics}
        return [one for one in (*counted, *of_residuals) if one.name in names], product

    def thresholds(self, window_days: int, false_alarm: float, seed: int = 0) -> dict[str, DriftThreshold]:
        """See `calibrate`."""
        return calibrate(self.statistics, window_days, false_alarm, seed)

    def exceedance(
        self, window: Sequence[DailyStatistic], days: Floats, thresholds: dict[str, DriftThreshold]
    ) -> Statistics:
        """The exceedance ratio of each statistic over windows of some days (windows, days)."""
        then = np.ones((len(days), self.window.days))
        found = compare_days(window, self.statistics, days, then)
        return {name: thresholds[name].exceedance_ratio(value) for name, value in found.items()}


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
    counted = Reference.of(reference, seed)
    return compare(counted, current, counted.thresholds(current.days, false_alarm, seed))


def compare(reference: Reference, current: Window, thresholds: dict[str, DriftThreshold]) -> list[Finding]:
    """See `detect_drift`."""
    counted, product = reference.count(current)
    days, then = np.ones((1, current.days)), np.ones((1, reference.window.days))
    found = compare_days(counted, reference.statistics, days, then)
    _clear_bystanders(found, reference, product, thresholds)
    firsts = reference.window.first, current.first
    return findings_of(counted, reference.statistics, found, thresholds, firsts)


def findings_of(
    counted: Sequence[DailyStatistic],
    reference: Sequence[DailyStatistic],
    found: Statistics,
    thresholds: dict[str, DriftThreshold],
    firsts: tuple[int, int],
) -> list[Finding]:
    """What is to be said of each statistic and column, broken ones first, then by how far they moved.

    Args:
        counted: the window's statistics.
        reference: the reference's.
        found: how far they moved, see `compare_days` (one window).
        thresholds: see `calibrate`.
        firsts: the first day of the reference and that of the window.
    """
    findings = []
    for now, was in zip(counted, reference, strict=True):
        ratio = thresholds[now.name].exceedance_ratio(found[now.name][0])
        for column in dict.fromkeys(now.columns):
            items = np.flatnonzero(np.array(now.columns) == column)
            item = int(items[ratio[items].argmax()])
            value, limit = float(found[now.name][0, item]), float(thresholds[now.name].limit[item])
            finding = Finding(
                now.name, column, value, limit, now.broken, float(ratio[item]), _sentence(now, was, item)
            )
            if finding.drifted:
                since = _onset(now.item(item), was.item(item))
                first = None if since is None else firsts[1] + since
                series = _series(now.item(item), was.item(item), firsts[0], finding.statistic)
                finding = replace(finding, since=first, series=series)
            findings.append(finding)
    furthest: dict[str, float] = {}
    for one in findings:
        furthest[one.column] = max(furthest.get(one.column, 0.0), one.exceedance)

    def order(one: Finding) -> tuple[bool, float, bool, float]:
        """Of a column, what its own values show says more than what the others predict of them."""
        return (
            not one.is_broken,
            -furthest[one.column],
            one.statistic in (MEAN, SPREAD) or not one.drifted,
            -one.exceedance,
        )

    return sorted(findings, key=order)


def _deviation(sums: tuple[Floats, Floats], rows: float) -> Floats:
    return np.asarray(np.sqrt(sums[1].sum(axis=0) / max(rows, 1) + LEAST_RESIDUAL), dtype=np.float64)


def _clear_bystanders(
    found: Statistics, reference: Reference, product: Floats, thresholds: dict[str, DriftThreshold]
) -> None:
    """Clear residuals that moved only because another column, which they are predicted from, is at fault.

    Columns that drifted by themselves are taken out of the regressions first, then the one whose residuals
    moved furthest, one by one; what the columns that are left say of each other is judged again.
    """
    kinds = [name for name in (MEAN, SPREAD) if name in found and found[name].shape[1]]
    if not kinds:
        return
    names = reference.design.names[reference.design.watched]
    out = {
        column
        for one in reference.statistics
        if one.name not in kinds
        for column, ratio in zip(
            one.columns, thresholds[one.name].exceedance_ratio(found[one.name][0]), strict=True
        )
        if ratio >= 1
    }
    for _ in range(MAX_CULPRITS):
        if out & set(names.tolist()):
            _judge_without(out, found, reference, product)
        ratios = np.max([thresholds[kind].exceedance_ratio(found[kind][0]) for kind in kinds], axis=0)
        ratios = np.where(np.isin(names, list(out)), 0, ratios)
        if (ratios >= 1).sum() <= 1:
            return
        out.add(str(names[ratios.argmax()]))


def _judge_without(out: set[str], found: Statistics, reference: Reference, product: Floats) -> None:
    """Lower the columns that are left to what they say of each other, where that is less."""
    design = reference.design
    kept = ~np.isin(design.names, list(out))
    if not kept.any():
        return
    cells = np.concatenate([[True], kept])
    then, now = (one.sum(axis=0)[cells][:, cells] for one in (reference.product, product))
    coefficients = fit(then, design.names[kept])
    some = Design(design.parts, design.names[kept], design.watched[kept])
    sums_then, sums_now = (residual_sums(one[None], coefficients) for one in (then, now))
    deviation = _deviation(sums_then, then[0, 0])
    one_day = np.ones((1, 1))
    pairs = zip(
        *(
            residual_statistics(sums, np.array([one[0, 0]]), some, deviation)
            for sums, one in ((sums_now, now), (sums_then, then))
        ),
        strict=True,
    )
    left = kept[design.watched]
    for after, before in pairs:
        judged = after.distance(one_day, before, one_day)[0]
        found[after.name][0, left] = np.minimum(found[after.name][0, left], judged)


def _sentence(now: DailyStatistic, was: DailyStatistic, item: int) -> str:
    """What the statistic is and was; an exception of one day is no part of it."""
    ratios = [float(one.ratio(np.ones((1, len(one.numerator))))[0, item]) for one in (now, was)]
    label = now.labels[item] if now.labels else ""
    return now.words.format(name=now.name, label=label, now=ratios[0], then=ratios[1])


def _onset(now: DailyStatistic, was: DailyStatistic) -> int | None:
    """The day from which on a statistic stands out most steadily, so that one odd day before is none."""
    days = len(was.numerator)
    usual = was.distance(np.eye(days), was, 1 - np.eye(days))[:, 0]
    length = len(now.numerator)
    daily = now.distance(np.eye(length), was, np.ones((length, days)))[:, 0]
    standing = daily / (np.quantile(usual, USUAL_DAYS) + max(float(np.max(now.least)), 1e-9))
    steadily = np.clip(standing - 1, -1, 1)[::-1].cumsum()[::-1]
    return int(steadily.argmax()) if steadily.max() > 0 else None


def _series(now: DailyStatistic, was: DailyStatistic, first: int, what: str) -> DailySeries:
    usual, current = (one.ratio(np.eye(len(one.numerator)))[:, 0] for one in (was, now))
    return daily_series(what, first, usual, current)


def daily_series(what: str, first: int, usual: Floats, now: Floats) -> DailySeries:
    """A series with the range that nine in ten of the usual days keep to."""
    known = usual[np.isfinite(usual)]
    low, high = np.quantile(known, [0.05, 0.95]) if known.size else (NAN, NAN)
    return DailySeries(what, first, tuple(usual.tolist()), tuple(now.tolist()), float(low), float(high))

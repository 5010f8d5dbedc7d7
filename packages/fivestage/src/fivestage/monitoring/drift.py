"""Compare a window of rows with its reference: statistics, limits and findings, in one place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fivestage.contract.contract import LEAST_REFERENCE
from fivestage.evaluation.daily import NAN, Floats
from fivestage.monitoring.daily_statistics import DailyStatistic, ReferenceColumn, Window, daily_statistics
from fivestage.monitoring.drift_limits import Limits, Statistics, calibrate, compare_days, whole
from fivestage.monitoring.residuals import MEAN, SPREAD, Design, design_of, products, residual_statistics

DAY_COLUMN = "decision day"
USUAL = 0.95  # of the days: from there on one stands out


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
    def is_broken(self) -> bool:
        """Whether it drifted so far that the data are broken."""
        return self.drifted and self.broken is not None and self.value >= self.broken


@dataclass(frozen=True)
class Reference:
    """A reference window, counted once for any number of windows that are compared with it."""

    window: Window
    known: tuple[ReferenceColumn, ...]
    design: Design
    product: Floats  # sums of products of the design's columns by day
    statistics: tuple[DailyStatistic, ...]

    @classmethod
    def of(cls, window: Window) -> "Reference":
        """Count a reference window."""
        counted, known = daily_statistics(window, list(map(str, window.frame)))
        design = design_of(window)
        product = products(window, design)
        residuals, _ = residual_statistics(product, product, design)
        return cls(window, tuple(known), design, product, (*counted, *residuals))

    def count(self, window: Window) -> tuple[list[DailyStatistic], Floats]:
        """The same statistics of another window, and its products."""
        counted, _ = daily_statistics(window, list(map(str, self.window.frame)), self.known)
        product = products(window, self.design)
        return [*counted, *residual_statistics(self.product, product, self.design)[1]], product


def detect_drift(reference: Window, current: Window, false_alarm: float) -> list[Finding]:
    """Every statistic of every column of the reference, furthest first.

    `false_alarm` is the chance that anything at all drifts where nothing changed but the days.
    """
    counted = Reference.of(reference)
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
    """See `detect_drift`."""
    counted, product = reference.count(current)
    found = compare_days(counted, reference.statistics, whole(counted), whole(reference.statistics))
    _explain_residuals(found, reference, product, limits)
    return findings_of(counted, reference.statistics, found, limits, (reference.window.first, current.first))


def _explain_residuals(found: Statistics, reference: Reference, product: Floats, limits: Limits) -> None:
    """Lower residuals that moved only because another column, which they are predicted from, is at fault.

    Columns that drifted by themselves are taken out of the regressions first, then the one whose residuals
    moved furthest, one by one; what the columns that are left say of each other counts, where that is less.
    """
    out = {
        column
        for one in reference.statistics
        if one.kind.name not in (MEAN, SPREAD)
        for column, far in zip(one.columns, found[one.kind.name][0] >= limits[one.kind.name], strict=True)
        if far
    }
    while reference.design.names.size:
        before, now = residual_statistics(reference.product, product, reference.design, sorted(out))
        lowered = compare_days(now, before, whole(now), whole(before))
        moved: list[tuple[float, str]] = []
        for one in now:
            kind, left = one.kind.name, ~np.isin(one.columns, list(out))
            found[kind] = np.where(left, np.minimum(found[kind], lowered[kind]), found[kind])
            exceedance = left * found[kind][0] / limits[kind]
            moved += [(far, name) for far, name in zip(exceedance, one.columns, strict=True) if far >= 1]
        if len({name for _, name in moved}) <= 1:
            break
        out.add(max(moved)[1])


def findings_of(
    counted: Sequence[DailyStatistic],
    reference: Sequence[DailyStatistic],
    found: Statistics,
    limits: Limits,
    firsts: tuple[int, int],
) -> list[Finding]:
    """What is to be said of each statistic and column, broken ones first, then by how far they moved.

    `firsts` are the first day of the reference and that of the window.
    """
    findings = []
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
            findings.append(Finding(kind.name, column, *numbers, kind.broken, words, since, series))
    furthest: dict[str, float] = {}
    for one in findings:
        furthest[one.column] = max(furthest.get(one.column, 0.0), one.exceedance)

    def order(one: Finding) -> tuple[bool, float, bool, float]:
        """Of a column, what its own values show says more than what the others predict of them."""
        of_others = one.statistic in (MEAN, SPREAD) or not one.drifted
        return not one.is_broken, -furthest[one.column], of_others, -one.exceedance

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

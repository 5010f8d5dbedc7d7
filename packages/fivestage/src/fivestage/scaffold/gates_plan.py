"""How time is cut, and which gates so many rows can hold."""

import math
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import LEAST_REFERENCE, day_of, epoch
from fivestage.contract.tasks import coverage_error
from fivestage.reporting.number_format import plural
from fivestage.scaffold.target import Target

SIMULATED_DAYS = 140
SIMULATED_END = date(2025, 1, 1)
LEAST_DAYS = 56  # with rows; below, there are too few for folds, a holdout window, and periods of service
TEST, HOLDOUT, FOLDS = 0.25, 0.1, 0.1  # of the rows; a fold each
LEAST_OF_FOLD = 0.01  # of the rows
PERIODS = 10  # of service, in the test window
WEEK = 7
BINS = 10
LEAST_RARE = 10  # rows of the rarest class that a slice is to have, to be judged
OVER_PRIOR = 0.02
LEAST_JUDGED = 50  # rows of the rarest class in the holdout; of fewer such a share is chance
PERFECT = 0.999  # what is above is a leak, where a quick model is far from it and chance cannot do it
LEAST_SURE, SURPASSED = 30, 0.9  # rows of the rarest class in the holdout; what the quick model reached
LEAST_OF_WINDOW = 0.8  # of the holdout's rows, for a window before it to tell of seasons
UNFOLLOWED = 0.5  # of how intervals are off by seasons, which a model follows in part
USUAL_LABELS = 0.9  # of a period's, to have arrived by its end for it to be judged
LEAST_LABELS = 0.05  # the same at least, and its steps
FEW_LABELS = 0.5  # known at a period's end: below, it is judged by those that come quickly
INTERVAL = 0.8  # share of the numbers that lies between a forecast's low and high


@dataclass(frozen=True)
class SplitPlan:
    """The contract's windows, in days; `simulated` days if the times are made up."""

    test_start: date
    test_end: date
    holdout_days: int
    fold_days: int
    period_days: int
    reference_days: int
    simulated: int
    why: str
    holdout_rows: int

    @property
    def reach_days(self) -> int:
        """How far back the rows go that are trained on, at the start of the folds."""
        return self.holdout_days + 3 * self.fold_days


def plan_windows(decided: pd.Series | None, rows: int) -> SplitPlan:
    """Windows by the rows' decision times (epoch seconds), or over simulated days."""
    if decided is None:
        return _simulated(rows, "the table names no decision time")
    known = np.sort(decided.dropna().to_numpy(np.int64))
    days = np.unique(known // DAY)
    span = int(days[-1] - days[0]) + 1
    if len(days) < LEAST_DAYS:
        return _simulated(rows, f"its rows lie on {plural(len(days), 'day')}, and {LEAST_DAYS} are needed")
    test_start = int(np.quantile(known, 1 - TEST)) // DAY
    test_end = int(days[-1]) + 1
    holdout_start = int(np.quantile(known, 1 - TEST - HOLDOUT)) // DAY
    first_fold = int(np.quantile(known, 1 - TEST - HOLDOUT - 3 * FOLDS)) // DAY
    holdout_days = max(1, test_start - holdout_start)
    period = max(1, (test_end - test_start) // PERIODS)
    period = WEEK * round(period / WEEK) if period > WEEK else period
    gap = int(np.diff(days).max())
    period = max(period, min(gap, (test_end - test_start) // 3))
    before = test_start - int(days[0])
    reference = min(max(8 * period, 28), max(LEAST_REFERENCE * period, before))
    return SplitPlan(
        test_start=day_of(test_start * DAY),
        test_end=day_of(test_end * DAY),
        holdout_days=holdout_days,
        fold_days=_fold_days(known // DAY, holdout_start, (holdout_start - first_fold) // 3),
        period_days=period,
        reference_days=max(LEAST_REFERENCE * period, reference),
        simulated=0,
        why=f"{plural(span, 'day')}, rows on {len(days) / span:.0%} of them, "
        + (f"the longest gap {plural(gap - 1, 'day')}" if gap > 1 else "no gap"),
        holdout_rows=int(((known >= holdout_start * DAY) & (known < test_start * DAY)).sum()),
    )


def least_known(decided: pd.Series, known: pd.Series, windows: SplitPlan) -> float:
    """The least share of outcomes that are known at the end of their period, of the test window's periods."""
    start, length = epoch(windows.test_start), windows.period_days * DAY
    period = (decided - start) // length
    end = start + (period + 1) * length
    whole = (period >= 0) & (end <= epoch(windows.test_end))
    shares = (known <= end)[whole].groupby(period[whole]).mean()
    return float(shares.min()) if len(shares) else 1.0


def min_label_share(known: float) -> float:
    """The share of labels that the contract asks of a period, where so many are known at its end at least."""
    return max(LEAST_LABELS, min(USUAL_LABELS, math.floor(known / LEAST_LABELS) * LEAST_LABELS))


def _fold_days(day: Ints, end: int, most: int) -> int:
    """How long three folds before a day can be, so that none of them lies in a gap of the table."""
    for long in range(most, 1, -1):
        rows = -np.diff(np.searchsorted(day, end - long * np.arange(4)))
        if rows.min() >= LEAST_OF_FOLD * len(day):
            return long
    return max(1, most)


def _simulated(rows: int, why: str) -> SplitPlan:
    test_days = round(SIMULATED_DAYS * TEST)
    return SplitPlan(
        test_start=SIMULATED_END - timedelta(days=test_days),
        test_end=SIMULATED_END,
        holdout_days=round(SIMULATED_DAYS * HOLDOUT),
        fold_days=round(SIMULATED_DAYS * FOLDS),
        period_days=WEEK,
        reference_days=8 * WEEK,
        simulated=SIMULATED_DAYS,
        why=why,
        holdout_rows=round(rows * HOLDOUT),
    )


@dataclass(frozen=True)
class Limits:
    """Gates that chance alone should not trip, given the rows of the windows; biases in the label's unit."""

    calibration_error: float  # or that of a number's interval
    bias: float
    period_bias: float
    suspicious: float | None  # None where chance or a quick model reach whatever could be asked
    min_slice_rows: int
    over_prior: float  # more than the prior would, as a share of the achievable savings


@dataclass(frozen=True)
class Seasons:
    """How the target moves from one window like the holdout to another, before the test."""

    mean: float = 0.0  # how far a class's rate, or the mean number, at most
    held: float = 0.0  # how far off its share of the numbers after it an interval is, on average


STILL = Seasons()


def moved(target: Target, table: pd.DataFrame, decided: pd.Series | None, windows: SplitPlan) -> Seasons:
    """The table's own seasons, which no model can be asked to foresee.

    Where times are made up in the order of `decided`, they are those of the made-up days.
    """
    if decided is None:
        return STILL
    if windows.simulated:
        left = 1 - decided.rank(method="first", pct=True)
        decided = epoch(windows.test_end) - left * windows.simulated * DAY
    label = target.label(table)
    values = label[:, None] == np.arange(len(target.classes)) if target.classes else label[:, None]
    back = (epoch(windows.test_start) - 1 - decided.to_numpy(np.int64)) // (windows.holdout_days * DAY)
    sizes = np.bincount(back[back >= 0])
    enough = np.flatnonzero(sizes >= max(1, windows.holdout_rows * LEAST_OF_WINDOW))
    means = np.array([values[back == one].mean(axis=0) for one in enough])
    numbers = () if target.classes else pairwise(enough.tolist())
    off = [_off(label[back == one], label[back == after]) for after, one in numbers if one - after == 1]
    return Seasons(float(np.ptp(means, axis=0).max()) if len(means) else 0.0, float(np.mean(off or [0.0])))


def _off(before: Floats, after: Floats) -> float:
    """How far off its share of some numbers the interval of those before them is."""
    low, high = np.quantile(before, ((1 - INTERVAL) / 2, (1 + INTERVAL) / 2))
    inside, within = ((after >= low) & (after <= high)).mean(), ((after > low) & (after < high)).mean()
    return coverage_error(float(inside), float(within), INTERVAL)


def suspicious_limit(target: Target, rows: int, reached: float) -> float | None:
    """The ROC-AUC or R2 beyond which so many rows tell a leak; None where a limit could not fire."""
    rate = min(target.shares, default=0.5)
    chance = 3 * math.sqrt(max(reached * (1 - reached), 0) / max(1.0, rate * rows))
    limit = max(0.9, reached + 0.5 * (1 - reached)) + chance
    if rate * rows >= LEAST_SURE and reached < SURPASSED:
        limit = min(PERFECT, limit)
    return round(limit, 4) if limit <= PERFECT else None


def plan_limits(
    target: Target, windows: SplitPlan, period_rows: int, reached: float, seasons: Seasons = STILL
) -> Limits:
    """Limits from the spread of a rate, or of a number, over so many rows, and from how it has `moved`."""
    rate = min(target.shares, default=0.5)
    spread = math.sqrt(rate * (1 - rate)) if target.classes else target.spread
    unit = 1.0 if target.classes else target.spread
    rows = max(windows.holdout_rows, 1)
    in_bin = math.sqrt(rate * (1 - rate)) * math.sqrt(2 / math.pi) * math.sqrt(BINS / rows)
    covered = 3 * math.sqrt(INTERVAL * (1 - INTERVAL) / rows)

    def bias(seen: int, least: float = 0.0) -> float:
        return min(0.5 * unit, 0.03 * unit + max(least, 3 * spread / math.sqrt(seen)))

    error = max(seasons.mean, 2 * in_bin) if target.classes else max(covered, UNFOLLOWED * seasons.held)
    return Limits(
        calibration_error=round(min(0.5, 0.04 + error), 3),
        bias=float(f"{bias(rows, seasons.mean):.2g}"),
        period_bias=float(f"{bias(max(period_rows, 1)):.2g}"),
        suspicious=suspicious_limit(target, windows.holdout_rows, reached),
        min_slice_rows=max(20, min(500, windows.holdout_rows // 10), math.ceil(LEAST_RARE / rate)),
        over_prior=OVER_PRIOR if rate * rows >= LEAST_JUDGED else 0.0,
    )

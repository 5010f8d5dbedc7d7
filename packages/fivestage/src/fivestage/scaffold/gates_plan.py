"""Plan the temporal split, and gate limits that suit the number of rows."""

import math
from dataclasses import dataclass
from datetime import date, timedelta

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
LEAST_DAYS = 56  # minimum days with rows, for folds, holdout window and monitoring periods
TEST, HOLDOUT, FOLDS = 0.25, 0.1, 0.1  # share of the rows in each window; each fold
LEAST_OF_FOLD = 0.01  # minimum share of the rows
PERIODS = 10  # monitoring periods in the test window
WEEK = 7
BINS = 10
LEAST_RARE = 10  # expected rows of the rarest class in a slice, to be evaluated
OVER_PRIOR = 0.02
LEAST_EVALUATED = 50  # rows of the rarest class in the holdout; with fewer, the share is noise
PERFECT = 0.999  # a score above it is a leak, unless a quick model or chance can come close
LEAST_CERTAIN = 30  # rows of the rarest class in the holdout; with more, a perfect score is no chance, ...
STRONG = 0.9  # ... unless a quick model already reaches this score
LEAST_OF_WINDOW = 0.8  # minimum size of an earlier window relative to the holdout, to measure seasons
UNADAPTED = 0.5  # share of the seasonal coverage error that a model does not adapt to
USUAL_LABELS = 0.9  # default share of a period's labels with which it is judged
INTERVAL = 0.8  # nominal coverage of prediction intervals


@dataclass(frozen=True)
class SplitPlan:
    """The contract's windows, in days; `simulated` is the number of simulated days, 0 if times are real."""

    test_start: date
    test_end: date
    holdout_days: int
    fold_days: int
    period_days: int
    reference_days: int
    simulated: int
    why: str
    holdout_rows: int


def plan_windows(decided: pd.Series | None, rows: int, known_at: pd.Series | None = None) -> SplitPlan:
    """Plan windows by the rows' decision times (epoch seconds), or over simulated days.

    The holdout's rows are those whose outcomes are known by its end, at `known_at`.
    """
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
    arrived = (decided if known_at is None else known_at) < test_start * DAY
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
        holdout_rows=int(((decided >= holdout_start * DAY) & (decided < test_start * DAY) & arrived).sum()),
    )


def least_known(decided: pd.Series, known: pd.Series, windows: SplitPlan) -> float:
    """Return the minimum, over the test window's periods, of the share of outcomes known at the end."""
    start, length = epoch(windows.test_start), windows.period_days * DAY
    period = (decided - start) // length
    end = start + (period + 1) * length
    complete = (period >= 0) & (end <= epoch(windows.test_end))
    shares = (known <= end)[complete].groupby(period[complete]).mean()
    return float(shares.min()) if len(shares) else 1.0


def _fold_days(day: Ints, end: int, most: int) -> int:
    """Return the maximum length of three folds before a day, so that none falls into a gap."""
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
    """Gate limits that chance alone should not violate; biases are in the label's unit."""

    calibration_error: float  # for regression, the coverage error
    bias: float
    period_bias: float
    suspicious: float | None  # None if chance or a quick model can reach any useful limit
    min_slice_rows: int
    over_prior: float  # required advantage over the prior, as a share of the achievable savings


@dataclass(frozen=True)
class Seasons:
    """Variation of the target between windows as long as the holdout, before the test window."""

    mean: float = 0.0  # range of a class's rate, or of the mean
    held: float = 0.0  # mean coverage error of one window's interval on the next window


def seasonal_variation(
    target: Target, table: pd.DataFrame, decided: pd.Series | None, windows: SplitPlan
) -> Seasons:
    """Measure the table's seasonal variation, which no model can be expected to predict.

    If times are simulated in the order of `decided`, it is measured over the simulated days.
    """
    if decided is None:
        return Seasons()
    if windows.simulated:
        left = 1 - decided.rank(method="first", pct=True)
        decided = epoch(windows.test_end) - left * windows.simulated * DAY
    label = target.label(table)
    values = label[:, None] == np.arange(len(target.classes)) if target.classes else label[:, None]
    back = (epoch(windows.test_start) - 1 - decided.to_numpy(np.int64)) // (windows.holdout_days * DAY)
    least = max(1, windows.holdout_rows * LEAST_OF_WINDOW)
    earlier = np.flatnonzero(np.bincount(back[back >= 0]) >= least).tolist()
    means = [values[back == one].mean(axis=0) for one in earlier]
    spread = float(np.ptp(means, axis=0).max()) if means else 0.0
    followed = [] if target.classes else [one for one in earlier if one - 1 in earlier]
    errors = [_coverage_error(label[back == one], label[back == one - 1]) for one in followed]
    return Seasons(spread, float(np.mean(errors or [0.0])))


def _coverage_error(before: Floats, after: Floats) -> float:
    """Return the coverage error of the interval of one window on the next window."""
    low, high = np.quantile(before, ((1 - INTERVAL) / 2, (1 + INTERVAL) / 2))
    inside, within = ((after >= low) & (after <= high)).mean(), ((after > low) & (after < high)).mean()
    return coverage_error(float(inside), float(within), INTERVAL)


def suspicious_limit(target: Target, rows: int, score: float) -> float | None:
    """Return the ROC-AUC or R² above which a leak is suspected, or None; `score` is a quick model's."""
    rate = min(target.shares, default=0.5)
    chance = 3 * math.sqrt(max(score * (1 - score), 0) / max(1.0, rate * rows))
    limit = max(0.9, score + 0.5 * (1 - score)) + chance
    if rate * rows >= LEAST_CERTAIN and score < STRONG:
        limit = min(PERFECT, limit)
    return round(limit, 4) if limit <= PERFECT else None


def plan_limits(
    target: Target, windows: SplitPlan, period_rows: int, score: float, seasons: Seasons
) -> Limits:
    """Derive limits from the sampling error of the label for these row counts and from its seasons."""
    rate = min(target.shares, default=0.5)
    spread = math.sqrt(rate * (1 - rate)) if target.classes else target.spread
    unit = 1.0 if target.classes else target.spread
    rows = max(windows.holdout_rows, 1)
    in_bin = math.sqrt(rate * (1 - rate)) * math.sqrt(2 / math.pi) * math.sqrt(BINS / rows)
    covered = 3 * math.sqrt(INTERVAL * (1 - INTERVAL) / rows)

    def bias(evaluated: int, least: float = 0.0) -> float:
        return min(0.5 * unit, 0.03 * unit + max(least, 3 * spread / math.sqrt(evaluated)))

    error = max(seasons.mean, 2 * in_bin) if target.classes else max(covered, UNADAPTED * seasons.held)
    return Limits(
        calibration_error=round(min(0.5, 0.04 + error), 3),
        bias=float(f"{bias(rows, seasons.mean):.2g}"),
        period_bias=float(f"{bias(max(period_rows, 1)):.2g}"),
        suspicious=suspicious_limit(target, windows.holdout_rows, score),
        min_slice_rows=max(20, min(500, windows.holdout_rows // 10), math.ceil(LEAST_RARE / rate)),
        over_prior=OVER_PRIOR if rate * rows >= LEAST_EVALUATED else 0.0,
    )

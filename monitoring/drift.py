"""Have the inputs, the score, missing values or the volume moved more than whole days move by chance?

Rows of one day move together, so tests for independent rows alarm on any two weeks. Here the reference's own
days are split again and again into a mock window and the rest; how far those lie apart is chance. Columns
differ in noise, so each is measured in standard deviations of its own, and all share one limit: the number of
them that the most extreme column passes with the stated probability. The limit is found on days which the
standard deviations were not taken from; else it comes out too low, and alarms too often.

Drift of inputs alone is a warning: it cannot tell a season from a fault. Broken data is a fault.
"""

from dataclasses import dataclass

import numpy as np

from core.contract import LEAST_REFERENCE
from monitoring.distances import Binning, Counts, Window, bin_column, count_days, jensen_shannon
from monitoring.metrics import Floats

SPLITS = 500
FOLDS = 50
SPLITS_A_FOLD = 200
MOCKS_A_FOLD = 20

# Least standard deviations: what never moved in the reference must not alarm at the first trifle.
LEAST_SPREAD = {"distance": 0.005, "missing": 0.01, "unseen": 0.02, "volume": 0.03}

# What passes its threshold far, and this, is no season: the data are broken.
BROKEN = {"distance": 0.3, "missing": 0.1, "unseen": 0.3, "volume": float(np.log(2))}
FAR = 2
VOLUME = "rows a day"

Statistics = dict[str, Floats]


@dataclass(frozen=True)
class Change:
    """One statistic of the current window, the threshold that chance hardly reaches, and the verdict."""

    value: float
    threshold: float
    drifted: bool
    broken: bool


@dataclass(frozen=True)
class ColumnDrift:
    """What happened to one column: its values' distance, and how its missing and unseen shares changed."""

    column: str
    distance: Change
    missing: Change
    unseen: Change
    missing_share: float
    missing_reference: float
    drifted: bool
    broken: bool
    sentence: str


@dataclass(frozen=True)
class DriftReport:
    """Each column's drift, and that of the rows a day; `drifted` and `broken` name columns, or `VOLUME`."""

    columns: tuple[ColumnDrift, ...]
    volume: Change
    rows_a_day: float
    rows_a_day_reference: float
    drifted: tuple[str, ...]
    broken: tuple[str, ...]
    sentences: tuple[str, ...]


def detect_drift(reference: Window, current: Window, false_alarm: float, seed: int = 0) -> DriftReport:
    """The drift of the current window in the columns of the reference.

    Where nothing changes but the days, the chance that anything at all drifts is `false_alarm`. Leave out
    columns over windows longer than a period: they drift by construction.

    Raises:
        ValueError: where the reference is shorter than four current windows, too short to know chance from.
    """
    binnings = tuple(bin_column(reference.frame[name]) for name in reference.frame)
    days = count_days(reference, binnings)
    was = days.weighted(np.ones((1, reference.days)))
    now = count_days(current, binnings).weighted(np.ones((1, current.days)))
    thresholds = calibrate(days, current.days, false_alarm, seed)
    values = _statistics(now, was)
    columns = tuple(
        _column_drift(binning, place, values, thresholds, now, was) for place, binning in enumerate(binnings)
    )
    volume = _change("volume", 0, values, thresholds)
    rows, rows_then = float(now.rows_a_day[0]), float(was.rows_a_day[0])
    verdicts = [(column.column, column.drifted, column.broken, column.sentence) for column in columns]
    verdicts.append((VOLUME, volume.drifted, volume.broken, f"{VOLUME}: {rows:.0f}, were {rows_then:.0f}"))
    return DriftReport(
        columns,
        volume,
        rows,
        rows_then,
        drifted=tuple(name for name, drifted, _, _ in verdicts if drifted),
        broken=tuple(name for name, _, broken, _ in verdicts if broken),
        sentences=tuple(sentence for _, drifted, _, sentence in verdicts if drifted),
    )


def calibrate(reference: Counts, window_days: int, false_alarm: float, seed: int = 0) -> Statistics:
    """The threshold of each statistic, from splits of the reference's days into mock windows and the rest.

    Raises:
        ValueError: as in `detect_drift`.
    """
    days = reference.days.size
    if days < LEAST_REFERENCE * window_days:
        raise ValueError(
            f"{days} days of reference are fewer than {LEAST_REFERENCE} windows of {window_days}"
        )
    draw = np.random.default_rng(seed)
    center, spread = _chance(reference, window_days, SPLITS, draw)
    largest = []
    for _ in range(FOLDS):
        order = draw.permutation(days)
        held, kept = (reference.of_days(part) for part in np.split(order, [2 * window_days]))
        mocks = held.weighted(_some_days(2 * window_days, window_days, MOCKS_A_FOLD, draw))
        rest = kept.weighted(np.ones((MOCKS_A_FOLD, kept.days.size)))
        fold_center, fold_spread = _chance(kept, window_days, SPLITS_A_FOLD, draw)
        beyond = [
            (value - fold_center[kind]) / fold_spread[kind]
            for kind, value in _statistics(mocks, rest).items()
        ]
        largest.append(np.hstack(beyond).max(axis=1))
    limit = np.quantile(np.concatenate(largest), 1 - false_alarm, method="higher")
    return {kind: center[kind] + limit * spread[kind] for kind in center}


def _chance(
    days: Counts, window_days: int, splits: int, draw: np.random.Generator
) -> tuple[Statistics, Statistics]:
    """Mean and standard deviation of each statistic between mock windows and the other days."""
    mock = _some_days(days.days.size, window_days, splits, draw)
    found = _statistics(days.weighted(mock), days.weighted(1 - mock))
    center = {kind: value.mean(axis=0) for kind, value in found.items()}
    return center, {kind: np.maximum(value.std(axis=0), LEAST_SPREAD[kind]) for kind, value in found.items()}


def _some_days(days: int, chosen: int, draws: int, draw: np.random.Generator) -> Floats:
    """Weights (draws, days): 1 for the chosen days, 0 for the others."""
    weight = np.zeros((draws, days))
    np.put_along_axis(weight, draw.random((draws, days)).argsort(axis=1)[:, :chosen], 1, axis=1)
    return weight


def _statistics(now: Counts, was: Counts) -> Statistics:
    """Every statistic (sums, columns); the volume, which is no column's, is (sums, 1)."""
    return {
        "distance": jensen_shannon(now, was),
        "missing": np.abs(now.missing_share - was.missing_share) * (now.rows > 0)[:, None],
        "unseen": np.abs(now.unseen_share - was.unseen_share),
        "volume": np.abs(np.log(now.rows_a_day / was.rows_a_day))[:, None],
    }


def _change(kind: str, place: int, values: Statistics, thresholds: Statistics) -> Change:
    value, threshold = float(values[kind][0, place]), float(thresholds[kind][place])
    return Change(
        value, threshold, drifted=value >= threshold, broken=value >= max(FAR * threshold, BROKEN[kind])
    )


def _column_drift(
    binning: Binning, place: int, values: Statistics, thresholds: Statistics, now: Counts, was: Counts
) -> ColumnDrift:
    distance, missing, unseen = (
        _change(kind, place, values, thresholds) for kind in ("distance", "missing", "unseen")
    )
    missing_share, missing_reference = float(now.missing_share[0, place]), float(was.missing_share[0, place])
    parts = []
    if missing.drifted:
        parts.append(f"missing in {missing_share:.1%} of rows, was {missing_reference:.1%}")
    if unseen.drifted:
        parts.append(f"{now.unseen_share[0, place]:.1%} of values are unlike any in the reference")
    if distance.drifted:
        cells = slice(now.starts[place], now.starts[place] + len(binning.labels))
        share, share_then = now.shares[0, cells], was.shares[0, cells]
        most = int(np.abs(share - share_then).argmax())
        parts.append(f"'{binning.labels[most]}' has {share[most]:.1%} of values, had {share_then[most]:.1%}")
    changes = (distance, missing, unseen)
    return ColumnDrift(
        binning.column,
        *changes,
        missing_share,
        missing_reference,
        drifted=any(change.drifted for change in changes),
        broken=any(change.broken for change in changes),
        sentence=f"{binning.column}: {'; '.join(parts) or 'as in the reference'}",
    )

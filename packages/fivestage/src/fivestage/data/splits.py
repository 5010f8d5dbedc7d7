"""Time is cut, never shuffled: training, folds inside it, the holdout window, and what comes after."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import Split

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """Rows to learn from and the later rows to validate on."""

    train: Rows
    valid: Rows
    start: int
    end: int


@dataclass(frozen=True)
class TemporalSplit:
    """Positions of rows in each window; the timestamps are epoch seconds."""

    train: Rows
    folds: tuple[Fold, ...]
    holdout: Rows
    after: Rows
    holdout_start: int
    as_of: int


def windows_at(rows: pd.DataFrame, split: Split, as_of: int) -> TemporalSplit:
    """A contract's windows of rows, as they stand at a moment: see `cut`.

    Args:
        rows: decisions with `decision_at` and `known_at`, epoch seconds.
        split: the contract's.
        as_of: epoch seconds at which the holdout window ends.

    Returns:
        Positions of rows in each window.
    """
    return cut(rows["decision_at"].to_numpy(), rows["known_at"].to_numpy(), split, as_of)


def cut(decision_at: Rows, known_at: Rows, split: Split, as_of: int) -> TemporalSplit:
    """Windows as they stand at `as_of`.

    A row may be learnt from only if its label was known before the first row it is tested on was decided.

    Args:
        decision_at: when each row was decided; int64 epoch seconds.
        known_at: when each row's label became known; int64 epoch seconds, of the same length.
        split: the contract's number of folds, and the days that each window has.
        as_of: epoch seconds at which the holdout window ends.

    Returns:
        Positions of rows in each window, as int64 arrays, and the windows' bounds in epoch seconds.

    Raises:
        UserError: when a window would be empty.
    """
    holdout_start = as_of - split.holdout_days * DAY
    holdout = np.flatnonzero((decision_at >= holdout_start) & (known_at < as_of))
    after = np.flatnonzero(decision_at >= as_of)
    folds = []
    for number in range(split.folds, 0, -1):
        start = holdout_start - number * split.fold_days * DAY
        end = start + split.fold_days * DAY
        valid = np.flatnonzero((decision_at >= start) & (decision_at < end) & (known_at < holdout_start))
        folds.append(Fold(_learnable(decision_at, known_at, start), valid, start, end))
    windows = TemporalSplit(
        train=_learnable(decision_at, known_at, holdout_start),
        folds=tuple(folds),
        holdout=holdout,
        after=after,
        holdout_start=holdout_start,
        as_of=as_of,
    )
    for name, rows in [
        ("the holdout window", holdout),
        *((f"fold {i}'s training", fold.train) for i, fold in enumerate(folds, 1)),
        *((f"fold {i}'s validation", fold.valid) for i, fold in enumerate(folds, 1)),
    ]:
        if not len(rows):
            raise UserError(
                f"{name} holds no rows: the data reach too short a time. Lower split.folds, split.fold_days "
                "or split.holdout_days in problem/problem.yaml."
            )
    return windows


def _learnable(decision_at: Rows, known_at: Rows, until: int) -> Rows:
    return np.flatnonzero((decision_at < until) & (known_at < until))

"""Temporal splits, never shuffled: training window with folds inside it, holdout window, later rows."""

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
    """A temporal fold: positions of the training rows and of the later validation rows."""

    train: Rows
    valid: Rows
    start: int
    end: int


@dataclass(frozen=True)
class TemporalSplit:
    """Positions of the rows in each window; times are epoch seconds."""

    train: Rows
    folds: tuple[Fold, ...]
    holdout: Rows
    after: Rows
    holdout_start: int
    as_of: int


def windows_at(rows: pd.DataFrame, split: Split, as_of: int) -> TemporalSplit:
    """Split the rows of a table into the contract's windows as of a given time.

    A row is only used for training if its label was known before the evaluated window starts.

    Args:
        rows: decisions with `decision_at` and `known_at` in epoch seconds.
        split: the number of folds, and the length of each window in days.
        as_of: epoch seconds at which the holdout window ends.

    Returns:
        Positions of the rows in each window, as int64 arrays, and the windows' bounds in epoch seconds.

    Raises:
        UserError: when a window would be empty.
    """
    decision_at, known_at = rows["decision_at"].to_numpy(), rows["known_at"].to_numpy()
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
    for name, window in [
        ("the holdout window", holdout),
        *((f"fold {i}'s training", fold.train) for i, fold in enumerate(folds, 1)),
        *((f"fold {i}'s validation", fold.valid) for i, fold in enumerate(folds, 1)),
    ]:
        if not len(window):
            raise UserError(
                f"{name} holds no rows: the data cover too short a time. Lower split.folds, split.fold_days "
                "or split.holdout_days in problem/problem.yaml."
            )
    return windows


def _learnable(decision_at: Rows, known_at: Rows, until: int) -> Rows:
    return np.flatnonzero((decision_at < until) & (known_at < until))

"""Sample rows from tables larger than memory, for training and evaluation."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import Split
from fivestage.data.event_tables import ROWS, SMOKE_ROWS, EventTables
from fivestage.data.partitioned import FEATURES, Stored
from fivestage.features.problem import Problem

EVALUATION_SHARE = 0.2  # of the sample, at most, for each of holdout window, folds and later rows
SEED = 0


def draw_rows(
    stored: Stored, problem: Problem, as_of: int, until: int
) -> tuple[pd.DataFrame, EventTables, pd.DataFrame]:
    """Sample rows decided before `until`, with their features and the events that a smoke test needs.

    Single rows are sampled, not whole days: rows of a day are similar, so some rows of every day teach more
    than all rows of some days. The features were computed from all events.

    Args:
        stored: tables with features, after `Stored.ingest` and `Stored.featurise`.
        problem: its contract has the windows, and the number of rows that fit into memory.
        as_of: epoch seconds at which the holdout window ends.
        until: epoch seconds; only days that are over by then are sampled.

    Returns:
        Rows in order of time; static tables, and the events that affect the newest rows at `as_of`; and the
        rows' features (rows x features, text as text).

    Raises:
        UserError: when the stored tables have been deleted.
    """
    frames, contract = stored.frames, problem.contract
    rates = sampling_rates(stored.by_day, contract.split, as_of, contract.budget.rows_in_memory, until)
    samples = list(_samples(stored, rates))
    if not samples:
        raise UserError(f"{stored.place} no longer holds any rows: run `make clean` to start from scratch.")
    rows, features = (pd.concat(some, ignore_index=True) for some in zip(*samples, strict=True))
    last = as_of // frames.seconds
    decided = rows.loc[rows["known_at"] < as_of, "decision_at"].nlargest(SMOKE_ROWS)
    first = (
        min(as_of, decided.min() if len(decided) else as_of) - 2 * problem.features.lookback_seconds
    ) // frames.seconds
    events = {kind: frames.read(kind, first, last) for kind in contract.events}
    return rows, EventTables(events, stored.reference, first * frames.seconds), features


def sampling_rates(
    by_day: Mapping[int, int], split: Split, as_of: int, budget: int, until: int
) -> dict[int, float]:
    """The share of each day's rows to sample, equal within a window; 1 if all rows fit the budget."""
    today = as_of // DAY
    holdout = today - split.holdout_days
    folds = holdout - split.folds * split.fold_days
    end = until // DAY
    if sum(rows for day, rows in by_day.items() if day < end) <= budget:
        return {day: 1.0 for day in by_day if day < end}
    rates: dict[int, float] = {}
    remaining = float(budget)
    for first, last, limit in (
        (holdout, today, EVALUATION_SHARE * budget),
        (folds, holdout, EVALUATION_SHARE * budget),
        (today, end, EVALUATION_SHARE * budget),
        (min(by_day), folds, remaining),
    ):
        days = [day for day in by_day if first <= day < last]
        rows = sum(by_day[day] for day in days)
        rate = min(1.0, min(limit, remaining) / rows) if rows else 0.0
        rates |= dict.fromkeys(days, rate)
        remaining -= rate * rows
    return rates


def _samples(stored: Stored, rates: Mapping[int, float]) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Sample rows and features of each period, always the same ones."""
    frames = stored.frames
    for period in frames.periods(ROWS):
        start, end = (number * frames.seconds // DAY for number in (period, period + 1))
        if any(rates.get(day, 0) for day in range(start, end + 1)):
            rows = frames.read(ROWS, period, period)
            rate = (rows["decision_at"] // DAY).map(rates).fillna(0).to_numpy()
            chosen = np.random.default_rng([SEED, period]).random(len(rows)) < rate
            yield rows[chosen], frames.read(FEATURES, period, period)[chosen]

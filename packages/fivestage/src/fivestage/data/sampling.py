"""As many rows as memory holds, of tables that it does not: to judge models on, and to learn from."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import Split
from fivestage.data.event_tables import ROWS, SMOKE_ROWS, EventTables
from fivestage.data.partitioned import FEATURES, Stored
from fivestage.features.problem import Problem

JUDGED = 0.2  # of the rows drawn, at most, for the holdout window, for the folds, and for what comes after
SEED = 0


def draw_rows(
    stored: Stored, problem: Problem, as_of: int, until: int
) -> tuple[pd.DataFrame, EventTables, pd.DataFrame]:
    """Rows decided before `until` with their features, and the events that those newest at `as_of` have seen.

    Rows are drawn one by one, for those of a day tell the same story: some of each day teach more than all of
    some days. Their features have seen all events.

    Args:
        stored: frames with features, as `Stored.ingest` and `Stored.featurise` left them.
        problem: whose contract sets the windows, and how many rows memory holds.
        as_of: epoch seconds at which the holdout window ends.
        until: epoch seconds; only days that are over by then are drawn from.

    Returns:
        Rows in order of time; events and reference tables; and features, rows x features, text as text, one
        line for each of the rows, in their order.

    Raises:
        UserError: when the stored frames are gone.
    """
    frames, contract = stored.frames, problem.contract
    chance = chances(stored.by_day, contract.split, as_of, contract.budget.rows_in_memory, until)
    drawn = list(_drawn(stored, chance))
    if not drawn:
        raise UserError(f"{stored.place} holds no rows any more: `make clean`, and all is made anew.")
    rows, features = (pd.concat(some, ignore_index=True) for some in zip(*drawn, strict=True))
    last = as_of // frames.seconds
    decided = rows.loc[rows["known_at"] < as_of, "decision_at"].nlargest(SMOKE_ROWS)
    first = (
        min(as_of, decided.min() if len(decided) else as_of) - 2 * problem.features.lookback_seconds
    ) // frames.seconds
    events = {kind: frames.read(kind, first, last) for kind in contract.events}
    return rows, EventTables(events, stored.reference, first * frames.seconds), features


def chances(by_day: Mapping[int, int], split: Split, as_of: int, budget: int, until: int) -> dict[int, float]:
    """The chance of each day's rows to be drawn, by windows; all of them where they keep to the budget."""
    today = as_of // DAY
    holdout = today - split.holdout_days
    folds = holdout - split.folds * split.fold_days
    end = until // DAY
    if sum(rows for day, rows in by_day.items() if day < end) <= budget:
        return {day: 1.0 for day in by_day if day < end}
    found: dict[int, float] = {}
    left = float(budget)
    for first, last, most in (
        (holdout, today, JUDGED * budget),
        (folds, holdout, JUDGED * budget),
        (today, end, JUDGED * budget),
        (min(by_day), folds, left),
    ):
        days = [day for day in by_day if first <= day < last]
        rows = sum(by_day[day] for day in days)
        share = min(1.0, min(most, left) / rows) if rows else 0.0
        found |= dict.fromkeys(days, share)
        left -= share * rows
    return found


def _drawn(stored: Stored, chance: Mapping[int, float]) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Rows and features drawn of each period; the same every time."""
    frames = stored.frames
    for period in frames.periods(ROWS):
        start, end = (number * frames.seconds // DAY for number in (period, period + 1))
        if any(chance.get(day, 0) for day in range(start, end + 1)):
            rows = frames.read(ROWS, period, period)
            share = (rows["decision_at"] // DAY).map(chance).fillna(0).to_numpy()
            chosen = np.random.default_rng([SEED, period]).random(len(rows)) < share
            yield rows[chosen], frames.read(FEATURES, period, period)[chosen]

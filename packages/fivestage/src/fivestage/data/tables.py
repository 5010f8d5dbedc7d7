"""Build cleaned tables from one raw table: rows with decision times and labels, and outcomes as events."""

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY
from fivestage.common.columns import Floats
from fivestage.common.errors import UserError, require_columns
from fivestage.contract.contract import CategoryColumn, Contract, Split
from fivestage.features.problem import Tables

OUTCOME = "outcome"  # the event that reports a row's label
HAPPENED = "happened_at"
SEED = 0
RARE = range(10, 20)  # classes with so few rows are evenly spaced: each tenth of the days then has a row
STRATA = 20  # quantile ranges of a numeric label, each of which is spread evenly


def tables_of(
    raw: pd.DataFrame, rows: pd.DataFrame, label: pd.Series, contract: Contract, known_at: pd.Series
) -> Tables:
    """Build the cleaned tables of a single raw table.

    Rows without a label are dropped, because they cannot be used for training; rows without a decision time
    are rejected.

    Args:
        raw: the table as it was read.
        rows: the contract's columns, with the index of `raw`; rows of `raw` that are not in it count as
            duplicates.
        label: the target with the same index: a number, a class index, or 1 and 0; NaN where it is unknown.
        contract: the project's contract.
        known_at: epoch seconds at which the label became known, with the same index.

    Returns:
        Rows by decision time, outcomes as events, rejected rows, and counts for the report.

    Raises:
        UserError: when no row has both a decision time and a label, or a column of the contract is missing.
    """
    require_columns(rows.columns, contract.columns, "problem/dataset.py: rows")
    time = contract.decision.time_column
    rejected = _without_time(raw, rows[label.notna()], time)
    good = rows[label.notna() & rows[time].notna()]
    if good.empty:
        raise UserError("No row has both a target and a decision time: run `make init` to see why.")
    label = label[good.index]
    decided = good[time].to_numpy(np.int64)
    known = known_at[good.index].fillna(good[time]).to_numpy(np.int64)
    classes = _classes(contract)
    decisions = good[list(contract.columns)].assign(
        decision_at=decided - contract.decision.lead_seconds,
        **{contract.label.name: label.to_numpy(np.int16 if classes else np.float64)},
        known_at=np.maximum(decided, known),
    )
    decisions = decisions.sort_values(["decision_at", *contract.identity], ignore_index=True)
    return Tables(
        rows=decisions,
        events=_outcomes(decisions, contract, classes),
        reference={},
        rejected=rejected,
        quality={
            "rows read": len(raw),
            "rows that repeat another one, left out": len(raw) - len(rows),
            "rows without a target, left out": len(rows) - len(good) - len(rejected),
            "outcomes known before the decision, counted as known at it": int((known < decided).sum()),
        },
    )


def _classes(contract: Contract) -> tuple[str, ...]:
    """The names of the target's classes in the outcome event; none for a number."""
    event = contract.events.get(OUTCOME)
    column = event.columns.get(contract.label.name) if event else None
    return column.values if isinstance(column, CategoryColumn) else ()


def _without_time(raw: pd.DataFrame, rows: pd.DataFrame, time: str) -> pd.DataFrame:
    """The report of rows whose decision time cannot be parsed."""
    lost = rows.index[rows[time].isna()]
    values = raw.loc[lost, time].astype("str").fillna("") if time in raw else pd.Series("", lost)
    return pd.DataFrame(
        {
            "table": "table",
            "line": lost.to_numpy() + 2,
            "column": time,
            "value": values.to_numpy(),
            "reason": "no timestamp",
            "kept": np.zeros(len(lost), dtype=bool),
        }
    )


def _outcomes(rows: pd.DataFrame, contract: Contract, classes: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """The label of each row as an event of the contract's kind `outcome`, if the contract has it."""
    event = contract.events.get(OUTCOME)
    if event is None:
        return {}
    outcomes = rows.assign(**{HAPPENED: rows["known_at"]})
    if classes:
        outcomes[contract.label.name] = np.array(classes, dtype=object)[rows[contract.label.name].to_numpy()]
    require_columns(outcomes.columns, event.columns, f"problem/dataset.py: {OUTCOME}")
    return {OUTCOME: outcomes[list(event.columns)].sort_values(HAPPENED, ignore_index=True)}


def simulated_times(
    label: pd.Series,
    days: int,
    split: Split,
    *,
    order: pd.Series | None = None,
    groups: pd.Series | None = None,
) -> pd.Series:
    """Simulate decision times for a table that has none, with similar labels on every day.

    The times are deterministic: the same table gets the same times.

    Args:
        label: the target, NaN where it is unknown; such rows get no time.
        days: number of days before `split.test_end` over which the times are spread.
        split: the contract's split.
        order: a column by which the times are ordered.
        groups: a column of groups, whose rows get the same time.

    Returns:
        Epoch seconds as floats, with the label's index.
    """
    random = np.random.default_rng(SEED)
    known = label.dropna()
    if order is not None:
        position: Floats = (order[known.index].rank(method="first").to_numpy(np.float64) - 1) / len(known)
    elif groups is not None:
        codes, _ = pd.factorize(groups[known.index], use_na_sentinel=False)
        position = _stratified(known.reset_index(drop=True).groupby(codes).median(), random)[codes]
    else:
        position = _stratified(known, random)
    start = split.test_end_at - days * DAY
    return pd.Series(start + np.floor(position * days * DAY), known.index).reindex(label.index)


def _stratified(label: pd.Series, random: np.random.Generator) -> Floats:
    """Random positions in [0, 1), spread evenly within each class or quantile range of the label."""
    strata = label.to_numpy(np.float64)
    are_classes = len(np.unique(strata)) <= STRATA
    if not are_classes:
        strata = np.searchsorted(np.quantile(strata, np.arange(1, STRATA) / STRATA), strata)
    position = np.empty(len(strata))
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        jitter = 0.5 if are_classes and len(rows) in RARE else random.random(len(rows))
        position[rows] = (random.permutation(len(rows)) + jitter) / len(rows)
    return position

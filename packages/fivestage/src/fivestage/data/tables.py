"""From the columns of one raw table to cleaned tables: rows with decisions and labels, outcomes as events."""

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY
from fivestage.common.columns import Floats
from fivestage.common.errors import UserError, require_columns
from fivestage.contract.contract import CategoryColumn, Contract, Split
from fivestage.features.problem import Tables

OUTCOME = "outcome"  # the event that reports what became of a row
HAPPENED = "happened_at"
SEED = 0
RARE = range(10, 20)  # rows of a class: at even distances, so that there is one in each tenth of the days
STRATA = 20  # parts of a number's range that are spread evenly


def tables_of(
    raw: pd.DataFrame, rows: pd.DataFrame, label: pd.Series, contract: Contract, known_at: pd.Series
) -> Tables:
    """The cleaned tables of one table.

    Rows without a label are left out, for nothing can be learnt from them; rows without a decision time are
    rejected.

    Args:
        raw: the table as it was read.
        rows: the contract's columns, by raw's index; raw's rows that it lacks are counted as repeated.
        label: the target by the same index: a number, a class's place, or 1 and 0; NaN where it is unknown.
        contract: the project's contract.
        known_at: epoch seconds at which the label became known, by the same index.

    Returns:
        Rows by decision time, outcomes as events, what was rejected, and counts for the report.

    Raises:
        UserError: no row has both a decision time and a label, or a column of the contract is missing.
    """
    require_columns(rows.columns, contract.columns, "problem/dataset.py: rows")
    time = contract.decision.time_column
    rejected = _without_time(raw, rows[label.notna()], time)
    good = rows[label.notna() & rows[time].notna()]
    if good.empty:
        raise UserError("No row has both a target and a decision time: `make init` says why.")
    label = label[good.index]
    decided = good[time].to_numpy(np.int64)
    known = known_at[good.index].fillna(good[time]).to_numpy(np.int64)
    classes = _classes(contract)
    made = good[list(contract.columns)].assign(
        decision_at=decided - contract.decision.lead_seconds,
        **{contract.label.name: label.to_numpy(np.int16 if classes else np.float64)},
        known_at=np.maximum(decided, known),
    )
    made = made.sort_values(["decision_at", *contract.identity], ignore_index=True)
    return Tables(
        rows=made,
        events=_outcomes(made, contract, classes),
        reference={},
        rejected=rejected,
        quality={
            "rows read": len(raw),
            "rows that repeat another one, left out": len(raw) - len(rows),
            "rows without a target, left out": len(rows) - len(good) - len(rejected),
        },
    )


def _classes(contract: Contract) -> tuple[str, ...]:
    """The names of the target's classes as outcomes report them; none for a number."""
    event = contract.events.get(OUTCOME)
    column = event.columns.get(contract.label.name) if event else None
    return column.values if isinstance(column, CategoryColumn) else ()


def _without_time(raw: pd.DataFrame, rows: pd.DataFrame, time: str) -> pd.DataFrame:
    """A report of rows whose decision time cannot be read."""
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
    """What became of each row, as the event that the contract calls an outcome."""
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
    """Made-up decision times for a table without any; each day gets its share of every class, or of numbers.

    The same table gives the same times.

    Args:
        label: the target, NaN where it is unknown; such rows get no time.
        days: how many days before `split.test_end` the times are spread over.
        split: the contract's.
        order: rows keep this order.
        groups: rows of one group get the same time.

    Returns:
        Epoch seconds as floats, by the label's index.
    """
    random = np.random.default_rng(SEED)
    known = label.dropna()
    if order is not None:
        place: Floats = (order[known.index].rank(method="first").to_numpy(np.float64) - 1) / len(known)
    elif groups is not None:
        codes, _ = pd.factorize(groups[known.index], use_na_sentinel=False)
        place = _strata(known.reset_index(drop=True).groupby(codes).median(), random)[codes]
    else:
        place = _strata(known, random)
    start = split.test_end_at - days * DAY
    return pd.Series(start + np.floor(place * days * DAY), known.index).reindex(label.index)


def _strata(label: pd.Series, random: np.random.Generator) -> Floats:
    """Places in [0, 1) at random, spread evenly within each class."""
    values = label.to_numpy(np.float64)
    of_classes = len(np.unique(values)) <= STRATA
    if not of_classes:
        values = np.searchsorted(np.quantile(values, np.arange(1, STRATA) / STRATA), values)
    place = np.empty(len(values))
    for one in np.unique(values):
        here = np.flatnonzero(values == one)
        within = 0.5 if of_classes and len(here) in RARE else random.random(len(here))
        place[here] = (random.permutation(len(here)) + within) / len(here)
    return place

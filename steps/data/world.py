"""What the raw tables became: decisions to make, and what was heard of the world."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.contract import Contract, Event
from core.windows import HOUR
from problem.dataset import Tables
from steps.data.validate import check_share, summary, validate, write_quarantine


@dataclass(frozen=True)
class World:
    """Events by kind, and what does not change."""

    events: dict[str, pd.DataFrame]
    reference: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Ingested:
    """What was read and what was put aside."""

    data: str
    raw_rows: dict[str, int]
    quarantined: dict[str, int]
    quality: dict[str, float]


def known_at(event: Event, frame: pd.DataFrame) -> NDArray[np.int64]:
    """When each event became known, by the contract alone (epoch seconds)."""
    return frame[event.known].to_numpy(dtype=np.int64) + round(event.known_after_hours * HOUR)


def known_between(
    events: Mapping[str, pd.DataFrame], contract: Contract, after: int, until: int
) -> dict[str, pd.DataFrame]:
    """The events that became known in (after, until]."""
    found = {}
    for kind, frame in events.items():
        known = known_at(contract.events[kind], frame)
        found[kind] = frame[(known > after) & (known <= until)]
    return found


def ingest_tables(tables: Tables, contract: Contract, quarantine: Path, data: str) -> tuple[pd.DataFrame, World, Ingested]:
    """Hold cleaned tables against the contract; what breaks it is written to the quarantine folder, with reasons.

    Raises:
        UserError: when a table lacks a column, or too many of its rows are in quarantine.
    """
    label = contract.label.name
    reasons: dict[str, int] = {}
    impossible = tables.rejected[~tables.rejected["kept"].astype(bool)]
    write_quarantine(tables.rejected, quarantine / "raw.csv")
    for (table, reason), lines in tables.rejected.groupby(["table", "reason"]).groups.items():
        reasons[f"{table}: {reason}"] = len(lines)

    def kept(frame: pd.DataFrame, name: str, columns: Any, identity: Any, carried: tuple[str, ...]) -> pd.DataFrame:
        checked = validate(frame, columns, identity, name, carried)
        path = quarantine / f"{name}.csv"
        write_quarantine(checked.quarantined, path)
        check_share(len(checked.quarantined), len(frame), name, path)
        for line in summary(checked.failures).itertuples():
            reasons[f"{name}: {line.column} {line.check}"] = int(line.rows)
        return checked.good

    rows = kept(tables.rows, "rows", contract.columns, contract.identity, ("decision_at", label, "known_at"))
    events = {
        kind: kept(frame, kind, contract.events[kind].columns, contract.events[kind].identity, ())
        for kind, frame in tables.events.items()
    }
    raw_rows = {"decisions": len(tables.rows) + len(impossible)} | {kind: len(frame) for kind, frame in events.items()}
    return rows, World(events, tables.reference), Ingested(data, raw_rows, reasons, tables.quality)

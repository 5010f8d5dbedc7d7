"""What the raw tables became: decisions to make, and what was heard of the world."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.contract import Column, Contract, Event
from core.tables import Tables
from steps.data.validate import check_share, summary, validate, write_quarantine

RAW = "raw.csv"


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
    known: NDArray[np.int64] = event.known_at({event.known: frame[event.known].to_numpy(dtype=np.int64)})
    return known


def known_between(
    events: Mapping[str, pd.DataFrame], contract: Contract, after: int, until: int
) -> dict[str, pd.DataFrame]:
    """The events that became known in (after, until]."""
    found = {}
    for kind, frame in events.items():
        known = known_at(contract.events[kind], frame)
        found[kind] = frame[(known > after) & (known <= until)]
    return found


def ingest_tables(
    tables: Tables, contract: Contract, quarantine: Path, data: str
) -> tuple[pd.DataFrame, World, Ingested]:
    """Hold cleaned tables against the contract; what breaks it goes to the quarantine folder, with reasons.

    Raises:
        UserError: when a table lacks a column, or too many of its rows are in quarantine.
    """
    found = tables.rejected
    lost = int((~found["kept"].astype(bool)).sum())
    write_quarantine(found, quarantine / RAW)
    check_share(lost, len(tables.rows) + lost, "the raw tables", quarantine / RAW)
    counts = (found["table"] + ": " + found["reason"]).value_counts()
    reasons = {str(reason): int(rows) for reason, rows in counts.items()}
    carried = ("decision_at", contract.label.name, "known_at")
    rows = _kept(tables.rows, "rows", contract.columns, contract.identity, carried, quarantine, reasons)
    events = {
        kind: _kept(tables.events[kind], kind, event.columns, event.identity, (), quarantine, reasons)
        for kind, event in contract.events.items()
    }
    raw_rows = {"decisions": len(tables.rows) + lost} | {kind: len(tables.events[kind]) for kind in events}
    return rows, World(events, tables.reference), Ingested(data, raw_rows, reasons, tables.quality)


def _kept(
    frame: pd.DataFrame,
    name: str,
    columns: Mapping[str, Column],
    identity: tuple[str, ...],
    carried: tuple[str, ...],
    quarantine: Path,
    reasons: dict[str, int],
) -> pd.DataFrame:
    """The rows that keep the contract; the others are written down, and counted under `reasons`."""
    checked = validate(frame, columns, identity, name, carried)
    path = quarantine / f"{name}.csv"
    write_quarantine(checked.quarantined, path)
    check_share(len(checked.quarantined), len(frame), name, path)
    counts = summary(checked.failures)
    for column, check, rows in zip(counts["column"], counts["check"], counts["rows"], strict=True):
        reasons[f"{name}: {column} {check}"] = int(rows)
    return checked.good

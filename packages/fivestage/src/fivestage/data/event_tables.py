"""What the raw tables became: decisions to make, and what was heard of the world."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.contract.contract import Contract, Event
from fivestage.data.validation import Validated, check_share, summary, validate, write_quarantine
from fivestage.features.problem import Tables

RAW, ROWS = "raw", "rows"  # what cleaning looked at, and what it made
DECISIONS = "decisions"
EVER = -(2**60)  # epoch seconds before which nothing is known
SMOKE_ROWS = 24  # the last ones before a day, that prove an artifact of it: their past is kept with it


@dataclass(frozen=True)
class EventTables:
    """Events by kind, and what does not change; what was known before `since` has been left out."""

    events: dict[str, pd.DataFrame]
    reference: dict[str, dict[str, Any]]
    since: int = EVER


@dataclass(frozen=True)
class Ingested:
    """What was read and what was put aside."""

    data: str
    raw_rows: dict[str, int]
    quarantined: dict[str, int]
    quality: dict[str, float]


@dataclass(frozen=True)
class QuarantineReport:
    """What was put aside of a table, which of its rows are lost, and how many rows have what wrong."""

    rows: pd.DataFrame
    lost: int
    total: int  # rows of the table
    reasons: dict[str, int]


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
) -> tuple[pd.DataFrame, EventTables, Ingested]:
    """Hold cleaned tables against the contract; what breaks it goes to the quarantine folder, with reasons.

    Raises:
        UserError: when a table lacks a column, or too many of its rows are in quarantine.
    """
    raw = raw_quarantine(tables)
    write_quarantine_reports({RAW: raw}, quarantine)
    check_lost(RAW, raw.lost, raw.total, quarantine)
    checked = validate_tables(
        {ROWS: tables.rows} | {kind: tables.events[kind] for kind in contract.events}, contract
    )
    asides = {name: quarantine_report(name, one) for name, one in checked.items()}
    write_quarantine_reports(asides, quarantine)
    for name, aside in asides.items():
        check_lost(name, aside.lost, aside.total, quarantine)
    raw_rows = {DECISIONS: raw.total} | {kind: asides[kind].total for kind in contract.events}
    reasons = {reason: rows for aside in (raw, *asides.values()) for reason, rows in aside.reasons.items()}
    world = EventTables({kind: checked[kind].good for kind in contract.events}, tables.reference)
    return checked[ROWS].good, world, Ingested(data, raw_rows, reasons, tables.quality)


def validate_tables(frames: Mapping[str, pd.DataFrame], contract: Contract) -> dict[str, Validated]:
    """Rows and events, by name, each parted by whether it keeps the contract.

    Raises:
        UserError: when one lacks a column.
    """
    carried = ("decision_at", contract.label.name, "known_at")
    found = {}
    for name, frame in frames.items():
        one, more = (contract, carried) if name == ROWS else (contract.events[name], ())
        found[name] = validate(frame, one.columns, one.identity, name, more)
    return found


def raw_quarantine(tables: Tables) -> QuarantineReport:
    """What cleaning did not believe."""
    rejected = tables.rejected
    lost = int((~rejected["kept"].astype(bool)).sum())
    reasons = (rejected["table"] + ": " + rejected["reason"]).value_counts()
    told = {str(reason): int(rows) for reason, rows in reasons.items()}
    return QuarantineReport(rejected, lost, len(tables.rows) + lost, told)


def quarantine_report(name: str, checked: Validated) -> QuarantineReport:
    """What breaks the contract."""
    counts = summary(checked.failures)
    reasons = zip(counts["column"], counts["check"], counts["rows"], strict=True)
    told = {f"{name}: {column} {check}": int(rows) for column, check, rows in reasons}
    bad = checked.quarantined
    return QuarantineReport(bad, len(bad), len(checked.good) + len(bad), told)


def write_quarantine_reports(asides: Mapping[str, QuarantineReport], quarantine: Path) -> None:
    """Write down what was put aside, a file a table, even if it holds no rows."""
    for name, aside in asides.items():
        write_quarantine(aside.rows, quarantine / f"{name}.csv")


def check_lost(name: str, lost: int, total: int, quarantine: Path) -> None:
    """Refuse to go on when too many rows of a table are lost.

    Raises:
        UserError: more than the limit's share.
    """
    source = "the raw tables" if name == RAW else name
    check_share(lost, total, source, quarantine / f"{name}.csv")

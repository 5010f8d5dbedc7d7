"""Validate cleaned tables: valid rows and events, and a report of quarantined rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, Event
from fivestage.data.validation import Validated, summary, validate, write_quarantine
from fivestage.features.definitions import FeatureDefinitions
from fivestage.features.offline import build_features
from fivestage.features.problem import Tables

RAW, ROWS = "raw", "rows"  # the tables before and after cleaning
DECISIONS = "decisions"
MAX_SHARE = 0.01  # of a table's rows that may be quarantined
EVER = -(2**60)  # epoch seconds, before all events
SMOKE_ROWS = 24  # last rows before an artifact's training day, kept with their events for a smoke test


@dataclass(frozen=True)
class EventTables:
    """Tables of events by kind, and the static tables; events known before `since` have been dropped."""

    events: dict[str, pd.DataFrame]
    reference: dict[str, dict[str, Any]]
    since: int = EVER

    def features_of(self, rows: pd.DataFrame, definitions: FeatureDefinitions) -> pd.DataFrame:
        """Compute the features of rows, as of their decision times.

        Args:
            rows: the contract's columns, and `decision_at` in epoch seconds.
            definitions: the problem's features.

        Returns:
            Rows x features, in the order of `rows`, text as text.
        """
        return build_features(definitions, rows, self.events, self.reference)


@dataclass(frozen=True)
class IngestReport:
    """Number of rows read from each raw table, and of rows quarantined, by reason."""

    data: str  # SHA-256 of the raw data
    raw_rows: dict[str, int]  # rows by table
    quarantined: dict[str, int]  # rows by `table: column check`
    quality: dict[str, float]  # counts made by cleaning, such as rows without a label


@dataclass(frozen=True)
class QuarantineReport:
    """The quarantined rows of a table, and how many rows fail each check."""

    rows: pd.DataFrame
    lost: int  # rows that are not used; of the others only a value was set to missing
    total: int  # rows of the table
    reasons: dict[str, int]


def known_at(event: Event, frame: pd.DataFrame) -> NDArray[np.int64]:
    """When each event became known according to the contract, in epoch seconds."""
    known: NDArray[np.int64] = event.known_at({event.known: frame[event.known].to_numpy(dtype=np.int64)})
    return known


def known_between(
    events: Mapping[str, pd.DataFrame], contract: Contract, after: int, until: int
) -> dict[str, pd.DataFrame]:
    """Select the events that became known in (after, until]."""
    selected = {}
    for kind, frame in events.items():
        known = known_at(contract.events[kind], frame)
        selected[kind] = frame[(known > after) & (known <= until)]
    return selected


def ingest_tables(
    tables: Tables, contract: Contract, quarantine: Path, data: str
) -> tuple[pd.DataFrame, EventTables, IngestReport]:
    """Validate cleaned tables, and write rows that violate the contract to the quarantine folder.

    Args:
        tables: as returned by the project's `load`.
        contract: the project's contract.
        quarantine: the folder for quarantined rows, one CSV per table.
        data: SHA-256 of the raw data.

    Returns:
        The valid rows, the valid events by kind, and the counts of rows read and quarantined.

    Raises:
        UserError: when a table lacks a column, or too many of its rows are quarantined.
    """
    checked = validate_tables(
        {ROWS: tables.rows} | {kind: tables.events[kind] for kind in contract.events}, contract
    )
    reports = {RAW: raw_quarantine(tables)} | {
        name: quarantine_report(name, one) for name, one in checked.items()
    }
    write_quarantine_reports(reports, quarantine)
    for name, report in reports.items():
        check_lost(name, report.lost, report.total, quarantine)
    raw_rows = {DECISIONS: reports[RAW].total} | {kind: reports[kind].total for kind in contract.events}
    reasons = {reason: rows for report in reports.values() for reason, rows in report.reasons.items()}
    events = EventTables({kind: checked[kind].good for kind in contract.events}, tables.reference)
    return checked[ROWS].good, events, IngestReport(data, raw_rows, reasons, tables.quality)


def validate_tables(frames: Mapping[str, pd.DataFrame], contract: Contract) -> dict[str, Validated]:
    """Split each table of rows or events into valid and quarantined rows."""
    carried = ("decision_at", contract.label.name, "known_at")
    validated = {}
    for name, frame in frames.items():
        source = f"problem/dataset.py: {name}"
        if name == ROWS:
            columns, identity = contract.columns, contract.identity
            validated[name] = validate(frame, columns, identity, source, carried, contract.rules)
        else:
            event = contract.events[name]
            validated[name] = validate(frame, event.columns, event.identity, source)
    return validated


def raw_quarantine(tables: Tables) -> QuarantineReport:
    """The quarantine report of rows and values that cleaning rejected."""
    rejected = tables.rejected
    lost = int((~rejected["kept"].astype(bool)).sum())
    reasons = (rejected["table"].astype(str) + ": " + rejected["reason"].astype(str)).value_counts()
    counts = {str(reason): int(rows) for reason, rows in reasons.items()}
    return QuarantineReport(rejected, lost, len(tables.rows) + lost, counts)


def quarantine_report(name: str, checked: Validated) -> QuarantineReport:
    """The quarantine report of a table's rows that violate the contract."""
    counts = summary(checked.failures)
    checks = zip(counts["column"], counts["check"], counts["rows"], strict=True)
    reasons = {f"{name}: {column} {check}": int(rows) for column, check, rows in checks}
    rows = checked.quarantined
    return QuarantineReport(rows, len(rows), len(checked.good) + len(rows), reasons)


def write_quarantine_reports(reports: Mapping[str, QuarantineReport], quarantine: Path) -> None:
    """Write the quarantined rows, one CSV per table, even if there are none."""
    for name, report in reports.items():
        write_quarantine(report.rows, quarantine / f"{name}.csv")


def check_lost(name: str, lost: int, total: int, quarantine: Path) -> None:
    """Raise if too many rows of a table are lost."""
    if lost > MAX_SHARE * total:
        source = "the raw tables" if name == RAW else name
        raise UserError(
            f"{source}: {lost:,} of {total:,} rows ({lost / total:.1%}) are in quarantine, more than "
            f"{MAX_SHARE:.0%}. {quarantine / name}.csv lists them with reasons: fix them, or the ranges in "
            "problem.yaml."
        )

"""Cleaned tables, validated: rows to decide on, events by kind, and a report of what went to quarantine."""

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

RAW, ROWS = "raw", "rows"  # what cleaning looked at, and what it made
DECISIONS = "decisions"
MAX_SHARE = 0.01  # of a table's rows that may be in quarantine
EVER = -(2**60)  # epoch seconds before which nothing is known
SMOKE_ROWS = 24  # the last ones before a day, that prove an artifact of it: their past is kept with it


@dataclass(frozen=True)
class EventTables:
    """Events by kind, and what does not change; what was known before `since` has been left out."""

    events: dict[str, pd.DataFrame]
    reference: dict[str, dict[str, Any]]
    since: int = EVER

    def features_of(self, rows: pd.DataFrame, definitions: FeatureDefinitions) -> pd.DataFrame:
        """What was known of every row at its decision time.

        Args:
            rows: decisions with the contract's columns and `decision_at`, epoch seconds.
            definitions: the problem's features.

        Returns:
            Rows x features, by name, in the order of `rows`, text as text.
        """
        return build_features(definitions, rows, self.events, self.reference)


@dataclass(frozen=True)
class IngestReport:
    """How many rows each raw table had, and how many were quarantined, by reason."""

    data: str  # SHA-256 of the raw data
    raw_rows: dict[str, int]  # rows by table
    quarantined: dict[str, int]  # rows by `table: column check`
    quality: dict[str, float]  # what cleaning counted, such as rows without a label


@dataclass(frozen=True)
class QuarantineReport:
    """The quarantined rows of a table, how many of them are lost, and how many fail each check."""

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
) -> tuple[pd.DataFrame, EventTables, IngestReport]:
    """Validate cleaned tables; rows that break the contract go to the quarantine folder, with reasons.

    Args:
        tables: what the project's `load` returned.
        contract: the project's contract.
        quarantine: the folder to write to, a CSV a table.
        data: SHA-256 of the raw data.

    Returns:
        The valid rows, the valid events by kind, and what was read and quarantined.

    Raises:
        UserError: when a table lacks a column, or too many of its rows are in quarantine.
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
    """Rows and events, by name, each split into valid and quarantined."""
    carried = ("decision_at", contract.label.name, "known_at")
    found = {}
    for name, frame in frames.items():
        source = f"problem/dataset.py: {name}"
        if name == ROWS:
            columns, identity = contract.columns, contract.identity
            found[name] = validate(frame, columns, identity, source, carried, contract.rules)
        else:
            event = contract.events[name]
            found[name] = validate(frame, event.columns, event.identity, source)
    return found


def raw_quarantine(tables: Tables) -> QuarantineReport:
    """What cleaning rejected."""
    rejected = tables.rejected
    lost = int((~rejected["kept"].astype(bool)).sum())
    reasons = (rejected["table"].astype(str) + ": " + rejected["reason"].astype(str)).value_counts()
    counts = {str(reason): int(rows) for reason, rows in reasons.items()}
    return QuarantineReport(rejected, lost, len(tables.rows) + lost, counts)


def quarantine_report(name: str, checked: Validated) -> QuarantineReport:
    """What breaks the contract, counted by check."""
    counts = summary(checked.failures)
    checks = zip(counts["column"], counts["check"], counts["rows"], strict=True)
    reasons = {f"{name}: {column} {check}": int(rows) for column, check, rows in checks}
    bad = checked.quarantined
    return QuarantineReport(bad, len(bad), len(checked.good) + len(bad), reasons)


def write_quarantine_reports(reports: Mapping[str, QuarantineReport], quarantine: Path) -> None:
    """Write the quarantined rows, a CSV a table, even if it holds no rows."""
    for name, report in reports.items():
        write_quarantine(report.rows, quarantine / f"{name}.csv")


def check_lost(name: str, lost: int, total: int, quarantine: Path) -> None:
    """Refuse to go on when too many rows of a table are lost."""
    if lost > MAX_SHARE * total:
        source = "the raw tables" if name == RAW else name
        raise UserError(
            f"{source}: {lost:,} of {total:,} rows ({lost / total:.1%}), more than {MAX_SHARE:.0%}, are in "
            f"quarantine. {quarantine / name}.csv says which and why; fix them, or the ranges in "
            "problem.yaml."
        )

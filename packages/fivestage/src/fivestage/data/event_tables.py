"""Validate cleaned tables: valid rows and events, and a report of quarantined rows."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, Event
from fivestage.data.validation import validate, write_quarantine
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

    @classmethod
    def ingest(
        cls, tables: Tables, contract: Contract, quarantine: Path, data: str
    ) -> "tuple[pd.DataFrame, EventTables, IngestReport]":
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
        quarantined = Quarantine(quarantine)
        quarantined.add(
            {RAW: rejected_rows(tables)} | {name: report for name, (_, report) in checked.items()}
        )
        quarantined.check()
        events = cls({kind: checked[kind][0] for kind in contract.events}, tables.reference)
        return checked[ROWS][0], events, quarantined.ingested(data, tables.quality)

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


@dataclass
class Quarantine:
    """Writes quarantined rows to CSV files in a folder, and counts them over all tables and parts."""

    folder: Path
    lost: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, reports: Mapping[str, QuarantineReport], part: str = "") -> None:
        """Write the rows of each table, even if there are none, and count them.

        Raises:
            UserError: when a file cannot be written.
        """
        for name, report in reports.items():
            write_quarantine(report.rows, self.folder / part / f"{name}.csv")
            self.lost[name] += report.lost
            self.total[name] += report.total
            self.reasons.update(report.reasons)

    def check(self) -> None:
        """Require that few rows are lost.

        Raises:
            UserError: when too many rows of a table are lost.
        """
        for name, total in self.total.items():
            if (lost := self.lost[name]) > MAX_SHARE * total:
                source = "the raw tables" if name == RAW else name
                raise UserError(
                    f"{source}: {lost:,} of {total:,} rows ({lost / total:.1%}) are in quarantine, more than "
                    f"{MAX_SHARE:.0%}. {self.folder / name}.csv lists them with reasons: fix them, or the "
                    "ranges in problem.yaml."
                )

    def ingested(self, data: str, quality: Mapping[str, float]) -> IngestReport:
        """The counts over all tables, for data with this SHA-256."""
        rows = {DECISIONS if name == RAW else name: n for name, n in self.total.items() if name != ROWS}
        return IngestReport(data, rows, dict(self.reasons), dict(quality))


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


def validate_tables(
    frames: Mapping[str, pd.DataFrame], contract: Contract
) -> dict[str, tuple[pd.DataFrame, QuarantineReport]]:
    """Split each table of rows or events into valid rows, and a report of the others."""
    carried = ("decision_at", contract.label.name, "known_at")
    validated = {}
    for name, frame in frames.items():
        source = f"problem/dataset.py: {name}"
        if name == ROWS:
            columns, identity = contract.columns, contract.identity
            checked = validate(frame, columns, identity, source, carried, contract.rules)
        else:
            event = contract.events[name]
            checked = validate(frame, event.columns, event.identity, source)
        lost = checked.quarantined
        reasons = {f"{name}: {reason}": rows for reason, rows in checked.reasons().items()}
        validated[name] = checked.good, QuarantineReport(lost, len(lost), len(frame), reasons)
    return validated


def rejected_rows(tables: Tables) -> QuarantineReport:
    """The report of rows and values that cleaning rejected."""
    rejected = tables.rejected
    lost = int((~rejected["kept"].astype(bool)).sum())
    reasons = (rejected["table"].astype(str) + ": " + rejected["reason"].astype(str)).value_counts()
    counts = {str(reason): int(rows) for reason, rows in reasons.items()}
    return QuarantineReport(rejected, lost, len(tables.rows) + lost, counts)

"""Tables too large for memory: cleaned part by part, then validated and featurised period by period.

A period is as long as features look back, so a period and the one before it are all that its rows can see.
Parts and periods are independent of one another; `fivestage.common.parallel` says where they run.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fivestage.common.clock import DAY
from fivestage.common.parallel import mapped
from fivestage.common.settings import WAREHOUSE
from fivestage.contract.contract import Contract
from fivestage.data.event_tables import (
    DECISIONS,
    RAW,
    ROWS,
    IngestReport,
    QuarantineReport,
    check_lost,
    known_at,
    quarantine_report,
    raw_quarantine,
    validate_tables,
    write_quarantine_reports,
)
from fivestage.data.partitions import Partitions
from fivestage.features.definitions import Reference
from fivestage.features.offline import build_features
from fivestage.features.problem import Problem

FEATURES = "features"
CLEANED = "cleaned"  # what waits to be validated
Span = tuple[int, int]  # the first and the last of neighbouring periods


@dataclass
class _Account:
    """What was quarantined so far."""

    quarantine: Path
    lost: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, reports: Mapping[str, QuarantineReport], folder: str) -> None:
        write_quarantine_reports(reports, self.quarantine / folder)
        for name, report in reports.items():
            self.lost[name] += report.lost
            self.total[name] += report.total
            self.reasons.update(report.reasons)

    def check(self) -> None:
        for name in self.total:
            check_lost(name, self.lost[name], self.total[name], self.quarantine)


@dataclass(frozen=True)
class Stored:
    """Rows by when they were decided, events by when they were known: where they lie, and what they hold."""

    place: str
    period_seconds: int
    ingested: IngestReport
    reference: dict[str, dict[str, Any]]
    by_day: dict[int, int]  # rows, by the day of their decision

    @property
    def frames(self) -> Partitions:
        """The frames."""
        return Partitions(self.place, self.period_seconds)

    @classmethod
    def ingest(cls, problem: Problem, quarantine: Path, data: str, place: str = "") -> "Stored":
        """Clean each part, and validate each span of periods; what breaks the contract goes to quarantine.

        The same as `ingest_tables` of all parts at once, but that repeated events are found within a span
        only, and that each part and each span has a quarantine folder.

        Args:
            problem: what loads the parts, and whose contract they must keep.
            quarantine: a local folder for reports of refused rows.
            data: the digest of the raw data, which the report carries.
            place: a folder or bucket for the frames, by default one of these data; those of an earlier run
                are removed.

        Returns:
            Where the frames lie, the report of what was read and refused, and rows by day.

        Raises:
            UserError: when a table cannot be read, lacks a column, or too many of its rows are in quarantine;
                when FIVESTAGE_WORKERS names no workers.
        """
        contract, parts, place = problem.contract, problem.parts(), place or f"{WAREHOUSE}/{data[:12]}"
        period_seconds = max(problem.features.lookback_seconds, DAY)  # features look back one period at most
        frames, account = Partitions(place, period_seconds), _Account(quarantine)
        for name in (CLEANED, ROWS, FEATURES, *contract.events):
            frames.clear(name)
        reference: dict[str, dict[str, Any]] = {}
        waiting: Counter[int] = Counter()
        clean = partial(_clean, frames=frames, problem=problem)
        for part, (report, fixed, counts, rows) in zip(
            parts, mapped(clean, list(enumerate(parts))), strict=True
        ):
            account.add({RAW: report}, Path(part).name)
            account.counts.update(counts)
            waiting.update(rows)
            for name, values in fixed.items():
                reference.setdefault(name, {}).update(values)
        account.check()
        by_day: Counter[int] = Counter()
        cut = list(spans(waiting, contract.budget.rows_in_memory))
        validated = mapped(partial(_validate, frames=frames, contract=contract), cut)
        for span, (reports, days) in zip(cut, validated, strict=True):
            account.add(reports, "periods-{}-{}".format(*span))
            by_day.update(days)
        account.check()
        frames.clear(CLEANED)
        raw_rows = {DECISIONS: account.total[RAW]} | {kind: account.total[kind] for kind in contract.events}
        return cls(
            place,
            period_seconds,
            IngestReport(data, raw_rows, dict(account.reasons), dict(account.counts)),
            reference,
            dict(by_day),
        )

    def featurise(self, problem: Problem, sets: Sequence[str] | None = None) -> int:
        """Write the features of all rows beside them, in the rows' order, some periods at a time.

        They are what `build_features` gives with all events at hand, to the last bit.

        Args:
            problem: whose features are computed.
            sets: names of feature sets; None for all.

        Returns:
            The number of rows.

        Raises:
            UserError: when FIVESTAGE_WORKERS names no workers.
        """
        self.frames.clear(FEATURES)
        rows: Counter[int] = Counter()
        for day, count in self.by_day.items():
            rows[day * DAY // self.frames.seconds] += count
        cut = list(spans(rows, problem.contract.budget.rows_in_memory, before=1))
        return sum(mapped(partial(_featurise, stored=self, problem=problem, sets=sets), cut))


def spans(rows: Mapping[int, int], budget: int, before: int = 0) -> Iterator[Span]:
    """First and last of neighbouring periods whose rows keep to a budget, with those of some periods before.

    A single period is a span even where its rows do not: less than what it sees cannot be looked at.
    """
    first: int | None = None
    last = 0
    for period in sorted(rows):
        if first is not None and sum(rows.get(one, 0) for one in range(first - before, period + 1)) > budget:
            yield first, last
            first = None
        first, last = period if first is None else first, period
    if first is not None:
        yield first, last


def _clean(
    part: tuple[int, str], frames: Partitions, problem: Problem
) -> tuple[QuarantineReport, Reference, Mapping[str, int], Mapping[int, int]]:
    """Spread a part's cleaned tables over their periods."""
    number, name = part
    contract = problem.contract
    tables = problem.load(contract, name)
    at = {ROWS: tables.rows["decision_at"].to_numpy()}
    at |= {kind: known_at(event, tables.events[kind]) for kind, event in contract.events.items()}
    most: Counter[int] = Counter()
    for table, frame in {ROWS: tables.rows, **tables.events}.items():
        most |= frames.spread(f"{CLEANED}/{table}", frame, at[table], f"{number:06}")
    counts = {what: int(many) for what, many in tables.quality.items() if many % 1 == 0}
    return raw_quarantine(tables), tables.reference, counts, most


def _validate(
    span: Span, frames: Partitions, contract: Contract
) -> tuple[dict[str, QuarantineReport], dict[int, int]]:
    """Split rows and events into valid and quarantined; the valid ones are stored, in order."""
    order = {ROWS: ["decision_at", *contract.identity]}
    order |= {kind: [event.known, *event.identity] for kind, event in contract.events.items()}
    cleaned = {name: frames.read(f"{CLEANED}/{name}", *span) for name in order}
    checked = validate_tables(
        {name: frame.sort_values(order[name]) for name, frame in cleaned.items() if len(frame)}, contract
    )
    days: Counter[int] = Counter()
    for name, one in checked.items():
        if name == ROWS:
            at = one.good["decision_at"].to_numpy()
            days = Counter((at // DAY).tolist())
        else:
            at = known_at(contract.events[name], one.good)
        frames.spread(name, one.good, at, "whole")
    return {name: quarantine_report(name, one) for name, one in checked.items()}, days


def _featurise(span: Span, stored: Stored, problem: Problem, sets: Sequence[str] | None) -> int:
    first, last = span
    frames = stored.frames
    rows = frames.read(ROWS, first, last)
    events = {kind: frames.read(kind, first - 1, last) for kind in problem.contract.events}
    features = build_features(problem.features, rows, events, stored.reference, sets)
    frames.spread(FEATURES, features, rows["decision_at"].to_numpy(), "whole")
    return len(rows)

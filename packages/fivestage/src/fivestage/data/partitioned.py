"""Process tables larger than memory: clean them part by part, then validate and featurise them by period.

A period is as long as features look back, so the features of its rows depend only on events of that period
and of the one before. Parts and periods are independent tasks, which `fivestage.common.parallel` runs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.common.parallel import mapped
from fivestage.common.settings import WAREHOUSE
from fivestage.contract.contract import Contract, Split, epoch_of
from fivestage.data.event_tables import (
    RAW,
    ROWS,
    SMOKE_ROWS,
    EventTables,
    IngestReport,
    Quarantine,
    QuarantineReport,
    known_at,
    rejected_rows,
    validate_tables,
)
from fivestage.data.partitions import Partitions
from fivestage.features.definitions import Reference
from fivestage.features.offline import build_features
from fivestage.features.problem import Problem

FEATURES = "features"
CLEANED = "cleaned"  # tables that are not validated yet
EVALUATION_SHARE = 0.2  # of a sample, at most, for each of holdout window, folds and later rows
SEED = 0
Span = tuple[int, int]  # first and last of consecutive periods


@dataclass(frozen=True)
class Stored:
    """Validated tables in storage, partitioned by time of decision (rows) or of becoming known (events)."""

    place: str
    period_seconds: int
    ingested: IngestReport
    reference: dict[str, dict[str, Any]]
    by_day: dict[int, int]  # number of rows by the day of their decision

    @property
    def frames(self) -> Partitions:
        """The stored tables."""
        return Partitions(self.place, self.period_seconds)

    @classmethod
    def ingest(cls, problem: Problem, quarantine: Path, data: str, place: str = "") -> "Stored":
        """Clean each part, validate each span of periods, and quarantine rows that violate the contract.

        The result is that of `EventTables.ingest` on all parts at once, except that duplicate events are
        found only within a span, and that each part and each span has its own quarantine folder.

        Args:
            problem: loads the parts, and has the contract.
            quarantine: a local folder for quarantined rows.
            data: SHA-256 of the raw data, for the report.
            place: a folder or bucket for the tables, by default one for these data; tables of an earlier run
                are removed.

        Returns:
            The stored tables, with the report of rows read and quarantined.

        Raises:
            UserError: when a table cannot be read or lacks a column, when too many of its rows are
                quarantined, or when the workers of FIVESTAGE_WORKERS cannot be used.
        """
        contract, parts, place = problem.contract, problem.parts(), place or f"{WAREHOUSE}/{data[:12]}"
        period_seconds = max(problem.features.lookback_seconds, DAY)  # features look back one period at most
        frames, quarantined = Partitions(place, period_seconds), Quarantine(quarantine)
        for name in (CLEANED, ROWS, FEATURES, *contract.events):
            frames.clear(name)
        reference: dict[str, dict[str, Any]] = {}
        quality: Counter[str] = Counter()
        by_period: Counter[int] = Counter()
        clean = partial(_clean, frames=frames, problem=problem)
        cleaned = mapped(clean, list(enumerate(parts)))
        for part, (report, static, counts, rows) in zip(parts, cleaned, strict=True):
            quarantined.add({RAW: report}, Path(part).name)
            quality.update(counts)
            by_period.update(rows)
            for name, values in static.items():
                reference.setdefault(name, {}).update(values)
        quarantined.check()
        quarantined.total.update(dict.fromkeys(contract.events, 0))  # also of kinds without any event
        by_day: Counter[int] = Counter()
        tasks = list(spans(by_period, contract.budget.rows_in_memory))
        validated = mapped(partial(_validate, frames=frames, contract=contract), tasks)
        for span, (reports, days) in zip(tasks, validated, strict=True):
            quarantined.add(reports, "periods-{}-{}".format(*span))
            by_day.update(days)
        quarantined.check()
        frames.clear(CLEANED)
        return cls(place, period_seconds, quarantined.ingested(data, quality), reference, dict(by_day))

    def featurise(self, problem: Problem, sets: Sequence[str] | None = None) -> int:
        """Compute and store the features of all rows, in the order of the rows, span by span.

        They equal those of `build_features` on the whole tables to the last bit.

        Args:
            problem: has the feature definitions.
            sets: names of feature sets; None for all.

        Returns:
            The number of rows.

        Raises:
            UserError: when the workers of FIVESTAGE_WORKERS cannot be used.
        """
        self.frames.clear(FEATURES)
        rows: Counter[int] = Counter()
        for day, count in self.by_day.items():
            rows[day * DAY // self.frames.seconds] += count
        tasks = list(spans(rows, problem.contract.budget.rows_in_memory, before=1))
        return sum(mapped(partial(_featurise, stored=self, problem=problem, sets=sets), tasks))

    def draw(
        self, problem: Problem, as_of: str, until: str
    ) -> tuple[pd.DataFrame, EventTables, pd.DataFrame]:
        """Sample rows decided before `until`, with their features and the events that a smoke test needs.

        Single rows are sampled, not whole days: rows of a day are similar, so some rows of every day teach
        more than all rows of some days. The features were computed from all events, by `featurise`.

        Args:
            problem: its contract has the windows, and the number of rows that fit into memory.
            as_of: the day on which the holdout window ends, such as `2024-01-31`.
            until: likewise; only earlier days are sampled.

        Returns:
            Rows in order of time; static tables, and the events that affect the newest rows of that day; and
            the rows' features (rows x features, text as text).

        Raises:
            UserError: when the stored tables have been deleted.
        """
        frames, contract, end = self.frames, problem.contract, epoch_of(as_of)
        budget = contract.budget.rows_in_memory
        rates = sampling_rates(self.by_day, contract.split, end, budget, epoch_of(until))
        samples = list(_samples(frames, rates))
        if not samples:
            raise UserError(f"{self.place} no longer holds any rows: run `make clean` to start from scratch.")
        rows, features = (pd.concat(some, ignore_index=True) for some in zip(*samples, strict=True))
        decided = rows.loc[rows["known_at"] < end, "decision_at"].nlargest(SMOKE_ROWS)
        oldest = min(end, decided.min()) if len(decided) else end
        first = (oldest - 2 * problem.features.lookback_seconds) // frames.seconds
        events = {kind: frames.read(kind, first, end // frames.seconds) for kind in contract.events}
        return rows, EventTables(events, self.reference, first * frames.seconds), features


def spans(rows: Mapping[int, int], budget: int, before: int = 0) -> Iterator[Span]:
    """Group consecutive periods into spans whose rows, and those of `before` earlier periods, fit a budget.

    A single period is a span even if its rows exceed the budget, because a period cannot be divided.
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
    """Clean one part, and write its tables by period."""
    number, name = part
    contract = problem.contract
    tables = problem.load(contract, name)
    at = {ROWS: tables.rows["decision_at"].to_numpy()}
    at |= {kind: known_at(event, tables.events[kind]) for kind, event in contract.events.items()}
    largest: Counter[int] = Counter()  # rows of the largest table by period
    for table, frame in {ROWS: tables.rows, **tables.events}.items():
        largest |= frames.spread(f"{CLEANED}/{table}", frame, at[table], f"{number:06}")
    counts = {name: int(value) for name, value in tables.quality.items() if value % 1 == 0}
    return rejected_rows(tables), tables.reference, counts, largest


def _validate(
    span: Span, frames: Partitions, contract: Contract
) -> tuple[dict[str, QuarantineReport], dict[int, int]]:
    """Validate the rows and events of a span, and store the valid ones in order."""
    order = {ROWS: ["decision_at", *contract.identity]}
    order |= {kind: [event.known, *event.identity] for kind, event in contract.events.items()}
    cleaned = {name: frames.read(f"{CLEANED}/{name}", *span) for name in order}
    checked = validate_tables(
        {name: frame.sort_values(order[name]) for name, frame in cleaned.items() if len(frame)}, contract
    )
    days: Counter[int] = Counter()
    for name, (good, _) in checked.items():
        if name == ROWS:
            at = good["decision_at"].to_numpy()
            days = Counter((at // DAY).tolist())
        else:
            at = known_at(contract.events[name], good)
        frames.spread(name, good, at, "whole")
    return {name: report for name, (_, report) in checked.items()}, days


def _featurise(span: Span, stored: Stored, problem: Problem, sets: Sequence[str] | None) -> int:
    first, last = span
    frames = stored.frames
    rows = frames.read(ROWS, first, last)
    events = {kind: frames.read(kind, first - 1, last) for kind in problem.contract.events}
    features = build_features(problem.features, rows, events, stored.reference, sets)
    frames.spread(FEATURES, features, rows["decision_at"].to_numpy(), "whole")
    return len(rows)


def sampling_rates(
    by_day: Mapping[int, int], split: Split, as_of: int, budget: int, until: int
) -> dict[int, float]:
    """The share of each day's rows to sample, equal within a window; 1 if all rows fit the budget."""
    today = as_of // DAY
    holdout = today - split.holdout_days
    folds = holdout - split.folds * split.fold_days
    end = until // DAY
    if sum(rows for day, rows in by_day.items() if day < end) <= budget:
        return {day: 1.0 for day in by_day if day < end}
    rates: dict[int, float] = {}
    remaining = float(budget)
    for first, last, limit in (
        (holdout, today, EVALUATION_SHARE * budget),
        (folds, holdout, EVALUATION_SHARE * budget),
        (today, end, EVALUATION_SHARE * budget),
        (min(by_day), folds, remaining),
    ):
        days = [day for day in by_day if first <= day < last]
        rows = sum(by_day[day] for day in days)
        rate = min(1.0, min(limit, remaining) / rows) if rows else 0.0
        rates |= dict.fromkeys(days, rate)
        remaining -= rate * rows
    return rates


def _samples(frames: Partitions, rates: Mapping[int, float]) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Sample rows and features of each period, always the same ones."""
    for period in frames.periods(ROWS):
        start, end = (number * frames.seconds // DAY for number in (period, period + 1))
        if any(rates.get(day, 0) for day in range(start, end + 1)):
            rows = frames.read(ROWS, period, period)
            rate = (rows["decision_at"] // DAY).map(rates).fillna(0).to_numpy()
            chosen = np.random.default_rng([SEED, period]).random(len(rows)) < rate
            yield rows[chosen], frames.read(FEATURES, period, period)[chosen]

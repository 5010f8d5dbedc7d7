"""The records of the prediction log, and the interface of its databases."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

Result = TypeVar("Result")


class PredictionRecord(NamedTuple):
    """A logged request with its answer."""

    request_id: str
    at: float  # epoch seconds
    model_version: str
    event_offset: int  # number of the last event in the history; with the artifact it reproduces the features
    microseconds: int  # from decoding to encoding
    request: str
    answer: str


class EventRecord(NamedTuple):
    """A logged event."""

    kind: str
    identity: str
    at: float  # when it was received, epoch seconds
    body: str


class ShadowRecord(NamedTuple):
    """A challenger's predictions for a logged request."""

    request_id: str
    at: float  # epoch seconds
    model_version: str
    probabilities: str  # a JSON list, in the order of the request's rows


PAGE_ROWS = 1000  # rows read per query
# `serial` is a number that the database assigns, `number` one that the insert provides.
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    number {serial}, request_id TEXT NOT NULL UNIQUE, at DOUBLE PRECISION NOT NULL,
    model_version TEXT NOT NULL, event_offset BIGINT NOT NULL, microseconds BIGINT NOT NULL,
    request TEXT NOT NULL, answer TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    number {number}, kind TEXT NOT NULL, identity TEXT NOT NULL, at DOUBLE PRECISION NOT NULL,
    body TEXT NOT NULL, UNIQUE (kind, identity)
);
CREATE TABLE IF NOT EXISTS shadows (
    number {serial}, request_id TEXT NOT NULL, at DOUBLE PRECISION NOT NULL, model_version TEXT NOT NULL,
    probabilities TEXT NOT NULL
);
"""
MIGRATION_FROM_0_2 = "ALTER TABLE answers RENAME COLUMN heard TO event_offset"


class Store(ABC):
    """A database of answers and events; their numbers follow the order of commits."""

    remote: bool  # whether calls use the network
    _held: Any = None  # the open connection

    def write_answers(self, answers: Sequence[PredictionRecord]) -> None:
        """Insert answers in one transaction; those already there are skipped."""
        self._insert("answers", PredictionRecord, answers)

    def write_shadows(self, shadows: Sequence[ShadowRecord]) -> None:
        """Insert a challenger's predictions."""
        self._insert("shadows", ShadowRecord, shadows)

    @abstractmethod
    def count_answers(self) -> int:
        """Count the answers."""

    @abstractmethod
    def write_events(self, events: Sequence[EventRecord]) -> list[int | None]:
        """Insert events in one transaction; return their numbers, None for a known identity."""

    @abstractmethod
    def _insert(self, table: str, record: type[Any], rows: Sequence[Sequence[Any]]) -> None:
        """Insert records into a table in one transaction; those already there are skipped."""

    @abstractmethod
    def _rows(self, table: str, columns: Sequence[str], after: int) -> Iterator[Any]:
        """Yield number and columns of the committed rows above a number, in order."""

    def checkpoint(self) -> None:  # noqa: B027 (a database server does it itself)
        """Move commits from the write-ahead log into the database file; called from a thread."""

    async def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function that uses the database: in a thread if the database is remote."""
        return await asyncio.to_thread(function, *arguments) if self.remote else function(*arguments)

    def shadows(self, after: int = 0) -> Iterator[tuple[int, ShadowRecord]]:
        """Yield a challenger's predictions with their numbers, in the order they were written."""
        for number, *columns in self._rows("shadows", ShadowRecord._fields, after):
            yield number, ShadowRecord(*columns)

    def answers(self, after: int = 0) -> Iterator[tuple[int, PredictionRecord]]:
        """Yield answers with their numbers, in the order they were written."""
        for number, *columns in self._rows("answers", PredictionRecord._fields, after):
            yield number, PredictionRecord(*columns)

    def events(self, after: int = 0) -> Iterator[tuple[int, str, str]]:
        """Yield number, kind and body of events, in the order they were written."""
        yield from self._rows("events", ("kind", "body"), after)

    def close(self) -> None:
        """Close the connection; the next use reopens it."""
        held, self._held = self._held, None
        if held is not None:
            held.close()

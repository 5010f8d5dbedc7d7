"""What the service keeps, and what a database of it must do."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class PredictionRecord(NamedTuple):
    """A request and its answer, as they came and went."""

    request_id: str
    at: float  # epoch seconds
    model_version: str
    event_offset: int  # of the last event that the features had seen: with the artifact it rebuilds them
    microseconds: int  # from decoding to encoding
    request: str
    answer: str


class EventRecord(NamedTuple):
    """An event as it came."""

    kind: str
    identity: str
    at: float  # when it came, epoch seconds
    body: str


class Shadowed(NamedTuple):
    """What a challenger would have answered to a request."""

    request_id: str
    at: float  # epoch seconds
    model_version: str
    probabilities: str  # a JSON list, in the order of the request's rows


PAGE_ROWS = 1000  # that are read at once
# `serial` is a number that the database gives, `number` one that it is given.
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
    """A database of answers and events; numbers grow in the order of commits."""

    remote: bool  # whether a call waits for a network
    _held: Any = None  # the connection that is open

    def write_answers(self, answers: Sequence[PredictionRecord]) -> None:
        """Add answers, all or none; those that are there already are left."""
        self._insert("answers", PredictionRecord, answers)

    def write_shadows(self, shadows: Sequence[Shadowed]) -> None:
        """Add a challenger's answers."""
        self._insert("shadows", Shadowed, shadows)

    @abstractmethod
    def write_events(self, events: Sequence[EventRecord]) -> list[int | None]:
        """Add events, all or none, and number them; no number for one whose identity is there already."""

    @abstractmethod
    def _insert(self, table: str, record: type[Any], rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to a table whose columns are a record's fields, all or none, but for those that it has."""

    @abstractmethod
    def _rows(self, table: str, columns: Sequence[str], after: int) -> Iterator[Any]:
        """Number and columns of a table's rows that are committed, above a number and in their order."""

    def checkpoint(self) -> None:  # noqa: B027 (a server sees to it itself)
        """Move what has been committed to where it stays; called from a thread."""

    async def call(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Call what uses the database: where that waits for a network, from a thread."""
        return (
            await asyncio.to_thread(function, *args, **kwargs) if self.remote else function(*args, **kwargs)
        )

    def shadows(self, after: int = 0) -> Iterator[tuple[int, Shadowed]]:
        """A challenger's answers in the order they were written, with their numbers."""
        for number, *columns in self._rows("shadows", Shadowed._fields, after):
            yield number, Shadowed(*columns)

    def answers(self, after: int = 0) -> Iterator[tuple[int, PredictionRecord]]:
        """Answers in the order they were written, with their numbers."""
        for number, *columns in self._rows("answers", PredictionRecord._fields, after):
            yield number, PredictionRecord(*columns)

    def events(self, after: int = 0) -> Iterator[tuple[int, str, str]]:
        """Number, kind and body of events in the order they were written."""
        yield from self._rows("events", ("kind", "body"), after)

    def close(self) -> None:
        """Give back what is open."""
        held, self._held = self._held, None
        if held is not None:
            held.close()

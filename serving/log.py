"""What the service has answered and what it was told: in the database before the answer leaves."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from core.contract import Contract
from core.errors import UserError
from serving.schema import Answer, Record


class Answered(NamedTuple):
    """A request and its answer, as they came and went."""

    request_id: str
    at: float  # epoch seconds
    model_version: str
    heard: int  # number of the last event that the features had seen: with the artifact it rebuilds them
    microseconds: int  # from decoding to encoding
    request: str
    answer: str


class Told(NamedTuple):
    """An event as it came."""

    kind: str
    identity: str
    at: float  # when it came, epoch seconds
    body: str


class Store(Protocol):
    """A database of answers and events."""

    def write_answers(self, answers: Sequence[Answered]) -> None:
        """Add answers, all or none; those that are there already are left."""
        ...

    def write_events(self, events: Sequence[Told]) -> list[int | None]:
        """Add events, all or none, and number them; no number for one whose identity is there already."""
        ...

    def answers(self, after: int = 0) -> Iterator[tuple[int, Answered]]:
        """Answers in the order they were written, with their numbers."""
        ...

    def events(self, after: int = 0) -> Iterator[tuple[int, str, str]]:
        """Number, kind and body of events in the order they were told."""
        ...

    def tidy(self) -> None:
        """Housekeeping that may take a moment; called from another thread now and then."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...


SQLITE = """
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, at REAL NOT NULL,
    model_version TEXT NOT NULL, heard INTEGER NOT NULL, microseconds INTEGER NOT NULL,
    request TEXT NOT NULL, answer TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, identity TEXT NOT NULL, at REAL NOT NULL,
    body TEXT NOT NULL, UNIQUE (kind, identity)
);
"""
_ANSWERS = "request_id, at, model_version, heard, microseconds, request, answer"
_PAGE = 1000


class SqliteStore:
    """A file. Commits outlive a killed process; a power cut may take the last ones."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._path = path
            self._connection = self._open()
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(SQLITE)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"The database {path} cannot be opened: {error}. Mend or move it.") from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=5, check_same_thread=False)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")  # done by `tidy`, off the hot path
        return connection

    def write_answers(self, answers: Sequence[Answered]) -> None:
        """See `Store`."""
        with _Transaction(self._connection) as execute:
            execute.executemany(f"INSERT OR IGNORE INTO answers ({_ANSWERS}) VALUES (?,?,?,?,?,?,?)", answers)  # noqa: S608

    def write_events(self, events: Sequence[Told]) -> list[int | None]:
        """See `Store`."""
        with _Transaction(self._connection) as connection:
            (last,) = connection.execute("SELECT COALESCE(MAX(number), 0) FROM events").fetchone()
            insert = "INSERT OR IGNORE INTO events (kind, identity, at, body) VALUES (?,?,?,?)"
            if connection.executemany(insert, events).rowcount == len(events):
                return list(range(last + 1, last + 1 + len(events)))
            added = connection.execute(
                "SELECT kind, identity, number FROM events WHERE number > ?", (last,)
            ).fetchall()
        numbers = {(kind, identity): number for kind, identity, number in added}
        return [numbers.pop((event.kind, event.identity), None) for event in events]

    def answers(self, after: int = 0) -> Iterator[tuple[int, Answered]]:
        """See `Store`."""
        page = f"SELECT number, {_ANSWERS} FROM answers WHERE number > ? ORDER BY number LIMIT {_PAGE}"  # noqa: S608
        for number, *rest in self._pages(page, after):
            yield number, Answered(*rest)

    def events(self, after: int = 0) -> Iterator[tuple[int, str, str]]:
        """See `Store`."""
        page = f"SELECT number, kind, body FROM events WHERE number > ? ORDER BY number LIMIT {_PAGE}"  # noqa: S608
        yield from self._pages(page, after)

    def _pages(self, query: str, after: int) -> Iterator[Any]:
        while rows := self._connection.execute(query, (after,)).fetchall():
            yield from rows
            after = rows[-1][0]

    def tidy(self) -> None:
        """See `Store`."""
        connection = self._open()
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.close()

    def close(self) -> None:
        """See `Store`."""
        self._connection.close()


class _Transaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: object, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def open_store(url: str) -> Store:
    """The database that a URL names.

    Raises:
        UserError: for a URL of no known kind, or a database that cannot be opened.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/"):
        return SqliteStore(Path(rest[1:]))
    raise UserError(f"The database URL {url!r} is of no known kind: sqlite:///file is.")


class GroupCommit:
    """Answers that are ready in the same turn of the event loop share one commit."""

    def __init__(self, write: Callable[[Sequence[Answered]], None]) -> None:
        self._write = write
        self._answers: list[Answered] = []
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, answer: Answered) -> asyncio.Future[None]:
        """Take an answer; the future is done when it is in the database."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._commit)
        done: asyncio.Future[None] = loop.create_future()
        self._answers.append(answer)
        self._waiting.append(done)
        return done

    def _commit(self) -> None:
        answers, waiting = self._answers, self._waiting
        self._answers, self._waiting = [], []
        failed: Exception | None = None
        try:
            self._write(answers)
        except Exception as error:  # noqa: BLE001 (whatever it is, the waiting requests must hear of it)
            failed = error
        for done in waiting:
            if done.done():
                continue  # its request was cancelled
            if failed is None:
                done.set_result(None)
            else:
                done.set_exception(failed)


def predictions(store: Store, contract: Contract, after: int = 0) -> Iterator[dict[str, Any]]:
    """Each logged row's inputs (timestamps as epoch seconds) with what was predicted, when and by what."""
    record = Record("Row", contract.columns)
    one = msgspec.json.Decoder(record.type)
    many = msgspec.json.Decoder(dict[str, list[record.type]])  # type: ignore[name-defined]
    read = msgspec.json.Decoder(Answer)
    for number, logged in store.answers(after):
        answer = read.decode(logged.answer)
        text = logged.request
        rows: Iterable[Any]
        try:
            rows = many.decode(text)["rows"]
        except msgspec.ValidationError:
            rows = [one.decode(text)]
        for place, (row, prediction) in enumerate(zip(rows, answer.predictions, strict=True)):
            yield {
                "number": number,
                "request_id": logged.request_id,
                "row_number": place,
                "answered_at": logged.at,
                "model_version": logged.model_version,
                "probability": prediction.probability,
                "decision": prediction.decision,
                **record.plain(row),
            }

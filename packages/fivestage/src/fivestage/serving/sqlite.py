"""The log in a file."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fivestage.common.errors import UserError
from fivestage.serving.store import EventRecord, PredictionRecord, Shadowed

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, at REAL NOT NULL,
    model_version TEXT NOT NULL, heard INTEGER NOT NULL, microseconds INTEGER NOT NULL,
    request TEXT NOT NULL, answer TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, identity TEXT NOT NULL, at REAL NOT NULL,
    body TEXT NOT NULL, UNIQUE (kind, identity)
);
CREATE TABLE IF NOT EXISTS shadows (
    number INTEGER PRIMARY KEY, request_id TEXT NOT NULL, at REAL NOT NULL, model_version TEXT NOT NULL,
    probabilities TEXT NOT NULL
);
"""
PATIENCE = 0.25  # seconds for another process to finish its commit
PAUSE = 0.0001  # seconds before trying again; a commit takes about that, and SQLite itself waits ten times it
_ANSWERS = "request_id, at, model_version, heard, microseconds, request, answer"
_SHADOWS = "request_id, at, model_version, probabilities"
_PAGE = 1000


class SqliteStore:
    """A file. Commits outlive a killed process; a power cut may take the last ones."""

    remote = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"The database {path} cannot be opened: {error}. Mend or move it.") from error

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._held is None:
            self._held = self._open()
        return self._held

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=PATIENCE, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA busy_timeout=0")
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; after a failure the file is opened anew."""
        connection = self._connection
        try:
            _patiently(connection, "BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            self.close()
            raise

    def write_answers(self, answers: Sequence[PredictionRecord]) -> None:
        """See `Store`."""
        with self._transaction() as connection:
            insert = f"INSERT OR IGNORE INTO answers ({_ANSWERS}) VALUES (?,?,?,?,?,?,?)"  # noqa: S608
            connection.executemany(insert, answers)

    def write_events(self, events: Sequence[EventRecord]) -> list[int | None]:
        """See `Store`."""
        with self._transaction() as connection:
            (last,) = connection.execute("SELECT COALESCE(MAX(number), 0) FROM events").fetchone()
            insert = "INSERT OR IGNORE INTO events (kind, identity, at, body) VALUES (?,?,?,?)"
            if connection.executemany(insert, events).rowcount == len(events):
                return list(range(last + 1, last + 1 + len(events)))
            added = connection.execute(
                "SELECT kind, identity, number FROM events WHERE number > ?", (last,)
            ).fetchall()
        numbers = {(kind, identity): number for kind, identity, number in added}
        return [numbers.pop((event.kind, event.identity), None) for event in events]

    def write_shadows(self, shadows: Sequence[Shadowed]) -> None:
        """See `Store`."""
        with self._transaction() as connection:
            connection.executemany(f"INSERT INTO shadows ({_SHADOWS}) VALUES (?,?,?,?)", shadows)  # noqa: S608

    def shadows(self, after: int = 0) -> Iterator[tuple[int, Shadowed]]:
        """See `Store`."""
        page = f"SELECT number, {_SHADOWS} FROM shadows WHERE number > ? ORDER BY number LIMIT {_PAGE}"  # noqa: S608
        for number, *rest in self._pages(page, after):
            yield number, Shadowed(*rest)

    def answers(self, after: int = 0) -> Iterator[tuple[int, PredictionRecord]]:
        """See `Store`."""
        page = f"SELECT number, {_ANSWERS} FROM answers WHERE number > ? ORDER BY number LIMIT {_PAGE}"  # noqa: S608
        for number, *rest in self._pages(page, after):
            yield number, PredictionRecord(*rest)

    def events(self, after: int = 0) -> Iterator[tuple[int, str, str]]:
        """See `Store`."""
        page = f"SELECT number, kind, body FROM events WHERE number > ? ORDER BY number LIMIT {_PAGE}"  # noqa: S608
        yield from self._pages(page, after)

    def _pages(self, query: str, after: int) -> Iterator[Any]:
        while rows := _patiently(self._connection, query, (after,)).fetchall():
            yield from rows
            after = rows[-1][0]

    def close(self) -> None:
        """See `Store`."""
        held, self._held = self._held, None
        if held is not None:
            held.close()


def _patiently(connection: sqlite3.Connection, statement: str, given: Sequence[Any] = ()) -> sqlite3.Cursor:
    """Execute a statement once other processes let us."""
    until = 0.0
    while True:
        try:
            return connection.execute(statement, given)
        except sqlite3.OperationalError as error:
            now = time.monotonic()
            until = until or now + PATIENCE
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or now > until:
                raise
            time.sleep(PAUSE)

"""The prediction log in an SQLite file."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from fivestage.common.errors import UserError
from fivestage.serving.store import (
    MIGRATION_FROM_0_2,
    PAGE_ROWS,
    SCHEMA,
    EventRecord,
    PredictionRecord,
    Store,
)

BUSY_TIMEOUT = 0.25  # seconds to wait for another process to finish its commit
# Sizes of the write-ahead log in pages of 4 KiB. A restart slows a commit by milliseconds, so it is rare.
LONG_LOG = 8_000  # from here on it is restarted after a checkpoint
LONGEST_LOG = 16_000  # from here on a commit runs a checkpoint itself, if the background task comes too late
CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"


class SqliteStore(Store):
    """An SQLite file. Commits survive a crash of the process; a power cut may lose the last ones."""

    remote = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_long = False  # whether to restart the write-ahead log
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            key = "INTEGER PRIMARY KEY"
            self._connection.executescript(SCHEMA.format(serial=key, number=key))
            with self._transaction() as connection:
                columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(answers)")]
                if "heard" in columns:
                    connection.execute(MIGRATION_FROM_0_2)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"The database {path} cannot be opened: {error}. Fix or move it.") from error

    @property
    def _connection(self) -> sqlite3.Connection:
        held: sqlite3.Connection = self._held or self._open()
        self._held = held
        return held

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=BUSY_TIMEOUT, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={LONGEST_LOG}")
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction; after a failure the next one reopens the file."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
            if self._is_long:
                # SQLite restarts the log once all of it is checkpointed: checkpoint the few pages left.
                self._is_long = False
                connection.execute(CHECKPOINT)
        except BaseException:
            self.close()
            raise

    def write_events(self, events: Sequence[EventRecord]) -> list[int | None]:
        """See `Store`."""
        insert = "INSERT OR IGNORE INTO events (kind, identity, at, body) VALUES (?,?,?,?)"
        with self._transaction() as connection:
            written = (connection.execute(insert, event) for event in events)
            return [one.lastrowid if one.rowcount else None for one in written]

    def _insert(self, table: str, record: type[Any], rows: Sequence[Sequence[Any]]) -> None:
        columns, values = ", ".join(record._fields), ", ".join("?" * len(record._fields))
        with self._transaction() as connection:
            connection.executemany(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({values})", rows)  # noqa: S608

    def checkpoint(self) -> None:
        """See `Store`; uses another connection, so that commits do not wait for the disk."""
        with closing(sqlite3.connect(self._path, timeout=0)) as connection:
            _, pages, _ = connection.execute(CHECKPOINT).fetchone()
        self._is_long = pages > LONG_LOG

    def count_answers(self) -> int:
        """See `Store`."""
        return int(self._connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    def delete_answers(self, answers: Sequence[PredictionRecord]) -> None:
        """Delete answers by their request identifiers: an empty table assigns the same numbers again."""
        with self._transaction() as connection:
            connection.executemany(
                "DELETE FROM answers WHERE request_id = ?", [(one.request_id,) for one in answers]
            )

    def _rows(self, table: str, columns: Sequence[str], after: int) -> Iterator[Any]:
        query = f"SELECT number, {', '.join(columns)} FROM {table} WHERE number > ?"  # noqa: S608
        page = f"{query} ORDER BY number LIMIT {PAGE_ROWS}"
        while rows := self._connection.execute(page, (after,)).fetchall():
            yield from rows
            after = rows[-1][0]

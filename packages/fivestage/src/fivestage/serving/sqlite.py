"""The log in a file."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from fivestage.common.errors import UserError
from fivestage.serving.store import MIGRATION_FROM_0_2, PAGE_ROWS, SCHEMA, EventRecord, Store

PATIENCE = 0.25  # seconds for another process to finish its commit
# Pages of 4 KiB in the write-ahead log. To begin it anew takes a commit some milliseconds: rarely, then.
LONG_LOG = 8_000  # from which on it is begun anew after a checkpoint
LONGEST_LOG = 16_000  # from which on a commit does all of a checkpoint, as when none comes in time
CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"


class SqliteStore(Store):
    """A file. Commits outlive a killed process; a power cut may take the last ones."""

    remote = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_long = False  # whether the write-ahead log is to begin anew
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            key = "INTEGER PRIMARY KEY"
            self._connection.executescript(SCHEMA.format(serial=key, number=key))
            with self._transaction() as connection:
                columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(answers)")]
                if "heard" in columns:
                    connection.execute(MIGRATION_FROM_0_2)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"The database {path} cannot be opened: {error}. Mend or move it.") from error

    @property
    def _connection(self) -> sqlite3.Connection:
        held: sqlite3.Connection = self._held or self._open()
        self._held = held
        return held

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=PATIENCE, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={LONGEST_LOG}")
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; after a failure the file is opened anew."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
            if self._is_long:
                # The log begins anew once nothing is left in it: this moves the little since the checkpoint.
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
        columns, marks = ", ".join(record._fields), ", ".join("?" * len(record._fields))
        with self._transaction() as connection:
            connection.executemany(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608

    def checkpoint(self) -> None:
        """See `Store`; commits go on meanwhile on another connection, and need not wait for the disk."""
        with closing(sqlite3.connect(self._path, timeout=0)) as connection:
            _, pages, _ = connection.execute(CHECKPOINT).fetchone()
        self._is_long = pages > LONG_LOG

    def count_answers(self) -> int:
        """How many answers there are."""
        return int(self._connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    def delete_answers(self, up_to: int) -> None:
        """Forget answers, up to a number."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM answers WHERE number <= ?", (up_to,))

    def _rows(self, table: str, columns: Sequence[str], after: int) -> Iterator[Any]:
        found = f"SELECT number, {', '.join(columns)} FROM {table} WHERE number > ?"  # noqa: S608
        page = f"{found} ORDER BY number LIMIT {PAGE_ROWS}"
        while rows := self._connection.execute(page, (after,)).fetchall():
            yield from rows
            after = rows[-1][0]

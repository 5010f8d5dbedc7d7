"""The prediction log in Postgres, shared by replicas."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from fivestage.common.errors import UserError
from fivestage.serving.store import MIGRATION_FROM_0_2, PAGE_ROWS, SCHEMA, EventRecord, Store

_SERIAL = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
_NUMBER = "BIGINT PRIMARY KEY"
_MISSING = """
SELECT name FROM unnest(ARRAY['answers', 'events', 'shadows']) AS name WHERE to_regclass(name) IS NULL
"""
_NEEDS_MIGRATION = "SELECT FROM pg_attribute WHERE attrelid = to_regclass('answers') AND attname = 'heard'"
# Only one transaction writes events at a time, so their numbers have no gaps and follow the order of commits.
_LOCK_EVENTS = "SELECT pg_advisory_xact_lock(5071)"
_ARRAYS = {str: "%s::text[]", float: "%s::float8[]", int: "%s::int8[]"}  # placeholder for a column, by type
_ADD_EVENT = """
INSERT INTO events (number, kind, identity, at, body)
SELECT COALESCE(MAX(number), 0) + 1, %s, %s, %s, %s FROM events
ON CONFLICT (kind, identity) DO NOTHING RETURNING number
"""
# How long until a silent database counts as unreachable: in seconds, tcp_user_timeout in milliseconds.
_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 3000,
}
_LOCK_TIMEOUT = "SET lock_timeout = '3s'"  # a locked table counts as unreachable too


class PostgresStore(Store):
    """A Postgres database; threads use its one connection in turn."""

    remote = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.RLock()
        try:
            with self._transaction() as connection:
                connection.execute(_LOCK_EVENTS)
                if connection.execute(_MISSING).fetchall():  # an account without CREATE works if they exist
                    connection.execute(SCHEMA.format(serial=_SERIAL, number=_NUMBER))
                if connection.execute(_NEEDS_MIGRATION).fetchall():
                    connection.execute(MIGRATION_FROM_0_2)
        except psycopg.Error as error:
            raise UserError(f"The database cannot be opened: {error}. Start it, or fix its URL.") from error

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """Run a transaction; after a failure the next one reconnects."""
        with self._lock:
            try:
                if self._held is None:
                    # Set explicitly, as psycopg returns bytes for a database with the encoding SQL_ASCII.
                    options = {"client_encoding": "utf8"} | _TIMEOUTS
                    self._held = psycopg.connect(self._url, autocommit=True, **options)
                    self._held.execute(_LOCK_TIMEOUT)
                with self._held.transaction():
                    yield self._held
            except BaseException:
                self.close()
                raise

    def write_events(self, events: Sequence[EventRecord]) -> list[int | None]:
        """See `Store`."""
        with self._transaction() as connection:
            connection.execute(_LOCK_EVENTS)
            cursor = connection.cursor()
            cursor.executemany(_ADD_EVENT, events, returning=True)
            return [(one.fetchone() or (None,))[0] for one in cursor.results()]

    def _insert(self, table: str, record: type[Any], rows: Sequence[Sequence[Any]]) -> None:
        arrays = ", ".join(_ARRAYS[kind] for kind in record.__annotations__.values())
        insert = f"INSERT INTO {table} ({', '.join(record._fields)}) SELECT * FROM unnest({arrays})"  # noqa: S608
        with self._transaction() as connection:
            connection.execute(
                f"{insert} ON CONFLICT DO NOTHING", [list(column) for column in zip(*rows, strict=True)]
            )

    def count_answers(self) -> int:
        """See `Store`."""
        with self._transaction() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM answers").fetchall()[0][0])

    def _rows(self, table: str, columns: Sequence[str], after: int) -> Iterator[Any]:
        query = f"SELECT number, {', '.join(columns)} FROM {table} WHERE number > %s"  # noqa: S608
        if table != "events":  # whose numbers already follow the order of commits
            with self._transaction() as connection:
                # Wait for open transactions: one of them may commit a lower number.
                connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
                (last,) = connection.execute(f"SELECT COALESCE(MAX(number), 0) FROM {table}").fetchall()[0]  # noqa: S608
            query = f"{query} AND number <= {last}"
        while True:
            with self._transaction() as connection:
                rows = connection.execute(f"{query} ORDER BY number LIMIT {PAGE_ROWS}", (after,)).fetchall()
            if not rows:
                return
            yield from rows
            after = rows[-1][0]

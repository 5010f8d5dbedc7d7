"""The log in Postgres, shared by replicas."""

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
_OLD = "SELECT FROM pg_attribute WHERE attrelid = to_regclass('answers') AND attname = 'heard'"
# One writer of events at a time, so that their numbers have no gaps and grow in the order of commits.
_TURN = "SELECT pg_advisory_xact_lock(5071)"
_ARRAYS = {str: "%s::text[]", float: "%s::float8[]", int: "%s::int8[]"}  # of a column, by its field's type
_ADD_EVENT = """
INSERT INTO events (number, kind, identity, at, body)
SELECT COALESCE(MAX(number), 0) + 1, %s, %s, %s, %s FROM events
ON CONFLICT (kind, identity) DO NOTHING RETURNING number
"""
# Until a database that is silent counts as away: seconds, and of the last one milliseconds.
_PATIENCE: dict[str, Any] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 3000,
}


class PostgresStore(Store):
    """A database over the network; used by several threads, one at a time."""

    remote = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.RLock()
        try:
            with self._transaction() as connection:
                connection.execute(_TURN)
                if connection.execute(_MISSING).fetchall():  # else an account that may make no tables will do
                    connection.execute(SCHEMA.format(serial=_SERIAL, number=_NUMBER))
                if connection.execute(_OLD).fetchall():
                    connection.execute(MIGRATION_FROM_0_2)
        except psycopg.Error as error:
            raise UserError(f"The database cannot be opened: {error}. Start it, or mend its URL.") from error

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """All or nothing; after a failure the connection is made anew."""
        with self._lock:
            try:
                if self._held is None:
                    # Named, as a database of the encoding SQL_ASCII would otherwise answer in bytes.
                    asked = {"client_encoding": "utf8"} | _PATIENCE
                    self._held = psycopg.connect(self._url, autocommit=True, **asked)
                with self._held.transaction():
                    yield self._held
            except BaseException:
                self.close()
                raise

    def write_events(self, events: Sequence[EventRecord]) -> list[int | None]:
        """See `Store`."""
        with self._transaction() as connection:
            connection.execute(_TURN)
            cursor = connection.cursor()
            cursor.executemany(_ADD_EVENT, events, returning=True)
            return [(one.fetchone() or (None,))[0] for one in cursor.results()]

    def _insert(self, table: str, record: type[Any], rows: Sequence[Sequence[Any]]) -> None:
        arrays = ", ".join(_ARRAYS[kind] for kind in record.__annotations__.values())
        given = f"INSERT INTO {table} ({', '.join(record._fields)}) SELECT * FROM unnest({arrays})"  # noqa: S608
        with self._transaction() as connection:
            connection.execute(
                f"{given} ON CONFLICT DO NOTHING", [list(column) for column in zip(*rows, strict=True)]
            )

    def _rows(self, table: str, columns: Sequence[str], after: int) -> Iterator[Any]:
        query = f"SELECT number, {', '.join(columns)} FROM {table} WHERE number > %s"  # noqa: S608
        if table != "events":  # whose numbers are given one writer after another
            with self._transaction() as connection:
                # Waits for the commits under way: a lower number may be in one of them.
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

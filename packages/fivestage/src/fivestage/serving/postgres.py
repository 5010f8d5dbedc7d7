"""The log in Postgres, shared by replicas."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from fivestage.common.errors import UserError
from fivestage.serving.store import EventRecord, PredictionRecord, Shadowed

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, request_id TEXT NOT NULL UNIQUE,
    at DOUBLE PRECISION NOT NULL, model_version TEXT NOT NULL, heard BIGINT NOT NULL,
    microseconds BIGINT NOT NULL, request TEXT NOT NULL, answer TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    number BIGINT PRIMARY KEY, kind TEXT NOT NULL, identity TEXT NOT NULL, at DOUBLE PRECISION NOT NULL,
    body TEXT NOT NULL, UNIQUE (kind, identity)
);
CREATE TABLE IF NOT EXISTS shadows (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, request_id TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL, model_version TEXT NOT NULL, probabilities TEXT NOT NULL
);
"""
_MISSING = """
SELECT name FROM unnest(ARRAY['answers', 'events', 'shadows']) AS name WHERE to_regclass(name) IS NULL
"""
# One writer of events at a time, so that their numbers have no gaps and grow in the order of commits.
_TURN = "SELECT pg_advisory_xact_lock(5071)"
_ANSWERS = "request_id, at, model_version, heard, microseconds, request, answer"
_ADD_ANSWERS = f"""
INSERT INTO answers ({_ANSWERS})
SELECT * FROM unnest(%s::text[], %s::float8[], %s::text[], %s::int8[], %s::int8[], %s::text[], %s::text[])
ON CONFLICT DO NOTHING
"""  # noqa: S608
_SHADOWS = "request_id, at, model_version, probabilities"
_ADD_SHADOWS = f"""
INSERT INTO shadows ({_SHADOWS}) SELECT * FROM unnest(%s::text[], %s::float8[], %s::text[], %s::text[])
"""  # noqa: S608
_ADD_EVENTS = """
WITH told AS (
    SELECT DISTINCT ON (kind, identity) * FROM unnest(%s::text[], %s::text[], %s::float8[], %s::text[])
    WITH ORDINALITY AS told (kind, identity, at, body, place) ORDER BY kind, identity, place
), fresh AS (
    SELECT told.*, row_number() OVER (ORDER BY place) + (SELECT COALESCE(MAX(number), 0) FROM events)
        AS number
    FROM told WHERE NOT EXISTS (
        SELECT FROM events WHERE events.kind = told.kind AND events.identity = told.identity
    )
), added AS (
    INSERT INTO events (number, kind, identity, at, body) SELECT number, kind, identity, at, body FROM fresh
)
SELECT place, number FROM fresh
"""
_PAGE = 1000
# Until a database that is silent counts as away: seconds, and of the last one milliseconds.
_PATIENCE: dict[str, Any] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 3000,
}


class PostgresStore:
    """A database over the network; used by several threads, one at a time."""

    remote = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.RLock()
        self._held: psycopg.Connection[Any] | None = None
        try:
            with self._transaction() as connection:
                connection.execute(_TURN)
                if connection.execute(_MISSING).fetchall():  # else an account that may make no tables will do
                    connection.execute(SCHEMA)
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

    def write_answers(self, answers: Sequence[PredictionRecord]) -> None:
        """See `Store`."""
        with self._transaction() as connection:
            connection.execute(_ADD_ANSWERS, [list(column) for column in zip(*answers, strict=True)])

    def write_events(self, events: Sequence[EventRecord]) -> list[int | None]:
        """See `Store`."""
        with self._transaction() as connection:
            connection.execute(_TURN)
            columns = [list(column) for column in zip(*events, strict=True)]
            numbers = dict(connection.execute(_ADD_EVENTS, columns).fetchall())
        return [numbers.get(place) for place in range(1, len(events) + 1)]

    def write_shadows(self, shadows: Sequence[Shadowed]) -> None:
        """See `Store`."""
        with self._transaction() as connection:
            connection.execute(_ADD_SHADOWS, [list(column) for column in zip(*shadows, strict=True)])

    def answers(self, after: int = 0) -> Iterator[tuple[int, PredictionRecord]]:
        """See `Store`."""
        for number, *rest in self._committed("answers", _ANSWERS, after):
            yield number, PredictionRecord(*rest)

    def shadows(self, after: int = 0) -> Iterator[tuple[int, Shadowed]]:
        """See `Store`."""
        for number, *rest in self._committed("shadows", _SHADOWS, after):
            yield number, Shadowed(*rest)

    def _committed(self, table: str, columns: str, after: int) -> Iterator[Any]:
        """Rows up to a number below which none is still to come."""
        with self._transaction() as connection:
            # Waits for the commits under way: a lower number may be in one of them.
            connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
            (last,) = connection.execute(f"SELECT COALESCE(MAX(number), 0) FROM {table}").fetchall()[0]  # noqa: S608
        page = f"SELECT number, {columns} FROM {table} WHERE number > %s AND number <= {last}"  # noqa: S608
        yield from self._pages(page, after)

    def events(self, after: int = 0) -> Iterator[tuple[int, str, str]]:
        """See `Store`."""
        yield from self._pages("SELECT number, kind, body FROM events WHERE number > %s", after)

    def _pages(self, query: str, after: int) -> Iterator[Any]:
        while True:
            with self._transaction() as connection:
                rows = connection.execute(f"{query} ORDER BY number LIMIT {_PAGE}", (after,)).fetchall()
            if not rows:
                return
            yield from rows
            after = rows[-1][0]

    def close(self) -> None:
        """See `Store`."""
        held, self._held = self._held, None
        if held is not None:
            held.close()

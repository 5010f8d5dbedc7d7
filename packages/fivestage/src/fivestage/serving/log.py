"""The prediction log: requests, predictions and events, written before the response is sent."""

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from fivestage.artifact.predictions import numbers_in
from fivestage.common.errors import UserError
from fivestage.contract.contract import CategoryColumn, Column, Contract, TimestampColumn
from fivestage.features.stores import MISSING
from fivestage.serving.decoders import converter
from fivestage.serving.store import Store


def open_store(url: str) -> Store:
    """Open the database of a URL: `sqlite:///file` or `postgresql://user@host/name`.

    Raises:
        UserError: If the URL is of another kind, or the database cannot be opened.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/"):
        from fivestage.serving.sqlite import SqliteStore

        return SqliteStore(Path(rest[1:]))
    if scheme in {"postgresql", "postgres"}:
        try:
            from fivestage.serving.postgres import PostgresStore
        except ImportError as error:
            raise UserError(
                f"{scheme}:// needs a driver that is not installed ({error}): pip install 'psycopg[binary]'."
            ) from error
        return PostgresStore(url)
    raise UserError(
        f"The database URL {url!r} is not supported: use sqlite:///file or postgresql://user@host/name."
    )


def predictions(store: Store, contract: Contract, after: int = 0) -> Iterator[dict[str, Any]]:
    """Yield each logged row: its inputs (timestamps in epoch seconds), prediction, time and model version.

    Inputs are read as the contract is now, which may have changed: those that it no longer has are left out,
    its limits do not apply, and values that are lacking or of another type are missing. A prediction is read
    as it was made, with the classes that its version had.
    """
    readers = {name: _reader(column) for name, column in contract.columns.items()}
    for number, logged in store.answers(after):
        answer, request = msgspec.json.decode(logged.answer), msgspec.json.decode(logged.request)
        rows = request["rows"] if isinstance(request.get("rows"), list) else [request]
        for place, (row, prediction) in enumerate(zip(rows, answer["predictions"], strict=True)):
            yield {
                "number": number,
                "request_id": logged.request_id,
                "place": place,
                "answered_at": logged.at,
                "model_version": logged.model_version,
                "forecast": numbers_in(prediction),
                "decision": prediction["decision"],
                **{name: read(row.get(name)) for name, read in readers.items()},
            }


def _reader(column: Column) -> Callable[[Any], Any]:
    """Return the conversion of a column's logged values, as for requests but without limits."""
    kind: Any = {CategoryColumn: str, TimestampColumn: datetime}.get(type(column), float)
    convert = _epoch_seconds if kind is datetime else converter(column)

    def read(value: Any) -> Any:
        try:
            return convert(msgspec.convert(value, kind))
        except ValueError:
            return "" if kind is str else MISSING

    return read


def _epoch_seconds(timestamp: datetime) -> int:
    return math.floor(timestamp.timestamp())


def count_requests(database: str) -> int:
    """Return the number of requests in the log."""
    with closing(open_store(database)) as store:
        return store.count_answers()


def first_decision(database: str, contract: Contract, since: int) -> int | None:
    """Return the earliest logged decision time that is not before `since`, in epoch seconds."""
    lead, time_column = contract.decision.lead_seconds, contract.decision.time_column
    with closing(open_store(database)) as store:
        decided_at = (row[time_column] - lead for row in predictions(store, contract))
        return min((time for time in decided_at if time >= since), default=None)

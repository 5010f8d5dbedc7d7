"""The prediction log: requests, predictions and events, written before the response is sent."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from fivestage.artifact.predictions import form_of
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.serving.decoders import Record
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

    A column that the contract has got since is missing, and one that it no longer has is left out.
    """
    columns = {name: one.model_copy(update={"nullable": True}) for name, one in contract.columns.items()}
    record = Record("Row", columns, strict=False)
    one = msgspec.json.Decoder(record.type)
    many = msgspec.json.Decoder(dict[str, list[record.type]])  # type: ignore[name-defined]
    form = form_of(contract)
    read: Any = msgspec.json.Decoder(form.answer)
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
                "place": place,
                "answered_at": logged.at,
                "model_version": logged.model_version,
                "forecast": form.forecast(prediction),
                "decision": prediction.decision,
                **record.plain(row),
            }


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

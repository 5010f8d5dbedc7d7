"""What the service has answered and what it was told: in the database before the answer leaves."""

from collections.abc import Iterable, Iterator, Sequence
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


class Shadowed(NamedTuple):
    """What a challenger would have answered to a request."""

    request_id: str
    at: float  # epoch seconds
    model_version: str
    probabilities: str  # a JSON list, in the order of the request's rows


class Store(Protocol):
    """A database of answers and events; numbers grow in the order of commits."""

    remote: bool  # whether a call waits for a network

    def write_answers(self, answers: Sequence[Answered]) -> None:
        """Add answers, all or none; those that are there already are left."""
        ...

    def write_events(self, events: Sequence[Told]) -> list[int | None]:
        """Add events, all or none, and number them; no number for one whose identity is there already."""
        ...

    def write_shadows(self, shadows: Sequence[Shadowed]) -> None:
        """Add a challenger's answers."""
        ...

    def shadows(self, after: int = 0) -> Iterator[tuple[int, Shadowed]]:
        """A challenger's answers in the order they were written, with their numbers."""
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


def open_store(url: str) -> Store:
    """The database that a URL names: `sqlite:///file`, or `postgresql://user@host/name`.

    Raises:
        UserError: for a URL of no known kind, or a database that cannot be opened.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/"):
        from serving.sqlite import SqliteStore

        return SqliteStore(Path(rest[1:]))
    if scheme in {"postgresql", "postgres"}:
        try:
            from serving.postgres import PostgresStore
        except ImportError as error:
            raise UserError(
                f"{scheme}:// needs a driver that is not installed ({error}): pip install 'psycopg[binary]'."
            ) from error
        return PostgresStore(url)
    raise UserError(
        f"The database URL {url!r} is of no known kind: sqlite:///file and postgresql://user@host/name are."
    )


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

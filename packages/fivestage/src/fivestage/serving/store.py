"""What the service keeps, and what a database of it must do."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class PredictionRecord(NamedTuple):
    """A request and its answer, as they came and went."""

    request_id: str
    at: float  # epoch seconds
    model_version: str
    heard: int  # number of the last event that the features had seen: with the artifact it rebuilds them
    microseconds: int  # from decoding to encoding
    request: str
    answer: str


class EventRecord(NamedTuple):
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

    def write_answers(self, answers: Sequence[PredictionRecord]) -> None:
        """Add answers, all or none; those that are there already are left."""
        ...

    def write_events(self, events: Sequence[EventRecord]) -> list[int | None]:
        """Add events, all or none, and number them; no number for one whose identity is there already."""
        ...

    def write_shadows(self, shadows: Sequence[Shadowed]) -> None:
        """Add a challenger's answers."""
        ...

    def shadows(self, after: int = 0) -> Iterator[tuple[int, Shadowed]]:
        """A challenger's answers in the order they were written, with their numbers."""
        ...

    def answers(self, after: int = 0) -> Iterator[tuple[int, PredictionRecord]]:
        """Answers in the order they were written, with their numbers."""
        ...

    def events(self, after: int = 0) -> Iterator[tuple[int, str, str]]:
        """Number, kind and body of events in the order they were told."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...

"""What a client is told when something is wrong: problem details (RFC 9457)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

MEDIA_TYPE = "application/problem+json"


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong with the request; rows count from 0."""

    detail: str
    row: int | None = None
    field: str | None = None


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an answer that refuses."""

    title: str
    status: int
    detail: str
    errors: Sequence[Fault] = ()
    error: str = ""  # the detail once more, where clients of the Open Inference Protocol look for it


@dataclass
class ProblemError(Exception):
    """A request that is not answered, and why."""

    status: int
    detail: str
    errors: Sequence[Fault] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the status means."""
        return HTTPStatus(self.status).phrase

    @property
    def body(self) -> bytes:
        """The problem details as JSON."""
        return self.told()

    def told(self, path: str = "") -> bytes:
        """The problem details as JSON, for a client of a path."""
        error = self.detail if path.startswith("/v2/") else ""
        return msgspec.json.encode(ProblemDetails(self.title, self.status, self.detail, self.errors, error))


def schema() -> dict[str, Any]:
    """The JSON schemas of a problem, by name."""
    return msgspec.json.schema_components([ProblemDetails], ref_template="#/components/schemas/{name}")[1]

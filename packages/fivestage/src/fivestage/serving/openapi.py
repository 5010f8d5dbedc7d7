"""The message types that decode requests, as the OpenAPI document of a FastAPI application shows them."""

from collections.abc import Iterable
from typing import Any

import msgspec

from fivestage.serving.decoders import REFERENCE, Intake
from fivestage.serving.problems import MEDIA_TYPE, ProblemDetails

Json = dict[str, Any]
REASONS = {
    400: "Not JSON",
    401: "No valid API key, where one is asked for",
    403: "Sent by a page of another site",
    404: "Not found",
    409: "Refused",
    413: "Too large",
    415: "Of another content type",
    422: "Not what the contract says",
    429: "Too many requests",
    503: "Not ready, or too busy",
}
GUARDED = (401, 403, 429, 503)  # what `Admission` answers
OF_BODY = (400, 413, 415, 422)


def messages(intake: Intake, answer: type[msgspec.Struct]) -> dict[str, Any]:
    """Options of a route that reads requests by an intake: how the document shows both messages."""
    examples = {"many": {"value": {intake.plural: intake.examples}}, "one": {"value": intake.examples[0]}}
    content = {"application/json": {"schema": intake.schema(), "examples": examples}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
        "responses": {200: answered(answer), **refusals(*OF_BODY)},
    }


def answered(message: type[msgspec.Struct]) -> Json:
    """The OpenAPI response object of a message."""
    schema = {"$ref": REFERENCE.format(name=message.__name__)}
    return {"description": "Done", "content": {"application/json": {"schema": schema}}}


def refusals(*statuses: int) -> dict[int | str, Json]:
    """For `responses` of a route: the statuses that it refuses with.

    Args:
        *statuses: of those in `REASONS`.

    Returns:
        The OpenAPI response object of each.
    """
    problem = {"schema": {"$ref": REFERENCE.format(name=ProblemDetails.__name__)}}
    return {status: {"description": REASONS[status], "content": {MEDIA_TYPE: problem}} for status in statuses}


def components_of(types: Iterable[type[msgspec.Struct]]) -> dict[str, Json]:
    """The JSON schemas of messages, by name."""
    return msgspec.json.schema_components(tuple(types), ref_template=REFERENCE)[1]

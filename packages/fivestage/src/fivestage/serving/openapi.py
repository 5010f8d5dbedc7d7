"""The message types that decode requests, as the OpenAPI document of a FastAPI application shows them."""

from collections.abc import Iterable
from typing import Any

import msgspec

from fivestage.serving.decoders import REFERENCE, reference
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


def messages(schema: Json, answer: type[msgspec.Struct], examples: Json | None = None) -> dict[str, Any]:
    """Options of a route that reads raw requests: how the document shows both messages."""
    content: Json = {"schema": schema} | ({"examples": examples} if examples else {})
    answered = {"description": "Done", "content": {"application/json": {"schema": reference(answer)}}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": content}}},
        "responses": {200: answered, **refusals(*OF_BODY)},
    }


def refusals(*statuses: int) -> dict[int | str, Json]:
    """For `responses` of a route: the statuses that it refuses with.

    Args:
        *statuses: of those in `REASONS`.

    Returns:
        The OpenAPI response object of each.
    """
    problem = {"schema": reference(ProblemDetails)}
    return {status: {"description": REASONS[status], "content": {MEDIA_TYPE: problem}} for status in statuses}


def show_refusals(document: Json) -> None:
    """Document what FastAPI finds wrong with a request as what is answered: problem details."""
    for operation in (one for path in document["paths"].values() for one in path.values()):
        responses = operation["responses"]
        validated = "HTTPValidationError" in str(responses.get("422"))
        if validated:
            del responses["422"]
        takes_json = "application/json" in operation.get("requestBody", {}).get("content", {})
        statuses = OF_BODY if takes_json else (422,) if validated else ()
        shown = {str(status): response for status, response in refusals(*statuses).items()}
        operation["responses"] = shown | responses
    schemas = document["components"]["schemas"]
    if schemas.pop("HTTPValidationError", None):  # FastAPI adds the two together
        del schemas["ValidationError"]


def components_of(types: Iterable[type[msgspec.Struct]]) -> dict[str, Json]:
    """The JSON schemas of messages, by name."""
    return msgspec.json.schema_components(tuple(types), ref_template=REFERENCE)[1]

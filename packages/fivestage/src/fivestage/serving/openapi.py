"""OpenAPI documentation of the messages that the service decodes itself, without FastAPI."""

from collections.abc import Iterable
from typing import Any

import msgspec

from fivestage.serving.decoders import REFERENCE, reference
from fivestage.serving.problems import MEDIA_TYPE, ProblemDetails

Json = dict[str, Any]
REASONS = {
    400: "Not JSON",
    401: "No valid API key, where one is required",
    403: "Sent from a page of another site",
    404: "Not found",
    409: "Refused",
    413: "Too large",
    415: "Unsupported content type or encoding",
    422: "Violates the contract",
    429: "Too many requests",
    503: "Not ready, or too busy",
}
GUARDED = (401, 403, 429, 503)  # statuses of `Admission`
OF_BODY = (400, 413, 415, 422)  # statuses of a bad body


def messages(schema: Json, answer: type[msgspec.Struct], examples: Json | None = None) -> dict[str, Any]:
    """Return the options that document request and response of a route that reads raw requests."""
    content: Json = {"schema": schema} | ({"examples": examples} if examples else {})
    response = {"description": "Success", "content": {"application/json": {"schema": reference(answer)}}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": content}}},
        "responses": {200: response, **refusals(*OF_BODY)},
    }


def refusals(*statuses: int) -> dict[int | str, Json]:
    """Return the error responses of a route, for its argument `responses`.

    Args:
        *statuses: HTTP statuses, each one of `REASONS`.

    Returns:
        The OpenAPI response object of each status.
    """
    problem = {"schema": reference(ProblemDetails)}
    return {status: {"description": REASONS[status], "content": {MEDIA_TYPE: problem}} for status in statuses}


def show_refusals(document: Json) -> None:
    """Replace FastAPI's validation errors in the OpenAPI document with the problem details that are sent."""
    for operation in (one for path in document["paths"].values() for one in path.values()):
        responses = operation["responses"]
        validated = "HTTPValidationError" in str(responses.get("422"))
        if validated:
            del responses["422"]
        takes_json = "application/json" in operation.get("requestBody", {}).get("content", {})
        statuses = OF_BODY if takes_json else (422,) if validated else ()
        problem_responses = {str(status): response for status, response in refusals(*statuses).items()}
        operation["responses"] = problem_responses | responses
    schemas = document["components"]["schemas"]
    described = str([document["paths"], document.get("webhooks")])  # callbacks and webhooks may need them
    if "HTTPValidationError" in schemas and "HTTPValidationError" not in described:
        del schemas["HTTPValidationError"], schemas["ValidationError"]


def components_of(types: Iterable[type[msgspec.Struct]]) -> dict[str, Json]:
    """Return the JSON schemas of messages, by name."""
    return msgspec.json.schema_components(tuple(types), ref_template=REFERENCE)[1]

"""The message types that decode requests, as the OpenAPI document of a FastAPI application shows them."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

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


def request_body(intake: Intake) -> Json:
    """For `openapi_extra` of a route: one item or many, as an intake reads them.

    Args:
        intake: what reads the route's requests.

    Returns:
        The OpenAPI object with "requestBody": its JSON schema, and an example of one item and of many.
    """
    examples = {"many": {"value": {intake.plural: intake.examples}}, "one": {"value": intake.examples[0]}}
    content = {"application/json": {"schema": intake.schema(), "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


def answers(message: type[msgspec.Struct] | None, *refusals: int) -> dict[int | str, Json]:
    """For `responses` of a route: the message that it gives, and the statuses that it refuses with.

    Args:
        message: the type of the answer's body; None for any JSON object.
        *refusals: HTTP statuses, of those in `REASONS`.

    Returns:
        The OpenAPI response object of each status, 200 included.
    """
    schema = {"$ref": REFERENCE.format(name=message.__name__)} if message else {"type": "object"}
    done = {"description": "Done", "content": {"application/json": {"schema": schema}}}
    return {200: done, **{status: _refusal(status) for status in refusals}}


def _refusal(status: int) -> Json:
    problem = {"schema": {"$ref": REFERENCE.format(name=ProblemDetails.__name__)}}
    return {"description": REASONS[status], "content": {MEDIA_TYPE: problem}}


def describe_messages(app: FastAPI, intakes: Iterable[Intake], messages: Iterable[type[Any]]) -> None:
    """Put the schemas that routes refer to into the document; see FastAPI's "Extending OpenAPI".

    Args:
        app: whose document it is.
        intakes: of its requests.
        messages: that it answers with.
    """
    components: dict[str, Json] = {}
    for intake in intakes:
        components |= intake.components()
    components |= _components((*messages, ProblemDetails))

    def document() -> Json:
        if not app.openapi_schema:
            found = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            found.setdefault("components", {}).setdefault("schemas", {}).update(components)
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _components(messages: Iterable[type[Any]]) -> Mapping[str, Json]:
    return msgspec.json.schema_components(tuple(messages), ref_template=REFERENCE)[1]

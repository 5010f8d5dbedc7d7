"""Error responses as problem details (RFC 9457)."""

import json
import logging
from collections.abc import Mapping, Sequence
from http.client import responses
from json import JSONDecodeError
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

logger = logging.getLogger("serving")
MEDIA_TYPE = "application/problem+json"
MAX_FAULTS = 20  # listed in one response
WITHOUT_BODY = (204, 304)


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault of a request; rows count from 0."""

    detail: str
    row: int | None = None
    field: str | None = None


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an error response."""

    title: str
    status: int
    detail: str
    errors: Sequence[Fault] = ()
    error: str = ""  # the detail again, where clients of the Open Inference Protocol expect it


class ProblemError(HTTPException):
    """An error response with problem details; raise it anywhere to send it.

    Args:
        status: The HTTP status.
        detail: A sentence that says what is wrong and how to fix it.
        errors: The individual faults of the request.
        headers: Headers of the response, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.errors = errors

    @property
    def title(self) -> str:
        """The reason phrase of the status."""
        return responses.get(self.status_code, "Unregistered status")

    def body(self, path: str = "") -> bytes:
        """Encode the problem details as JSON; `path` is the path of the request."""
        error = self.detail if path.startswith("/v2/") else ""
        return msgspec.json.encode(
            ProblemDetails(self.title, self.status_code, self.detail, self.errors, error)
        )

    def response(self, path: str = "") -> Response:
        """Return the response; `path` is the path of the request."""
        return Response(self.body(path), self.status_code, self.headers, MEDIA_TYPE)

    def message(self, extra_headers: bytes = b"") -> bytes:
        """Encode the response as an HTTP/1.1 message, with extra header lines."""
        response = self.response()
        headers = b"".join([b"%b: %b\r\n" % header for header in response.raw_headers])
        status = f"HTTP/1.1 {self.status_code} {self.title}\r\n".encode()
        return b"%b%b%b\r\n%b" % (status, headers, extra_headers, bytes(response.body))


def too_many(what: str = "requests") -> ProblemError:
    """Return the error response for a service at one of its limits."""
    return ProblemError(503, f"Too many {what} at once: retry after 1 s.", headers={"Retry-After": "1"})


def not_json(content_type: str) -> ProblemError:
    """Return the error response to a body of another content type."""
    return ProblemError(415, f"Send Content-Type: application/json, not {content_type or 'none'}.")


def answer_with_problem_details(app: FastAPI) -> None:
    """Make an application send every error, its own and FastAPI's, as problem details."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (the handler is registered for it alone)
    path, status = request.url.path, error.status_code
    detail: Any = error.detail  # FastAPI allows any JSON; the standard, only text
    if status in WITHOUT_BODY:
        return Response(None, status, error.headers)
    if isinstance(error, ProblemError):
        return error.response(path)
    if detail == responses.get(status):  # nobody gave one, as when no route matches
        sentences = {
            404: f"Nothing is at {path}: /docs lists the routes.",
            405: f"{path} does not accept {request.method}: /docs lists the methods.",
        }
        detail = sentences.get(status, detail)
    text = detail if isinstance(detail, str) else json.dumps(detail)
    return ProblemError(status, text, headers=error.headers).response(path)


async def _invalid(request: Request, error: Exception) -> Response:
    """Convert FastAPI's validation errors for the arguments of a route."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 (likewise)
    path = request.url.path
    if isinstance(error.__cause__, JSONDecodeError):
        return ProblemError(400, f"The body is not JSON: {error.__cause__}.").response(path)
    if isinstance(error.body, bytes) and any(one["loc"][0] == "body" for one in error.errors()):
        # FastAPI decodes a body only if its Content-Type is JSON, and leaves others as bytes.
        return not_json(request.headers.get("content-type", "")).response(path)
    faults = [
        Fault(str(one["msg"]), field=".".join(map(str, one["loc"][1:])) or None)
        for one in error.errors()[:MAX_FAULTS]
    ]
    first = faults[0]
    place = f"field {first.field}" if first.field else error.errors()[0]["loc"][0]
    detail = f"{place}: {first.detail}"
    return ProblemError(422, detail, faults).response(path)


async def _failed(request: Request, error: Exception) -> Response:
    logger.error("request failed", exc_info=error, extra={"path": request.url.path})
    return ProblemError(500, "The service failed: see its log.").response(request.url.path)

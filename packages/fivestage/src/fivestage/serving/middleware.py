"""Middleware for every request: size limits, admission, metrics, log, and problem details for any failure."""

import inspect
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import nullcontext
from functools import lru_cache

from fastapi import FastAPI
from fastapi.params import Param
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fivestage.serving.problems import ProblemError, too_many

KEY = APIKeyHeader(  # documents the keys that `Admission` checks
    name="X-API-Key", scheme_name="API key", description="Accepted as a bearer token too.", auto_error=False
)
Endpoint = Callable[[Request], Awaitable[Response]]
MAX_PATHS = 256  # whose routes are remembered
SMALL = 65_536  # bytes; smaller bodies are accepted even above MAX_HELD_BYTES
MAX_HELD_BYTES = 64_000_000  # of bodies, complete or partial, of all open requests
TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context
logger = logging.getLogger("serving.requests")


class RequestMiddleware:
    """Pure ASGI middleware; it calls the application once the body of a request has been read.

    FastAPI's middlewares, routing and dependency resolution cost more than a prediction. So an endpoint that
    takes only the raw request and optional query parameters is called directly when there is no query string.

    Args:
        app: The application's own middlewares and router.
        application: The application; its state has the settings, admission control and metrics.
        public: Its routes without admission control.
    """

    def __init__(self, app: ASGIApp, application: FastAPI, public: Collection[BaseRoute]) -> None:
        state, settings = application.state, application.state.settings
        self._app, self._handlers = app, application.exception_handlers
        self._admission, self._metrics = state.admission, state.metrics
        self._largest, self._log = settings.max_body_bytes, settings.log_requests
        self._held = 0  # bytes of the bodies of open requests
        self._too_large = ProblemError(413, f"The body is too large: send at most {self._largest} bytes.")

        @lru_cache(MAX_PATHS)
        def route_of(method: str, path: str) -> tuple[BaseRoute | None, bool, Endpoint | None]:
            """Return a request's route, whether it needs admission, and its endpoint if called directly."""
            scope = {"type": "http", "method": method, "path": path}
            route = next((one for one in application.routes if one.matches(scope)[0] is Match.FULL), None)
            guarded = route is not None and route not in public
            # Middleware of the project must see every request.
            direct = guarded and not application.user_middleware and is_direct(route)
            return route, guarded, route.endpoint if direct else None  # type: ignore[union-attr]

        self._route_of = route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await (self._answer if scope["type"] == "http" else self._app)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        start: Message | None = None
        if scope["method"] == "HEAD":  # answered like GET; the server omits the body
            scope = {**scope, "method": "GET"}

        async def send_recording_start(message: Message) -> None:
            nonlocal start
            if start is None:
                start = message
            await send(message)

        parts: list[bytes] = []  # chunks of the body
        headers = dict(scope["headers"])
        try:
            self._require_bounded(headers)
            scope["route"], guarded, endpoint = self._route_of(scope["method"], scope["path"])
            if guarded:
                self._admission.identify(scope, headers)
            body = await self._read(receive, parts)
            if endpoint is not None and not scope["query_string"]:
                request = Request(scope, receive)
                request._body = body  # noqa: SLF001 (as in FastAPI's "Custom Request and APIRoute class")
                with self._admission:
                    response = await endpoint(request)
                start = {"status": response.status_code, "headers": response.raw_headers}
                await response(scope, receive, send)
            else:
                with self._admission if guarded else nullcontext():
                    await self._app(scope, _replayed(body, receive), send_recording_start)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 (the handler for Exception logs it)
            handle = next(self._handlers[kind] for kind in type(error).__mro__ if kind in self._handlers)
            answer = handle(Request(scope), error)
            answer = await answer if inspect.isawaitable(answer) else answer
            if start is None:
                await answer(scope, receive, send_recording_start)
        finally:
            self._held -= sum(map(len, parts))
            self._count(scope, headers, start, time.perf_counter() - started)

    def _require_bounded(self, headers: dict[bytes, bytes]) -> None:
        # float, as int() raises for more than 4,300 digits, leading zeros included.
        if float(headers.get(b"content-length", b"0")) > self._largest:
            raise self._too_large

    async def _read(self, receive: Receive, parts: list[bytes]) -> bytes:
        """Read the complete body of a request."""
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            part, more = message.get("body", b""), message.get("more_body", False)
            parts.append(part)
            size += len(part)
            self._held += len(part)
            if size > self._largest:
                raise self._too_large
            if size > SMALL and self._held > MAX_HELD_BYTES:
                raise too_many("large requests")
        return b"".join(parts)

    def _count(
        self, scope: Scope, headers: dict[bytes, bytes], start: Message | None, seconds: float
    ) -> None:
        handler = getattr(scope.get("route"), "path", "unmatched")
        status = start["status"] if start is not None else 400  # the client disconnected
        self._metrics.answered(scope["method"], handler, status, seconds)
        if self._log:
            trace = TRACE.fullmatch(headers.get(b"traceparent", b""))
            request_id = dict(start["headers"]).get(b"x-request-id", b"") if start is not None else b""
            logger.info(
                "answered",
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "milliseconds": round(seconds * 1000, 3),
                    "request_id": request_id.decode("latin-1"),
                    "client_request_id": headers.get(b"x-request-id", b"").decode("latin-1"),
                    "trace_id": trace[1].decode() if trace else "",
                },
            )


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a receive function that yields the body already read, then whatever follows it."""
    messages = [{"type": "http.request", "body": body}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def is_direct(route: BaseRoute | None) -> bool:
    """Whether an endpoint needs only the request and optional query parameters, and returns a response."""
    if not isinstance(route, APIRoute):
        return False
    needs, signature = route.dependant, inspect.signature(route.endpoint)
    parameters = list(signature.parameters.values())
    return (
        inspect.iscoroutinefunction(route.endpoint)
        and signature.return_annotation is Response
        and needs.request_param_name == parameters[0].name
        and len(needs.query_params) == len(parameters) - 1
        and not any(one.default is one.empty or isinstance(one.default, Param) for one in parameters[1:])
        and all(one.call is KEY for one in needs.dependencies)
    )

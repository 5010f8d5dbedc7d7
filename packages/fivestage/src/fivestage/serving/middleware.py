"""Middleware for every request: size limits, metrics, request log, and problem details for any failure."""

import inspect
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fivestage.serving.direct_route import DirectRoute
from fivestage.serving.problems import ProblemError, too_many
from fivestage.serving.prometheus_metrics import ServiceMetrics
from fivestage.serving.service_settings import Settings

SMALL = 65_536  # bytes; smaller bodies are accepted even above MAX_HELD_BYTES
MAX_HELD_BYTES = 64_000_000  # of bodies, complete or partial, of all open requests
TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context
logger = logging.getLogger("serving.requests")


class RequestMiddleware:
    """Pure ASGI middleware; it calls the application once the body of a request has been read."""

    def __init__(
        self,
        app: ASGIApp,
        direct: Mapping[tuple[str, str], DirectRoute],
        handlers: Mapping[Any, Callable[[Request, Exception], Any]],
        settings: Settings,
        metrics: ServiceMetrics,
    ) -> None:
        self._app, self._direct, self._handlers, self._metrics = app, direct, handlers, metrics
        self._largest, self._log = settings.max_body_bytes, settings.log_requests
        self._held = 0  # bytes of the bodies of open requests
        self._too_large = ProblemError(413, f"The body is too large: send at most {self._largest} bytes.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
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
        try:
            self._require_bounded(scope)
            direct = self._direct.get((scope["method"], scope["path"]))
            if direct is None or scope["query_string"]:
                body = await self._read(receive, parts)
                await self._app(scope, _replayed(body, receive), send_recording_start)
            else:
                scope["route"] = direct.route
                direct.admission.identify(scope)
                body = await self._read(receive, parts)
                response = await direct.respond(Request(scope, receive), body)
                start = {"status": response.status_code, "headers": response.raw_headers}
                await response(scope, receive, send)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 (the handler for Exception logs it)
            handle = next(self._handlers[kind] for kind in type(error).__mro__ if kind in self._handlers)
            response = handle(Request(scope), error)
            response = await response if inspect.isawaitable(response) else response
            if start is None:
                await response(scope, receive, send_recording_start)
        finally:
            self._held -= sum(map(len, parts))
            self._count(scope, start, time.perf_counter() - started)

    def _require_bounded(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            # float, as int() raises for more than 4,300 digits, leading zeros included.
            if name == b"content-length" and float(value) > self._largest:
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

    def _count(self, scope: Scope, start: Message | None, seconds: float) -> None:
        route = scope.get("route")
        handler = route.path if route is not None else "unmatched"
        status = start["status"] if start is not None else 400  # the client disconnected
        self._metrics.answered(scope["method"], handler, status, seconds)
        if self._log:
            headers = dict(scope["headers"])
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

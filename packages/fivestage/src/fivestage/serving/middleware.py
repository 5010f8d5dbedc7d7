"""What holds for every request, whatever its route: bounded, counted, timed, logged, never a bare failure."""

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

SMALL = 65_536  # bytes of a body that is taken however many are held
MAX_HELD_BYTES = 64_000_000  # of all bodies that have come, even in part, and are not answered
TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context
logger = logging.getLogger("serving.requests")


class RequestMiddleware:
    """A pure ASGI middleware around an application, which gets requests once their bodies are there."""

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
        self._held = 0  # bytes of bodies that have come and are not answered
        self._too_large = ProblemError(413, f"The body is too large: send at most {self._largest} bytes.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        start: Message | None = None
        if scope["method"] == "HEAD":  # answered as GET, and the server leaves the body out
            scope = {**scope, "method": "GET"}

        async def send_noting(message: Message) -> None:
            nonlocal start
            if start is None:
                start = message
            await send(message)

        parts: list[bytes] = []  # of the body
        try:
            self._require_bounded(scope)
            direct = self._direct.get((scope["method"], scope["path"]))
            if direct is None or scope["query_string"]:
                body = await self._read(receive, parts)
                await self._app(scope, _replayed(body, receive), send_noting)
            else:
                scope["route"] = direct.route
                direct.admission.identify(scope)
                body = await self._read(receive, parts)
                response = await direct.respond(Request(scope, receive), body)
                start = {"status": response.status_code, "headers": response.raw_headers}
                await response(scope, receive, send)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 (the handler of all others logs it)
            handle = next(self._handlers[kind] for kind in type(error).__mro__ if kind in self._handlers)
            response = handle(Request(scope), error)
            response = await response if inspect.isawaitable(response) else response
            if start is None:
                await response(scope, receive, send_noting)
        finally:
            self._held -= sum(map(len, parts))
            self._count(scope, start, time.perf_counter() - started)

    def _require_bounded(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            # Not as an integer, of which Python reads 4,300 digits, leading zeros among them.
            if name == b"content-length" and float(value) > self._largest:
                raise self._too_large

    async def _read(self, receive: Receive, parts: list[bytes]) -> bytes:
        """A request's body, once it is whole."""
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
        status = start["status"] if start is not None else 400  # its client went away
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
    """What gives a body that has been read, and then what comes after it."""
    messages = [{"type": "http.request", "body": body}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay

"""What holds for every request, whatever its route: counted, timed, logged, bounded, never a bare failure."""

import logging
import re
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fivestage.serving.problems import ProblemError, too_many
from fivestage.serving.prometheus_metrics import ServiceMetrics
from fivestage.serving.service_settings import Settings

SMALL = 65_536  # bytes of a body that uvicorn holds anyway
MAX_HELD_BYTES = 64_000_000  # bytes of larger bodies that are still arriving
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context
logger = logging.getLogger("serving.requests")


class RequestMiddleware:
    """A pure ASGI middleware around an application.

    Args:
        app: what answers.
        settings: the largest body, and whether requests are logged.
        metrics: where answers are counted, by the path of their route.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: ServiceMetrics) -> None:
        self._app, self._metrics = app, metrics
        self.largest, self._log = settings.max_body_bytes, settings.log_requests
        self._held = 0  # bytes of bodies that have arrived in part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, start = time.perf_counter(), None
        if scope["method"] == "HEAD":  # answered as GET, and the server leaves the body out
            scope = {**scope, "method": "GET"}

        async def send_with_headers(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                message["headers"].append(NO_SNIFFING)
            await send(message)

        body = None
        try:
            body = self._bounded(scope, receive)
            await self._app(scope, body or receive, send_with_headers)
        except ClientDisconnect:
            return
        except ProblemError as problem:
            await problem.response(scope["path"])(scope, receive, send_with_headers)
        except Exception:
            logger.exception("failed", extra={"path": scope["path"]})
            if start is None:
                failure = ProblemError(500, "The service failed; its log says why.")
                await failure.response(scope["path"])(scope, receive, send_with_headers)
        finally:
            if body is not None:
                self._held -= body.size
            self._count(scope, start, time.perf_counter() - started)

    def _bounded(self, scope: Scope, receive: Receive) -> "_LargeBody | None":
        """A body to be looked at as it arrives; one that is small is not."""
        for name, value in scope["headers"]:
            if name == b"content-length":
                if int(value) > self.largest:
                    raise self.too_large()
                return _LargeBody(self, receive) if int(value) > SMALL else None
            if name == b"transfer-encoding":
                return _LargeBody(self, receive)
        return None

    def hold(self, size: int) -> None:
        """Keep a part of a body until its request is answered.

        Raises:
            ProblemError: 503, when all that is kept grows too large.
        """
        if self._held + size > MAX_HELD_BYTES:
            raise too_many("large requests")
        self._held += size

    def too_large(self) -> ProblemError:
        """The answer to a body above the limit."""
        return ProblemError(413, f"The body is too large: send at most {self.largest} bytes.")

    def _count(self, scope: Scope, start: Message | None, seconds: float) -> None:
        route = scope.get("route")
        handler = route.path if route is not None else "unmatched"
        status = start["status"] if start is not None else 400  # its client went away
        self._metrics.answered(scope["method"], handler, status, seconds)
        if self._log:
            headers = dict(scope["headers"])
            trace = TRACE.fullmatch(headers.get(b"traceparent", b""))
            request = dict(start["headers"]).get(b"x-request-id", b"") if start is not None else b""
            logger.info(
                "answered",
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "milliseconds": round(seconds * 1000, 3),
                    "request_id": request.decode("latin-1"),
                    "client_request_id": headers.get(b"x-request-id", b"").decode("latin-1"),
                    "trace_id": trace[1].decode() if trace else "",
                },
            )


class _LargeBody:
    """A body as it arrives: refused where it, or all that arrive at once, grow too large."""

    def __init__(self, limits: RequestMiddleware, receive: Receive) -> None:
        self.size = 0
        self._limits, self._receive = limits, receive

    async def __call__(self) -> Message:
        """See ASGI's receive."""
        message = await self._receive()
        part = len(message.get("body", b""))
        if self.size + part > self._limits.largest:
            raise self._limits.too_large()
        self._limits.hold(part)
        self.size += part
        return message

"""Middleware for every request: size limits, metrics, log, problem details for any failure, and admission."""

import inspect
import logging
import re
import time
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import TypeGuard

from fastapi import APIRouter, FastAPI
from fastapi.params import Param
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fivestage.serving.admission import Admission
from fivestage.serving.problems import ProblemError, too_many

KEY = APIKeyHeader(  # documents the keys that `Admission` checks
    name="X-API-Key", scheme_name="API key", description="Accepted as a bearer token too.", auto_error=False
)
SMALL = 65_536  # bytes; smaller bodies are accepted even above MAX_HELD_BYTES
MAX_HELD_BYTES = 64_000_000  # of bodies, complete or partial, of all open requests
TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context
logger = logging.getLogger("serving.requests")


class RequestMiddleware:
    """Pure ASGI middleware; it bounds, counts and logs requests, and answers failures as problem details.

    FastAPI's middlewares, routing and dependency resolution cost more than a prediction. So an endpoint that
    takes only the raw request and optional query parameters is called directly when there is no query string
    and the project has no middleware, which must see every request.

    Args:
        app: The application's own middlewares and router.
        application: The application; its state has the settings, admission control and metrics.
        public: Its routes without admission control.
    """

    def __init__(self, app: ASGIApp, application: FastAPI, public: Sequence[BaseRoute]) -> None:
        state, settings = application.state, application.state.settings
        self._app, self._handlers = app, application.exception_handlers
        self._admission, self._metrics = state.admission, state.metrics
        self._largest, self._log = settings.max_body_bytes, settings.log_requests
        self._held = 0  # bytes of the bodies of open requests
        self._too_large = ProblemError(413, f"The body is too large: send at most {self._largest} bytes.")
        self._direct = {} if application.user_middleware else direct_routes(application.routes, public)

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
        headers = dict(scope["headers"])
        try:
            direct = self._direct.get((scope["method"], scope["path"]))
            if direct is None or scope["query_string"]:
                await self._app(scope, self._whole(headers, receive, parts), send_recording_start)
            else:
                scope["route"] = direct
                self._admission.identify(scope, headers)
                request = Request(scope, receive)
                # As in FastAPI's "Custom Request and APIRoute class".
                request._body = await self._read(headers, receive, parts)  # noqa: SLF001
                async with self._admission:
                    response: Response = await direct.endpoint(request)
                start = {"status": response.status_code, "headers": response.raw_headers}
                await response(scope, receive, send)
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

    async def _read(self, headers: dict[bytes, bytes], receive: Receive, parts: list[bytes]) -> bytes:
        """Read the complete body of a request, or refuse one above the limits."""
        # float, as int() raises for more than 4,300 digits, leading zeros included.
        if float(headers.get(b"content-length", b"0")) > self._largest:
            raise self._too_large
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

    def _whole(self, headers: dict[bytes, bytes], receive: Receive, parts: list[bytes]) -> Receive:
        """Return a receive function whose first message is the complete body, read when asked for."""
        is_read = False

        async def receive_whole() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            body = await self._read(headers, receive, parts)
            is_read = True
            return {"type": "http.request", "body": body}

        return receive_whole

    def _count(
        self, scope: Scope, headers: dict[bytes, bytes], start: Message | None, seconds: float
    ) -> None:
        mount, route = scope.get("mount"), scope.get("route")
        handler = getattr(route, "path", "unmatched")
        if mount and route is not mount:  # a route of the mounted application
            handler = mount.path + handler
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


class AdmissionMiddleware:
    """Pure ASGI middleware around a router: only its public routes serve requests without admission control.

    It runs inside the project's middleware: it sees each request as it will be routed, and refusals pass that
    middleware (`CORSMiddleware` adds headers to them). It calls the first route that matches, as the router
    would. What matches none needs admission too: the router may serve it, such as a file of
    `FastAPI.frontend`.
    """

    def __init__(self, router: APIRouter, admission: Admission, public: Sequence[BaseRoute]) -> None:
        self._router, self._routed = router, router.middleware_stack
        self._admission, self._public = admission, public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._routed(scope, receive, send)
            return
        route, child_scope = first_match(scope, self._router.routes)
        mount = route if isinstance(route, Mount) else None
        scope.update({"router": self._router, "route": route, "mount": mount, **child_scope})
        handle = self._routed if route is None else route.handle
        if any(one is route for one in self._public):
            await handle(scope, receive, send)
            return
        self._admission.identify(scope, dict(scope["headers"]))
        if scope["type"] == "http":
            receive = _with_first(await receive(), receive)  # the body: only complete requests count as open
        async with self._admission:
            await handle(scope, receive, send)


def first_match(scope: Scope, routes: Iterable[BaseRoute]) -> tuple[BaseRoute | None, Scope]:
    """Return the first route that matches path and method, and what it adds to the scope."""
    for route in routes:
        match, child_scope = route.matches(scope)
        if match is Match.FULL:
            return route, child_scope
    return None, {}


def _with_first(message: Message, receive: Receive) -> Receive:
    """Return a receive function that returns a message, then those of another one."""
    messages = [message]

    async def receive_next() -> Message:
        return messages.pop() if messages else await receive()

    return receive_next


def direct_routes(
    routes: Iterable[BaseRoute], public: Sequence[BaseRoute]
) -> dict[tuple[str, str], APIRoute]:
    """Return the routes whose endpoints are called directly, by method and path."""
    direct = {}
    # Other kinds of routes, such as `Host`, may take any request, and so one for a route that follows them.
    by_path = list(takewhile(lambda one: type(one) in (APIRoute, Route, Mount), routes))
    for route in by_path:
        if is_direct(route) and not any(one is route for one in public):
            for method in route.methods or ():
                scope = {"type": "http", "method": method, "path": route.path}
                if first_match(scope, by_path)[0] is route:
                    direct[method, route.path] = route
    return direct


def is_direct(route: BaseRoute) -> TypeGuard[APIRoute]:
    """Whether an endpoint needs only the request and optional query parameters, and returns a response."""
    if type(route) is not APIRoute or route.param_convertors:  # subclasses may handle requests differently
        return False
    needs, signature = route.dependant, inspect.signature(route.endpoint)
    parameters = list(signature.parameters.values())
    return (
        inspect.iscoroutinefunction(route.endpoint)
        and signature.return_annotation is Response
        and [one.name for one in parameters[:1]] == [needs.request_param_name]
        and len(needs.query_params) == len(parameters) - 1
        and not any(one.default is one.empty or isinstance(one.default, Param) for one in parameters[1:])
        and all(one.call is KEY for one in needs.dependencies)
    )

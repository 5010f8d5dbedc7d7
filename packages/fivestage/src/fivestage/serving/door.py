"""The way in and out, the same for every path: guards, the body, refusals as problems, counts, logs."""

import hmac
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from fivestage.serving.commit import Then
from fivestage.serving.metrics import Metrics
from fivestage.serving.problems import MEDIA_TYPE, ProblemError
from fivestage.serving.settings import Settings

JSON = b"application/json"
PLAIN = b"identity"
HOT = "/predict"  # the path that carries the load
WHOLE = "whole"  # in a scope: a shorter way to send an answer, which a server may offer
CLIENTS = 10_000  # whose rate is remembered
MOST_HELD = 64_000_000  # bytes of bodies that are still arriving
logger = logging.getLogger("serving.requests")
_TRACE = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")
Headers = dict[bytes, bytes]


class Reply(NamedTuple):
    """What goes out."""

    body: bytes
    media_type: bytes = JSON
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Call(NamedTuple):
    """What came in."""

    body: bytes
    headers: Headers
    scope: Scope

    def flag(self, name: str) -> bool:
        """Whether the query sets a flag.

        Raises:
            Refusal: when it is neither true nor false.
        """
        query = self.scope["query_string"]
        if not query:
            return False
        value = parse_qs(query.decode("latin-1")).get(name, ["false"])[-1].lower()
        if value not in {"true", "false", "1", "0"}:
            raise ProblemError(422, f"{name} is {value!r}: say true or false.")
        return value in {"true", "1"}


Endpoint = Callable[[Call], Awaitable[Reply]]
Soon = Callable[[bytes, Then], Reply]  # an endpoint that does not wait: the reply may leave when it is told
Whole = Callable[[int, list[tuple[bytes, bytes]], bytes], bool]  # sends status, headers and body


def too_many() -> ProblemError:
    """What a request is told that comes on top of all that can be answered."""
    return ProblemError(503, "Too many requests at once.", headers={"Retry-After": "1"})


class Guard:
    """Who may come in, how often, and how many at once."""

    def __init__(self, settings: Settings) -> None:
        self.inside = 0
        self.held = 0  # bytes of bodies that have arrived in part
        self._most = settings.max_in_flight
        self._keys = tuple(key.encode() for key in settings.keys)
        self._rate, self._burst = settings.rate_per_second, settings.rate_per_second * settings.burst_seconds
        self._clients: OrderedDict[Any, tuple[float, float]] = OrderedDict()  # tokens left, and when that was

    def admit(self, scope: Scope, headers: Headers) -> None:
        """Know the caller, and how often it calls.

        Raises:
            Refusal: saying why not.
        """
        client: Any = scope["client"] and scope["client"][0]
        if self._keys:
            given = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
            # Every key is compared in full, so that the time taken tells nothing.
            if sum([hmac.compare_digest(given, key) for key in self._keys]) != 1:
                raise ProblemError(
                    401, "A valid API key is needed in X-API-Key.", headers={"WWW-Authenticate": "Bearer"}
                )
            client = given
        if self._rate:
            self._spend(client)

    def enter(self) -> None:
        """Take a place; whoever is still sending its body holds none.

        Raises:
            Refusal: when all are taken.
        """
        if self.inside >= self._most:
            raise too_many()
        self.inside += 1

    def hold(self, size: int) -> None:
        """Keep a part of a body until the rest has come.

        Raises:
            Refusal: when all that is kept grows too large.
        """
        if self.held + size > MOST_HELD:
            raise ProblemError(503, "Too many large requests at once.", headers={"Retry-After": "1"})
        self.held += size

    def _spend(self, client: Any) -> None:
        now = time.monotonic()
        left, since = self._clients.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        self._clients[client] = (left - 1 if left >= 1 else left, now)
        if len(self._clients) > CLIENTS:
            self._clients.popitem(last=False)
        if left < 1:
            wait = str(max(1, round((1 - left) / self._rate)))
            raise ProblemError(429, "Too many requests from one client.", headers={"Retry-After": wait})


class Door:
    """An endpoint as an ASGI application."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        settings: Settings,
        metrics: Metrics,
        guard: Guard | None,
        soon: Soon | None = None,
    ) -> None:
        self._endpoint, self._path, self._metrics = endpoint, path, metrics
        self._guard, self._soon = guard, soon
        self._largest = settings.max_body_bytes
        self._log = settings.log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        started = time.perf_counter()
        headers: Headers = dict(scope["headers"])
        guard = self._guard
        entered = False
        try:
            body = b""
            if guard is not None:
                guard.admit(scope, headers)
                if scope["method"] == "POST":
                    body = await self._body(headers, receive, guard)
                guard.enter()
                entered = True
            reply = await self._endpoint(Call(body, headers, scope))
        except Exception as error:  # noqa: BLE001 (it is told)
            reply = self._refused(error)
        finally:
            if guard is not None and entered:
                guard.inside -= 1
        sent = _sent(headers, reply)
        whole: Whole | None = scope.get(WHOLE)
        if whole is None or not whole(reply.status, sent, reply.body):
            await send({"type": "http.response.start", "status": reply.status, "headers": sent})
            await send({"type": "http.response.body", "body": reply.body})
        self._count(scope, headers, reply, started)

    @property
    def inside(self) -> int:
        """Requests that are being answered, here and behind the other doors."""
        return self._guard.inside if self._guard else 0

    def at_once(self, scope: Scope, body: bytes, whole: Whole) -> None:
        """Answer a request that is here in one piece, without a task or a turn of the loop for it."""
        started = time.perf_counter()
        headers: Headers = dict(scope["headers"])
        guard, soon = self._guard, self._soon
        assert guard is not None and soon is not None  # noqa: S101, PT018 (of the hot path)

        def leave(reply: Reply) -> None:
            whole(reply.status, _sent(headers, reply), reply.body)
            self._count(scope, headers, reply, started)

        def then(failed: Exception | None) -> None:
            guard.inside -= 1
            leave(reply if failed is None else self._refused(failed))

        try:
            guard.admit(scope, headers)
            guard.enter()
        except ProblemError as refusal:
            leave(self._refused(refusal))
            return
        try:
            reply = soon(body, then)
        except Exception as error:  # noqa: BLE001 (it is told)
            then(error)

    def _refused(self, error: Exception) -> Reply:
        if not isinstance(error, ProblemError):
            logger.error("failed", extra={"path": self._path}, exc_info=error)
            error = ProblemError(500, "The service failed; its log says why.")
        more = tuple((name.lower().encode(), value.encode()) for name, value in error.headers.items())
        return Reply(error.told(self._path), MEDIA_TYPE.encode(), error.status, more)

    def _count(self, scope: Scope, headers: Headers, reply: Reply, started: float) -> None:
        seconds = time.perf_counter() - started
        self._metrics.answered(scope["method"], self._path, reply.status, seconds)
        if self._log:
            self._tell(scope, headers, reply, seconds)

    async def _body(self, headers: Headers, receive: Receive, guard: Guard) -> bytes:
        kind = headers.get(b"content-type", JSON)
        if kind != JSON and kind.partition(b";")[0].strip().lower() != JSON:
            raise ProblemError(415, f"Send application/json, not {kind.decode('latin-1')}.")
        packed = headers.get(b"content-encoding", PLAIN)
        if packed.lower() != PLAIN:
            raise ProblemError(415, f"Send the body as it is, not packed with {packed.decode('latin-1')}.")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._largest:
            raise ProblemError(413, f"The body is too large: send at most {self._largest} bytes.")
        parts: list[bytes] = []
        size = held = 0
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise ProblemError(400, "The body ended early.")
                part: bytes = message.get("body", b"")
                size += len(part)
                if size > self._largest:
                    raise ProblemError(413, f"The body is too large: send at most {self._largest} bytes.")
                if not message.get("more_body", False):
                    return b"".join([*parts, part]) if parts else part
                guard.hold(len(part))
                held = size
                parts.append(part)
        finally:
            guard.held -= held

    def _tell(self, scope: Scope, headers: Headers, reply: Reply, seconds: float) -> None:
        trace = _TRACE.fullmatch(headers.get(b"traceparent", b""))
        request = dict(reply.headers).get(b"x-request-id", b"")
        logger.info(
            "answered",
            extra={
                "method": scope["method"],
                "path": scope["path"],
                "status": reply.status,
                "milliseconds": round(seconds * 1000, 3),
                "request_id": request.decode(),
                "trace_id": trace[1].decode() if trace else "",
            },
        )


def _sent(headers: Headers, reply: Reply) -> list[tuple[bytes, bytes]]:
    sent = [
        (b"content-type", reply.media_type),
        (b"content-length", b"%d" % len(reply.body)),
        *reply.headers,
    ]
    if b"traceparent" in headers:
        sent += _next_span(headers[b"traceparent"])
    return sent


def _next_span(parent: bytes) -> list[tuple[bytes, bytes]]:
    """The caller's trace with a span of our own (W3C Trace Context); nothing for what is not one."""
    found = _TRACE.fullmatch(parent)
    if not found:
        return []
    return [(b"traceparent", b"00-%s-%s-%s" % (found[1], secrets.token_hex(8).encode(), found[2]))]

"""A connection as uvicorn holds it, within limits: silent, slow and endless ones are closed.

Clients say the same head over and over. What the parser made of one that was answered is kept, and the next
request with it, if it comes in one piece, goes to the hot path without being parsed, and without a task.
"""

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from fivestage.serving.door import HOT, WHOLE, Door, too_many
from fivestage.serving.metrics import Metrics
from fivestage.serving.problems import MEDIA_TYPE, ProblemError
from fivestage.serving.settings import Settings

Headers = list[tuple[bytes, bytes]]
MOST_HEAD = 65_536  # bytes of a request before its body
LINGER = 0.3  # seconds in which a stopping service hears what was on its way
KNOWN, LONG = 500, 2_000  # heads that are kept, and the bytes of one that may be
NONE = b"", 0
ONCE = frozenset((b"transfer-encoding", b"expect", b"traceparent"))  # in heads that are not
HEAD = "HTTP/1.1 {status} {phrase}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{more}\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\n(upgrade:)", re.IGNORECASE)
_SPECIAL = re.compile(rb"\r\n(?:transfer-encoding|expect|upgrade|connection: *close)", re.IGNORECASE)


class Piece:
    """A request that came in one piece, where uvicorn looks for one of its own kind."""

    __slots__ = ("disconnected", "keep_alive", "response_complete", "response_started", "scope")
    more_body: Final = False
    message_event: Final = asyncio.Event()  # nobody waits for it

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.scope = scope
        self.disconnected = self.response_started = self.response_complete = False
        self.keep_alive = True


class Connection(HttpToolsProtocol):
    """Counts the seconds that the client keeps us waiting, rather than set a timer for each request."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        hot: Door,
        heads: dict[bytes, tuple[int, dict[str, Any]]],  # answered before: the body's length, and the scope
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self._metrics, self._hot, self._heads = metrics, hot, heads
        self._busy, self._most, self._slow, self._idle = (
            settings.max_in_flight,
            settings.max_connections,
            settings.request_seconds,
            settings.keep_alive_seconds,
        )
        self._waited = 0
        self._begun = True  # whether a request has; a new connection is to send one soon
        self._in_head, self._head = False, 0  # whether a head is arriving, and its bytes
        self._answering: Any = None  # of requests sent together, the one whose turn it is
        self._last = False  # whether the next answer is
        self._new = NONE  # of a request that came in one piece: its head, and the length of its body

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._refuse(ProblemError(503, "Too many connections.", headers={"Retry-After": "1"}))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        cycle = self._answering
        idle = not self._in_head and (cycle is None or (cycle.response_complete and not cycle.more_body))
        head, _, body = data.partition(b"\r\n\r\n") if idle else (b"",) * 3
        if self._hot.inside >= self._busy and self._shed(head, body):
            return
        if not self._begun:
            self._begun, self._waited = True, 0
        known = self._heads.get(head)
        if known is not None and known[0] == len(body) and not self.flow.write_paused:
            self._new = NONE
            self._answering = self.cycle = piece = cast("Any", Piece(known[1] | {"client": self.client}))
            piece.keep_alive = not self._last
            self._hot.at_once(piece.scope, body, self.whole)
            return
        self._new = head, len(body)
        if _UPGRADE.search(head):  # which a server may overlook, and at which the parser would lose the body
            data = _UPGRADE.sub(rb"\r\nno-\1", head) + data[len(head) :]
        old = self._in_head
        super().data_received(data)
        if self._in_head:
            self._head = self._head + len(data) if old else 0  # one read at a time is bounded itself
            if self._head > MOST_HEAD and not self.transport.is_closing():
                self._refuse(ProblemError(431, f"The request's head is longer than {MOST_HEAD} bytes."))

    def _remember(self, scope: Mapping[str, Any]) -> None:
        """Keep the head of a request that was answered, where all that follows from it is known."""
        (head, length), names = self._new, [name for name, _ in scope["headers"]]
        if scope["path"] != HOT or scope["method"] != "POST" or scope["query_string"] or len(head) > LONG:
            return
        if names.count(b"content-length") != 1 or not ONCE.isdisjoint(names):
            return
        if int(dict(scope["headers"])[b"content-length"]) != length:
            return  # its body came in parts, or more than its body came
        if len(self._heads) >= KNOWN:
            self._heads.clear()
        self._heads[head] = length, {name: value for name, value in scope.items() if name != WHOLE}

    def on_message_begin(self) -> None:
        """See httptools."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._in_head = False
        super().on_headers_complete()

    def _shed(self, head: bytes, body: bytes) -> bool:
        """Turn a whole request away at a tenth of what answering costs; whether that was possible."""
        if not head.startswith(b"POST ") or _LENGTH.findall(head) != [b"%d" % len(body)]:
            return False
        if _SPECIAL.search(head):
            return False
        self.transport.write(BUSY)
        self._metrics.answered("POST", "shed", 503, 0.0)
        self._begun, self._waited = False, 0
        return True

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        if self._last and not self.pipeline:
            cycle.keep_alive = False
        cycle.scope[WHOLE] = self.whole
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`; of requests sent together, none is answered any more."""
        self.pipeline.clear()
        if self._answering is not None:
            self._answering.disconnected = True
        super().connection_lost(exc)

    def whole(self, status: int, headers: Headers, body: bytes) -> bool:
        """Send an answer in one piece, or nothing where that must be done step by step."""
        cycle = self._answering
        if cycle.disconnected or self.flow.write_paused or cycle.response_started:
            return False
        if cycle.scope["method"] == "HEAD":
            return False
        lines = [STATUS_LINE[status], *[b"%b: %b\r\n" % header for header in headers]]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        self.transport.write(b"".join([*lines, b"\r\n", body]))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        elif self._new[0] and status == HTTPStatus.OK:
            self._remember(cycle.scope)
        self.on_response_complete()
        return True

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._begun, self._waited = False, 0
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def part(self) -> None:
        """The service will stop: the next answer on this connection is its last, which the client is told."""
        self._last = True

    def shutdown(self) -> None:
        """The service stops: what has begun is answered, and what a client may have sent already."""
        if self._answering is None or self._answering.response_complete:
            self._last = True
            self.loop.call_later(LINGER, self._leave)
        else:
            super().shutdown()

    def _leave(self) -> None:
        if self._answering is None or self._answering.response_complete:
            self.transport.close()

    def second(self) -> None:
        """A second has gone by; close the connection if it was the client's, and one too many."""
        cycle = self._answering
        answering = cycle is not None and not cycle.response_complete and not cycle.more_body
        if answering and not (self.flow.write_paused or self.transport.is_closing()):
            return
        self._waited += 1
        if self._waited <= (self._slow if self._begun else self._idle):
            return
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()  # it does not read what we say
        elif self._begun:
            self._refuse(ProblemError(408, f"The request took longer than {self._slow} seconds to arrive."))
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(ProblemError(400, msg))

    def _refuse(self, refusal: ProblemError) -> None:
        self.transport.write(_answer(refusal, "connection: close\r\n"))
        self.transport.close()


def _answer(refusal: ProblemError, more: str = "") -> bytes:
    body = refusal.body
    more += "".join(f"{name.lower()}: {value}\r\n" for name, value in refusal.headers.items())
    head = HEAD.format(
        status=refusal.status, phrase=refusal.title, kind=MEDIA_TYPE, length=len(body), more=more
    )
    return head.encode() + body


BUSY = _answer(too_many())

"""A connection as uvicorn holds it, within limits: silent, slow and endless ones are closed."""

import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.door import WHOLE, too_many
from serving.metrics import Metrics
from serving.problems import MEDIA_TYPE, Refusal
from serving.settings import Settings

Headers = list[tuple[bytes, bytes]]
MOST_HEAD = 65_536  # bytes of a request before its body
HEAD = "HTTP/1.1 {status} {phrase}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{more}\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SPECIAL = re.compile(rb"\r\n(?:transfer-encoding|expect|upgrade|connection: *close)", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """Counts the seconds that the client keeps us waiting, rather than set a timer for each request."""

    def __init__(self, settings: Settings, metrics: Metrics, **given: Any) -> None:
        super().__init__(**given)
        self._busy, self._metrics = settings.max_in_flight, metrics
        self._most, self._slow, self._idle = (
            settings.max_connections,
            settings.request_seconds,
            settings.keep_alive_seconds,
        )
        self._waited = 0
        self._begun = True  # whether a request has; a new connection is to send one soon
        self._in_head, self._head = False, 0  # whether a head is arriving, and its bytes
        self._answering: Any = None  # of requests sent together, the one whose turn it is

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._refuse(Refusal(503, "Too many connections.", headers={"Retry-After": "1"}))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if len(self.tasks) >= self._busy and self._shed(data):
            return
        if not self._begun:
            self._begun, self._waited = True, 0
        old = self._in_head
        super().data_received(data)
        if self._in_head:
            self._head = self._head + len(data) if old else 0  # one read at a time is bounded itself
            if self._head > MOST_HEAD and not self.transport.is_closing():
                self._refuse(Refusal(431, f"The request's head is longer than {MOST_HEAD} bytes."))

    def on_message_begin(self) -> None:
        """See httptools."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._in_head = False
        super().on_headers_complete()

    def _shed(self, data: bytes) -> bool:
        """Turn a whole request away at a tenth of what answering costs; whether that was possible."""
        cycle = self._answering
        idle = cycle is None or (cycle.response_complete and not cycle.more_body)
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = _LENGTH.findall(head)
        if not (idle and not self._in_head and head.startswith(b"POST ") and lengths == [b"%d" % len(body)]):
            return False
        if _SPECIAL.search(head):
            return False
        self.transport.write(BUSY)
        self._metrics.answered("POST", "shed", 503, 0.0)
        self._begun, self._waited = False, 0
        return True

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
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
        if cycle.disconnected or not cycle.keep_alive or self.flow.write_paused or cycle.response_started:
            return False
        if cycle.scope["method"] == "HEAD":
            return False
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
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
            self._refuse(Refusal(408, f"The request took longer than {self._slow} seconds to arrive."))
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(Refusal(400, msg))

    def _refuse(self, refusal: Refusal) -> None:
        self.transport.write(_answer(refusal, "connection: close\r\n"))
        self.transport.close()


def _answer(refusal: Refusal, more: str = "") -> bytes:
    body = refusal.body
    more += "".join(f"{name.lower()}: {value}\r\n" for name, value in refusal.headers.items())
    head = HEAD.format(
        status=refusal.status, phrase=refusal.title, kind=MEDIA_TYPE, length=len(body), more=more
    )
    return head.encode() + body


BUSY = _answer(too_many())

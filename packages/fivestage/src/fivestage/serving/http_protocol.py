"""uvicorn's HTTP protocol within limits: what stock uvicorn lacks against slow, endless and too many clients.

408 for requests that arrive too slowly, 431 for endless heads, 503 for connections above the limit and, at a
tenth of the cost, for requests above it; at the end `connection: close` and a moment for what is on its way.
"""

import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fivestage.serving.problems import ProblemError, too_many

MOST_HEAD = 65_536  # bytes of a request before its body
LINGER = 0.3  # seconds in which a stopping service hears what was on its way
TICK = 0.1  # seconds
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\n(upgrade:)", re.IGNORECASE)
_SPECIAL = re.compile(rb"\r\n(?:transfer-encoding|expect|upgrade|connection: *close)", re.IGNORECASE)


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection; a clock for all of them does what would take a timer for each request."""

    cycle: Any  # None before the first request

    def __init__(self, config: Any, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        state = config.loaded_app.state
        self._settings, self._admission, self._metrics = state.settings, state.admission, state.metrics
        self._waited = 0  # seconds for the client
        self._begun = True  # whether a request has; a new connection is to send one soon
        self._in_head, self._head = False, 0  # whether a head is arriving, and its bytes
        self._last = False  # whether the next answer is the last on this connection
        if not getattr(state, "clock_runs", False):
            state.clock_runs = True
            self.loop.call_later(TICK, _tick, self.loop, self.connections, state.service, 1)

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            self._refuse(too_many("connections"))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._admission.in_flight >= self._admission.most and self._shed(data):
            return
        if not self._begun:
            self._begun, self._waited = True, 0
        if b"pgrade" in data or b"PGRADE" in data:
            data = self._without_upgrade(data)
        was_in_head = self._in_head
        super().data_received(data)
        if self._in_head:
            self._head = self._head + len(data) if was_in_head else 0  # one read at a time is bounded itself
            if self._head > MOST_HEAD and not self.transport.is_closing():
                self._refuse(ProblemError(431, f"The request's head is longer than {MOST_HEAD} bytes."))

    def on_message_begin(self) -> None:
        """See httptools."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._in_head = False
        super().on_headers_complete()
        if self._last:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """See uvicorn; `second` does for its timer, which costs more at each request."""
        self._begun, self._waited = False, 0
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def second(self) -> None:
        """A second has gone by; close the connection if it was the client's, and one too many."""
        cycle = self.cycle
        answering = cycle is not None and not cycle.response_complete and not cycle.more_body
        if answering and not (self.flow.write_paused or self.transport.is_closing()):
            return
        self._waited += 1
        settings = self._settings
        if self._waited <= (settings.request_seconds if self._begun else settings.keep_alive_seconds):
            return
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()  # it does not read what we say
        elif self._begun:
            seconds = settings.request_seconds
            self._refuse(ProblemError(408, f"The request took longer than {seconds} seconds to arrive."))
        else:
            self.transport.close()

    def announce_close(self) -> None:
        """The service will stop: the next answer on this connection is its last, which the client is told."""
        self._last = True

    def shutdown(self) -> None:
        """The service stops: what has begun is answered, and what a client may have sent already."""
        self._last = True
        if self._answered():
            self.loop.call_later(LINGER, self._close_if_answered)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(ProblemError(400, msg))

    def _close_if_answered(self) -> None:
        if self._answered():
            self.transport.close()

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _without_upgrade(self, data: bytes) -> bytes:
        """The request without its wish to upgrade: a server may ignore it, and the parser must not see it."""
        head, end, body = data.partition(b"\r\n\r\n")
        return _UPGRADE.sub(rb"\r\nno-\1", head) + end + body if self._answered() else data

    def _shed(self, data: bytes) -> bool:
        """Turn a whole request away before it is parsed; whether that was possible."""
        head, found, body = data.partition(b"\r\n\r\n")
        if self._in_head or not self._answered() or (self.cycle is not None and self.cycle.more_body):
            return False
        if not found or not head.startswith(b"POST ") or _LENGTH.findall(head) != [b"%d" % len(body)]:
            return False
        if _SPECIAL.search(head):
            return False
        self.transport.write(BUSY)
        self._metrics.answered("POST", "shed", 503, 0.0)
        self._begun, self._waited = False, 0
        return True

    def _refuse(self, problem: ProblemError) -> None:
        self.transport.write(_bytes(problem, b"connection: close\r\n"))
        self.transport.close()


def _tick(loop: Any, connections: set[Any], service: Any, count: int) -> None:
    """Let the connections know that time goes by, and that the service will stop."""
    for connection in tuple(connections):
        if service.draining:  # a kept one that is closed later may be closed just as its client asks
            connection.announce_close()
        if count % round(1 / TICK) == 0:
            connection.second()
    loop.call_later(TICK, _tick, loop, connections, service, count + 1)


def _bytes(problem: ProblemError, more: bytes = b"") -> bytes:
    response = problem.response()
    headers = b"".join([b"%b: %b\r\n" % header for header in response.raw_headers])
    status = f"HTTP/1.1 {problem.status_code} {problem.title}\r\n".encode()
    return b"%b%b%b\r\n%b" % (status, headers, more, bytes(response.body))


BUSY = _bytes(too_many())

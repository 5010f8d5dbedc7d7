"""uvicorn's HTTP protocol within limits: what stock uvicorn lacks against slow, endless and too many clients.

408 for requests that arrive too slowly, 431 for endless heads, 503 for connections above the limit and, at a
fifth of the cost, for requests above it; at the end `connection: close` and a moment for what is on its way.
"""

import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fivestage.serving.problems import ProblemError, too_many

MAX_HEAD_BYTES = 65_536  # of a request before its body
LINGER_SECONDS = 0.3  # in which a stopping service takes what was on its way
_UPGRADE = re.compile(rb"\r\n(upgrade:)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SPECIAL = re.compile(rb"\r\n(?:transfer-encoding|expect|upgrade|connection: *close)", re.IGNORECASE)


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    cycle: Any  # None before the first request

    def __init__(self, config: Any, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        state = config.loaded_app.state
        self._settings, self._service = state.settings, state.service
        self._admission, self._metrics = state.admission, state.metrics
        self._in_head, self._stopping = False, False
        self._head_bytes = self._waited_seconds = 0

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self._output = HeadWithBody(transport)
        super().connection_made(self._output)  # type: ignore[arg-type]
        self._clock = self.loop.call_later(1, self._count_second)
        if len(self.connections) > self._settings.max_connections:
            self._refuse(too_many("connections"))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._clock.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._admission.is_full and self._turn_away(data):
            return
        if b"pgrade" in data or b"PGRADE" in data:
            data = self._without_upgrade(data)
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(ProblemError(431, f"The request's head is longer than {MAX_HEAD_BYTES} bytes."))

    def on_message_begin(self) -> None:
        """See httptools."""
        self._in_head = True
        self._head_bytes = self._waited_seconds = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._in_head = False
        super().on_headers_complete()
        # Without time to drain, clients are told once the port is closed: else they would come again at once.
        if self._stopping or (self._service.draining and self._settings.drain_seconds):
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """See uvicorn."""
        self._output.flush()
        super().on_response_complete()

    def shutdown(self) -> None:
        """The service stops: what has begun is answered, and what a client may have sent already."""
        self._stopping = True
        if self._is_answered():
            self.loop.call_later(LINGER_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(ProblemError(400, msg))

    def _count_second(self) -> None:
        """Close the connection when a request takes too long to arrive, or its answer to be read."""
        self._clock = self.loop.call_later(1, self._count_second)
        arriving = self.cycle is None or self._in_head or self.cycle.more_body
        unread = self.flow.write_paused or self.transport.is_closing()
        self._waited_seconds = self._waited_seconds + 1 if arriving or unread else 0
        if self._waited_seconds <= self._settings.request_seconds:
            return
        if unread:
            self.transport.abort()
        elif self._is_answered() and self.cycle is not None and not self._in_head:
            self.transport.close()  # refused before its body had come, as too large
        else:
            seconds = self._settings.request_seconds
            self._refuse(ProblemError(408, f"The request took longer than {seconds} seconds to arrive."))

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _without_upgrade(self, data: bytes) -> bytes:
        """The request without its wish to upgrade: a server may ignore it, and the parser must not see it."""
        head, end, body = data.partition(b"\r\n\r\n")
        return _UPGRADE.sub(rb"\r\nno-\1", head) + end + body if self._is_answered() else data

    def _turn_away(self, data: bytes) -> bool:
        """Answer a whole request with 503 before it is parsed; whether that was possible."""
        head, _, body = data.partition(b"\r\n\r\n")
        arriving = self._in_head or (self.cycle is not None and self.cycle.more_body)
        is_whole = _LENGTH.findall(head) == [b"%d" % len(body)] and not _SPECIAL.search(head)
        if arriving or not (self._is_answered() and is_whole and head.startswith(b"POST ")):
            return False
        self.transport.write(BUSY)
        self._metrics.answered("POST", "shed", 503, 0.0)
        self._waited_seconds = 0
        self.on_response_complete()
        return True

    def _refuse(self, problem: ProblemError) -> None:
        self.transport.write(problem.message(b"connection: close\r\n"))
        self.transport.close()


class HeadWithBody:
    """A transport that keeps a response's head for its body: each write is a packet and a system call."""

    def __init__(self, transport: Any) -> None:
        self._transport, self._head = transport, b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, but for a head alone; what nobody reads any more is dropped."""
        if self.is_closing():
            return
        if self._head or not data.endswith(b"\r\n\r\n") or data.startswith(b"HTTP/1.1 100"):
            self._transport.write(self._head + data)
            self._head = b""
        else:
            self._head = data

    def flush(self) -> None:
        """Write a head that gets no body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close once all is written."""
        self.flush()
        self._transport.close()


BUSY = too_many().message()

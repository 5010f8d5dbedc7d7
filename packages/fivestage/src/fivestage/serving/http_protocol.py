"""uvicorn's HTTP protocol with limits that uvicorn lacks: on time, header size and connections.

It answers 408 to a request that arrives too slowly, 431 to an oversized head, and 503 to a connection above
the limit. It ignores the header Upgrade, as a server may (RFC 9110, 7.8); Java's client sends it. On shutdown
it sends `connection: close` and still answers requests that were already on their way.
"""

from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fivestage.serving.problems import ProblemError, too_many
from fivestage.serving.single_write import SingleWrite

MAX_HEAD_BYTES = 65_536  # of a request without its body
MAX_HEADERS = 200  # of a request, trailers included; a short one takes 50 times its bytes
MAX_PIPELINED = 10  # requests that wait for earlier ones, each with up to 64 KiB of head and of body
LINGER_SECONDS = 0.3  # from the stop to the first `connection: close`
# A stopping service closes a connection without announcing it only after it was idle for this long, as its
# client may be sending the next request, which would be lost.
IDLE_SECONDS = 3


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection of a client."""

    scope: Any  # of the newest request; None before the first
    cycle: Any  # the newest request whose head is complete; None before the first

    def __init__(self, config: Any, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        state = config.loaded_app.state
        self._settings, self._service = state.settings, state.service
        self._refusal: ProblemError | None = None  # to be sent once earlier requests are answered
        self._arriving = self._stopping = False
        self._head_bytes = 0  # received of a head or of trailers
        self._waited_seconds = 0  # for the client

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(SingleWrite(transport))  # type: ignore[arg-type]
        self.loop.call_later(1, self._count_second)
        if self._service.draining:  # accepted while the port was being closed
            self.shutdown()
        if len(self.connections) > self._settings.max_connections:
            self._refuse(too_many("connections"))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._refusal:
            return
        self._head_bytes += len(data)
        while data:
            try:
                self.parser.feed_data(data)
                data = b""
            except HttpParserUpgrade as upgrade:  # the parser skips the body: parse it as a plain request
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = HttpRequestParser(self)
            except HttpParserError as error:
                reason = error.__context__  # of a method below that raised
                if not isinstance(reason, ProblemError):
                    reason = ProblemError(400, "Invalid HTTP request received.")
                self._refuse(reason)
                return
        headers = len(self.headers or ()) if self._head_bytes else 0  # of a head or trailers still arriving
        is_long = self._head_bytes > MAX_HEAD_BYTES or headers > MAX_HEADERS
        if is_long and not self.transport.is_closing():
            most = f"at most {MAX_HEADERS} with {MAX_HEAD_BYTES} bytes"
            self._refuse(ProblemError(431, f"The request has too many headers or trailers: send {most}."))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        # Each refers to this connection: they, and what it has received, would wait for a garbage collection.
        self.pipeline.clear()
        self.cycle = None

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """See httptools."""
        self._arriving, self._waited_seconds = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        if self.parser.should_upgrade():  # to be parsed again
            if self.parser.get_method() == b"CONNECT":
                raise ProblemError(400, "This service opens no tunnels.")
            return
        if len(self.pipeline) == MAX_PIPELINED:
            raise too_many("requests ahead of their answers")
        self._head_bytes = 0
        self.scope["headers"] = list(self.headers)  # without trailers, which no proxy has checked
        super().on_headers_complete()
        # Without a drain time, close connections only after the port: clients would reconnect to it at once.
        if self._stopping or (self._service.draining and self._settings.drain_seconds):
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if self.parser.should_upgrade():  # to be parsed again
            return
        self._arriving, self._head_bytes, self._waited_seconds = False, 0, 0
        super().on_message_complete()
        self.cycle.more_body = False  # uvicorn leaves it if the request is answered

    def on_response_complete(self) -> None:
        """See uvicorn, which sets a timer per response; `_count_second` closes idle connections instead."""
        self.transport.write(b"")  # flush a head without a body
        self._waited_seconds = 0
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
            elif self._refusal:
                self._refuse(self._refusal)

    def shutdown(self) -> None:
        """Stop after answering the requests that have begun or may already be on their way."""
        # Delayed: a client whose connection closes reconnects at once, perhaps to a worker that stops next.
        self.loop.call_later(LINGER_SECONDS, self._leave)

    def _leave(self) -> None:
        self._stopping = True
        if self.cycle:
            self.cycle.keep_alive = False

    def _count_second(self) -> None:
        """Close the connection if its client is too slow, or has been idle for too long."""
        if self not in self.connections:
            return
        self.loop.call_later(1, self._count_second)
        self._waited_seconds += 1
        late = self._waited_seconds > (limit := self._settings.request_seconds)
        if self.flow.write_paused or self.transport.is_closing():  # the client does not read
            if late:
                self.transport.abort()
        elif self._refusal or self._is_answering():
            self._waited_seconds = 0
        elif self._arriving or (self.scope is None and not self._stopping):
            if late:
                self._refuse(ProblemError(408, f"The request did not arrive within {limit} seconds."))
        elif self._waited_seconds > (IDLE_SECONDS if self._stopping else self._settings.keep_alive_seconds):
            # Delayed: timers run before received data is read, so a request would be closed unread.
            self.loop.call_later(0.01, super().shutdown)

    def _is_answering(self) -> bool:
        """Whether a complete request has no answer yet; the next one may be arriving."""
        newest = self.cycle
        return bool(self.pipeline or (newest and not (newest.response_complete or newest.more_body)))

    def _refuse(self, problem: ProblemError) -> None:
        """Answer the arriving request with a problem, after those before it, and close the connection."""
        if self._is_answering():
            self._refusal = problem
            if self.cycle.more_body:  # the request itself is waiting there
                self.pipeline.popleft()
            return
        if not (self.cycle and self.cycle.more_body and self.cycle.response_started):
            self.transport.write(problem.message(b"connection: close\r\n"))
        self.transport.close()

"""Load generator: each connection sends a request, waits for the response, and sends the next."""

import asyncio
import contextlib
import gc
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import uvloop


@dataclass(frozen=True)
class Result:
    """The result of a load; CPU is the server's, including its child processes."""

    requests: int  # with status 200
    refused: int  # with status 503 or 429 and a Retry-After header
    failures: int  # anything else
    seconds: float
    cpu_seconds: float
    latencies: list[float]  # seconds, sorted

    def percentile(self, share: float) -> float:
        """Return the latency in milliseconds that a share of the requests did not exceed."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))] * 1000


class _Client(asyncio.Protocol):
    """One connection; to keep a rate, it sends a request at most every `pause` seconds."""

    def __init__(self, requests: Iterator[bytes], until: float, pause: float) -> None:
        self._requests, self._until, self._pause = requests, until, pause
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.latencies: list[float] = []
        self.refused = self.failures = 0
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def begin(self) -> None:
        """Send the first request."""
        self._send()

    def _send(self) -> None:
        self._buffer = b""
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        place = lower.find(b"content-length:")
        length = int(lower[place + 15 :].partition(b"\r\n")[0])
        if len(body) < length:
            return
        now = time.perf_counter()
        if head[9:12] == b"200":
            self.latencies.append(now - self._sent)
        elif head[9:12] in {b"503", b"429"} and b"\r\nretry-after:" in lower:
            self.refused += 1
        else:
            self.failures += 1
        if now >= self._until:
            self._transport.close()
        elif self._pause:
            self._loop.call_later(max(0.0, self._sent + self._pause - now), self._send)
        else:
            self._send()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


REQUEST_ID = (
    b"0123456789abcdef0123456789abcdef"  # in a request's headers; replaced each time the request is sent
)


def post(path: str, body: bytes) -> bytes:
    """Return a POST request as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"X-Request-Id: {REQUEST_ID.decode()}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _with_new_ids(requests: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the requests in turn, each time with a new request id, as clients and proxies do."""
    for number, request in enumerate(itertools.cycle(requests)):
        yield request.replace(REQUEST_ID, b"%032x" % number, 1)


def load(
    port: int, requests: Sequence[bytes], connections: int, seconds: float, pid: int, per_second: float = 0
) -> Result:
    """Put a load on a local server, at full speed or at a rate; requests are sent in turn."""
    turn = _with_new_ids(requests)

    async def run() -> tuple[list[_Client], float]:
        loop = asyncio.get_running_loop()
        until = time.perf_counter() + seconds
        pause = connections / per_second if per_second else 0.0
        connected = [
            await loop.create_connection(lambda: _Client(turn, until, pause), "127.0.0.1", port)
            for _ in range(connections)
        ]
        clients = [client for _, client in connected]
        started = time.perf_counter()
        for place, client in enumerate(clients):  # at a rate, spread over the first pause
            loop.call_later(pause * place / connections, client.begin)
        await asyncio.gather(*(client.done for client in clients))
        return clients, time.perf_counter() - started

    gc.collect()
    gc.disable()  # its pauses would be taken for the server's
    before = cpu_seconds(pid)
    clients, spent = uvloop.run(run())
    cpu = cpu_seconds(pid) - before
    gc.enable()
    latencies = sorted(latency for client in clients for latency in client.latencies)
    refused, failures = (sum(getattr(one, name) for one in clients) for name in ("refused", "failures"))
    return Result(len(latencies), refused, failures, spent, cpu, latencies)


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its descendants, ended ones included; 0 if it has ended itself."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in family(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(one.cpu_times()[:4])  # user and system, and those of ended children
    return total


def resident_megabytes(pid: int) -> float:
    """Return the memory of a process and its descendants in MiB; shared pages count proportionally (PSS)."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.memory_full_info().pss
    return total / 2**20

"""Clients that mean harm, on the bare socket: always an answer as documented or an end, never a hang."""

import asyncio
import contextlib
import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fivestage.artifact.artifact import Artifact
from fivestage.serving.http_protocol import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED
from fivestage.serving.service_settings import Settings
from tests.serving.conftest import Running, Traffic, deploy, hold_answers, running

POST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def strict(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    settings = deploy(artifact, folder, "1").settings
    limits = {"request_seconds": 1, "keep_alive_seconds": 2, "max_connections": 20}
    with running(Settings(**{**settings.model_dump(), **limits})) as service:
        yield service


def connected(service: Running) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=300)


def said(connection: socket.socket) -> bytes:
    """All that comes until the other side closes; a hang fails the test."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def good(traffic: Traffic) -> bytes:
    body = json.dumps(traffic.request(0)).encode()
    return POST + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (POST + b"Content-Length: -5\r\n\r\n", 400),
        (POST + b"Content-Length: 1e3\r\n\r\n", 400),
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
        (POST + b"Content-Length: 999999999999\r\n\r\n", 413),
        (POST + b"Content-Length: " + b"0" * 5000 + b"\r\n\r\n", 400),  # an empty body
        (b"GET " + b"/" * 8 * MAX_HEAD_BYTES, 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 8 * MAX_HEAD_BYTES, 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES, 431),
        (CHUNKED + b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES, 431),  # trailers
        (b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * (2 + MAX_HEADERS), 431),  # few bytes, much memory
        (b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * MAX_HEADERS, 408),
        (CHUNKED + b"2\r\n{}\r\n0\r\nX: " + b"y" * 8 * MAX_HEAD_BYTES, 431),
        (CHUNKED + b"2;" + b"y" * 8 * MAX_HEAD_BYTES, 431),
        (b"", 408),
        (b"GET / HTTP/1.1\r\nHos", 408),
        (POST + b"Content-Length: 500\r\n\r\n{", 408),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", 408),
    ],
)
def test_what_is_no_request_or_never_ends_is_refused_and_closed(
    strict: Running, sent: bytes, status: int
) -> None:
    with connected(strict) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        answer = said(connection)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert answer or status == 431, "a reset may overtake the answer only where much was still to be read"
    assert strict.client.get("/healthz").status_code == 200


def test_a_request_that_drips_is_closed_however_busy_it_looks(strict: Running, traffic: Traffic) -> None:
    with connected(strict) as connection:
        connection.settimeout(0.05)
        request, answer = good(traffic), b""
        for place in range(len(request)):
            with contextlib.suppress(ConnectionError):
                connection.sendall(request[place : place + 1])
            with contextlib.suppress(TimeoutError):
                if answer := connection.recv(1000):
                    break
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert place < len(request) - 1  # long before it was whole


def test_requests_sent_together_are_answered_in_their_order(strict: Running, traffic: Traffic) -> None:
    with connected(strict) as connection:
        connection.sendall(
            good(traffic)
            + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
            + POST
            + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
            + b"GET /x HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n"
        )
        answers = said(connection)
    statuses = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"200", b"422", b"404"]


def test_connections_are_bounded_and_an_idle_one_is_closed(strict: Running) -> None:
    held = [connected(strict) for _ in range(30)]
    answers = [said(one) for one in held]
    for one in held:
        one.close()
    turned_away = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
    assert len(turned_away) >= 10
    assert b"retry-after: 1" in turned_away[0]
    assert strict.client.get("/readyz").status_code == 200
    with connected(strict) as idle:
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert said(idle).startswith(b"HTTP/1.1 200 ")


def test_who_does_not_read_its_answers_is_cut_off(strict: Running) -> None:
    connections = strict.server.server_state.connections
    with connected(strict) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(1)
        with contextlib.suppress(OSError):
            for _ in range(20_000):
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        peer = connection.getsockname()
        until = time.monotonic() + 300
        while any(one.client == peer for one in tuple(connections)):  # type: ignore[union-attr]
            assert time.monotonic() < until
            time.sleep(0.1)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"rows":' * 20_000,
        b'{"rows":[' + b'{"a":' * 50_000,
        b"\xff\xfe{}",
        b'{"customer": "\xed\xa0\x80"}',
        b'{"customer": "\\ud800"}',
        b"{}" + b"\x00" * 100,
        b"",
        b"-" * 1000,
        b"1" * 100_000,
    ],
)
def test_hostile_json_is_a_mistake_of_the_client(strict: Running, body: bytes) -> None:
    for path in ("/predict", "/outcomes", "/v2/models/synthetic-binary/infer"):
        answer = strict.client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}, (path, answer.text)


def test_bodies_that_never_end_do_not_fill_the_memory(
    strict: Running, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fivestage.serving.middleware.MAX_HELD_BYTES", 150_000)
    held = [connected(strict) for _ in range(3)]
    for one in held:
        one.sendall(POST + b"Content-Length: 1000000\r\n\r\n" + b" " * 100_000)
    answers = [said(one) for one in held]
    for one in held:
        one.close()
    assert sorted(answer[9:12] for answer in answers) == [b"408", b"503", b"503"]
    assert strict.client.post("/predict", json=traffic.request(0)).status_code == 200


def test_a_head_that_never_ends_after_a_body_refused_early_is_cut_too(strict: Running) -> None:
    with connected(strict) as connection:
        connection.sendall(POST + b"Content-Length: 3000000\r\n\r\n" + b" " * 3_000_000)
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD_BYTES)
        answers = said(connection)
    assert not answers or b"HTTP/1.1 413 " in answers
    assert strict.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket"])
def test_who_would_rather_speak_another_protocol_is_answered_in_this_one(
    strict: Running, traffic: Traffic, upgrade: bytes
) -> None:
    more = b"\r\nConnection: Upgrade, close, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AA" % upgrade
    with connected(strict) as connection:
        connection.sendall(good(traffic).replace(b"\r\nHost: x", b"\r\nHost: x" + more))
        assert b'"predictions":[{' in said(connection)
    with connected(strict) as connection:
        request = good(traffic).replace(b"\r\nHost: x", b"\r\nHost: x" + more)
        connection.sendall(request[:20])
        time.sleep(0.05)
        connection.sendall(request[20:])
        assert b'"predictions":[{' in said(connection)
    with connected(strict) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x" + more + b"\r\n\r\n")
        assert said(connection).startswith(b"HTTP/1.1 200 OK")


UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
INNER = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"  # a request as the body of another one
OUTER = POST + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(INNER) + INNER


@pytest.mark.parametrize(
    ("parts", "statuses"),
    [
        ((OUTER,), [b"400"]),
        ((OUTER[:20], OUTER[20:]), [b"400"]),
        ((OUTER[: OUTER.index(b"Upgrade: ")], OUTER[OUTER.index(b"Upgrade: ") :]), [b"400"]),
        ((OUTER[: OUTER.index(b"h2c")], OUTER[OUTER.index(b"h2c") :]), [b"400"]),
        ((OUTER[: OUTER.index(INNER)], INNER), [b"400"]),
        ((OUTER[:20], OUTER[20 : OUTER.index(INNER)], INNER), [b"400"]),
        ((b"\r\n\r\n" + OUTER,), [b"400"]),
        ((INNER + OUTER,), [b"200", b"400"]),
        ((INNER, OUTER[:20], OUTER[20:]), [b"200", b"400"]),
        ((CHUNKED.replace(b"\r\n", b"\r\n" + UPGRADE, 1)[:-1], b"\n" + INNER), [b"400"]),
        ((b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n" + INNER,), [b"400"]),
    ],
)
def test_the_body_of_a_request_that_would_upgrade_is_never_another_request(
    strict: Running, parts: tuple[bytes, ...], statuses: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Only a head in one packet was looked at: elsewhere its body was answered as the next request."""
    with connected(strict) as connection:
        for part in parts:
            with contextlib.suppress(ConnectionError):
                connection.sendall(part)
            time.sleep(0.05)
        answers = said(connection)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == statuses
    assert "WebSocket" not in caplog.text


@pytest.mark.parametrize(
    "upgrade", [UPGRADE, b"connection: close-not,upgrade\r\nuPGRADE:\tx\r\nUpgrade: h2c\r\n"]
)
@pytest.mark.parametrize("before", [b"", INNER, INNER[:-2] + UPGRADE + b"\r\n"])
def test_who_would_upgrade_is_answered_wherever_the_head_is_cut(
    strict: Running, traffic: Traffic, before: bytes, upgrade: bytes
) -> None:
    """A head that was cut before its header, or that followed another request, was refused."""
    body = good(traffic).partition(b"\r\n\r\n")[2]
    plain = good(traffic).replace(b"\r\nHost: x\r\n", b"\r\nHost: x\r\n" + upgrade)
    chunked = CHUNKED.replace(b"\r\nHost: x\r\n", b"\r\nHost: x\r\n" + upgrade)
    chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    expected = [b"200"] * (2 + bool(before))
    with connected(strict) as connection:
        for request in (plain, chunked):
            for cut in range(1, len(request), 5):
                connection.sendall(before + request[:cut])
                time.sleep(0.002)
                connection.sendall(request[cut:] + INNER)
                answers = b""
                while answers.count(b"HTTP/1.1 ") < len(expected) or not answers.endswith(b"}"):
                    answers += (received := connection.recv(65_536))
                    assert received, answers
                assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == expected
                assert b'"predictions":[{' in answers


def test_many_requests_to_upgrade_in_one_packet_are_answered_in_turn(strict: Running) -> None:
    with connected(strict) as connection:
        connection.sendall(
            (INNER[:-2] + UPGRADE + b"\r\n") * MAX_PIPELINED + INNER[:-2] + b"Connection: close\r\n\r\n"
        )
        assert said(connection).count(b"HTTP/1.1 200 ") == 1 + MAX_PIPELINED


def test_a_body_that_begins_a_packet_with_the_end_of_its_head_is_not_changed(strict: Running) -> None:
    body = b"{}\r\nupgrade: h2c"
    with connected(strict) as connection:
        connection.sendall(POST + b"Content-Length: %d\r\n" % len(body))
        time.sleep(0.05)
        connection.sendall(b"\r\n" + body + INNER)
        answers = said(connection)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"422", b"200"]


@pytest.mark.parametrize(
    ("second", "status", "seconds"),
    [
        (b"GET /healthz HTTP/1.1\r\nHos", b"408", 3),
        (b"GARBAGE\r\n\r\n", b"400", 0.2),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000, b"431", 0.2),
        (CHUNKED + b"xyz\r\n", b"400", 0.2),
        (OUTER[:20] + OUTER[20:].replace(b"Upgrade: h", b"Upgrade : h"), b"400", 0.2),
    ],
)
def test_a_refusal_waits_until_the_requests_before_are_answered(
    strict: Running,
    traffic: Traffic,
    monkeypatch: pytest.MonkeyPatch,
    second: bytes,
    status: bytes,
    seconds: float,
) -> None:
    """The client of the first request got it, and lost its answer."""
    add, held = strict.service._commit.add, threading.Event()

    async def later(*given: Any) -> None:
        await asyncio.to_thread(held.wait)
        await add(*given)

    monkeypatch.setattr(strict.service._commit, "add", later)
    with connected(strict) as connection:
        connection.sendall(good(traffic))
        time.sleep(0.1)
        connection.sendall(INNER + second)
        time.sleep(seconds)
        held.set()
        answers = said(connection)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", status]
    assert b'"predictions":[{' in answers


def test_a_client_that_leaves_before_its_answers_is_no_failure_of_ours(
    live: Running, traffic: Traffic, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first of several requests was not told that its client is gone, and its answer failed."""
    held = hold_answers(live, monkeypatch)
    with connected(live) as connection:
        connection.sendall(good(traffic) + INNER)
        while not held:
            time.sleep(0.01)
        loop = held[0].get_loop()
        connections: set[Any] = {*live.server.server_state.connections}
        loop.call_soon_threadsafe(connections.pop().transport.abort)
        assert said(connection) == b""
    loop.call_soon_threadsafe(held[0].set_result, None)
    while live.server.server_state.tasks:
        time.sleep(0.01)
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == []


@pytest.mark.parametrize("rest", [b"", b"z\r\n"])
def test_a_request_answered_before_its_body_is_not_answered_again(strict: Running, rest: bytes) -> None:
    """A public route does not read the body; its client got a 408 or a 400 too."""
    with connected(strict) as connection:
        connection.sendall(INNER[:-2] + b"Transfer-Encoding: chunked\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(rest)
        assert said(connection) == b""


@pytest.mark.parametrize(("packing", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_body_may_be_packed_and_no_more_than_its_limit_unpacked(
    strict: Running, traffic: Traffic, packing: str, pack: Callable[[bytes], bytes]
) -> None:
    sent = {"content-encoding": packing, "content-type": "application/json"}
    body = json.dumps(traffic.request(0)).encode()
    plain = strict.client.post("/predict", json=traffic.request(0)).json()["predictions"]
    answer = strict.client.post("/predict", content=pack(body), headers=sent)
    assert answer.json()["predictions"] == plain
    for hostile, status in (
        (pack(b" " * 50_000_000), 413),
        (body, 400),
        (pack(body)[:-9], 400),
        (pack(body) + b"more", 400),
        (b"", 400),
    ):
        assert strict.client.post("/predict", content=hostile, headers=sent).status_code == status
    refused = strict.client.post("/predict", content=body, headers=sent | {"content-encoding": "br"})
    assert refused.status_code == 415
    assert "br" in refused.json()["detail"]

"""Heads said again take the short way, which answers as the long one does; a stop loses no request."""

import asyncio
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fivestage.artifact.artifact import Artifact
from fivestage.deployment import local_process as local
from fivestage.deployment.service_client import url
from fivestage.serving.commit import Then
from fivestage.serving.connection import KNOWN
from fivestage.serving.settings import Settings
from tests.serving.conftest import Deployed, Running, World, deploy, free_port, running
from tests.serving.test_hostile import connected, good, said


def ask(connection: socket.socket, *sent: bytes) -> list[bytes]:
    """As many answers as requests, whole."""
    connection.sendall(b"".join(sent))
    found: list[bytes] = []
    buffer = b""
    while len(found) < len(sent):
        buffer += (part := connection.recv(65_536))
        assert part, buffer
        while (head := buffer.partition(b"\r\n\r\n"))[1]:
            length = int(re.findall(rb"content-length: (\d+)", head[0])[0])
            if len(head[2]) < length:
                break
            found.append(head[0] + head[1] + head[2][:length])
            buffer = head[2][length:]
    return found


def probability(answer: bytes) -> float:
    found: float = json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"][0]["probability"]
    return found


def unparsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(HttpToolsProtocol, "data_received", fail)


def test_a_head_said_again_is_not_parsed_and_answered_alike(
    live: Running, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = connected(live), connected(live)
    with one, other:
        (first,) = ask(one, good(world))
        with monkeypatch.context() as patched:
            unparsed(patched)
            (again,), (elsewhere,) = ask(one, good(world)), ask(other, good(world))
        (apart,) = ask(one, good(world).replace(b"Host: x", b"Host: y"))
    answers = (first, again, elsewhere, apart)
    assert {probability(answer) for answer in answers} == {probability(first)}
    assert {re.sub(rb"-[0-9a-f]{8}", b"", answer) for answer in answers} == {
        re.sub(rb"-[0-9a-f]{8}", b"", first)
    }
    assert len(list(live.service.store.answers())) == 4
    assert 'handler="/predict",method="POST",status="200"} 4.0' in live.client.get("/metrics").text


def test_on_the_short_way_mistakes_and_failures_are_problems_too(
    live: Running, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, _, body = good(world).partition(b"\r\n\r\n")
    with connected(live) as connection:
        ask(connection, good(world))
        with monkeypatch.context() as patched:
            unparsed(patched)
            bad = ask(connection, head + b"\r\n\r\n" + b"x" * len(body))
            bad += ask(connection, head + b"\r\n\r\n" + re.sub(rb'("origin": ")...', rb"\1XXX", body))
            with patched.context() as broken:
                assert live.service.model is not None
                broken.setattr(live.service.model.engine, "predict", None)
                bad += ask(connection, good(world))
            bad += ask(connection, good(world))
    assert [answer[9:12] for answer in bad] == [b"400", b"422", b"500", b"200"]
    assert all(b"application/problem+json" in answer for answer in bad[:3])
    assert live.service._commit._waiting == []


@pytest.mark.parametrize(
    "odd",
    [
        b"Expect: 100-continue",
        b"Connection: close",
        b"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"X: " + b"y" * 3000,
    ],
)
def test_odd_heads_are_parsed_each_time(
    live: Running, world: World, odd: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = good(world).replace(b"Host: x", b"Host: x\r\n" + odd)
    parsed: list[bytes] = []
    old = HttpToolsProtocol.data_received

    def counted(self: HttpToolsProtocol, data: bytes) -> None:
        parsed.append(data)
        old(self, data)

    monkeypatch.setattr(HttpToolsProtocol, "data_received", counted)
    for _ in range(3):
        with connected(live) as connection:
            connection.sendall(request)
            answer = b""
            while b"predictions" not in answer:
                answer += connection.recv(65_536)
    assert parsed == [request] * 3


def test_requests_in_parts_or_together_are_not_taken_for_pieces(live: Running, world: World) -> None:
    request = good(world)
    with connected(live) as connection:
        ask(connection, request)
        for cut in (1, 30, request.index(b"\r\n\r\n") + 2, request.index(b"\r\n\r\n") + 4, len(request) - 1):
            connection.sendall(request[:cut])
            time.sleep(0.02)
            (answer,) = ask(connection, request[cut:])
            assert answer[9:12] == b"200"
        assert [answer[9:12] for answer in ask(connection, *[request] * 5)] == [b"200"] * 5


def test_what_comes_while_a_piece_is_answered_waits_for_its_turn(
    live: Running, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Callable[[], object]] = []

    def slow(_: object, then: Then) -> None:
        held.append(partial(asyncio.get_running_loop().call_soon_threadsafe, then, None))

    with connected(live) as connection, connected(live) as gone:
        ask(connection, good(world))
        with monkeypatch.context() as patched:
            patched.setattr(live.service._commit, "add", slow)
            for one in (connection, gone):
                one.sendall(good(world))
            while len(held) < 2:
                time.sleep(0.005)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            gone.close()
            time.sleep(0.05)
        for done in held:
            done()
        answers = ask(connection, *[b""] * 2)
    assert [b"predictions" in answers[0], b"alive" in answers[1]] == [True, True]
    assert live.client.get("/readyz").status_code == 200


def test_a_limit_of_rate_holds_on_the_short_way(deployed: Deployed, world: World) -> None:
    settings = Settings(**{**deployed.settings.model_dump(), "rate_per_second": 0.1, "burst_seconds": 30})
    with running(settings) as service, connected(service) as connection:
        answers = [ask(connection, good(world))[0] for _ in range(5)]
    assert [answer[9:12] for answer in answers] == [b"200", b"200", b"200", b"429", b"429"]
    assert b"retry-after: " in answers[-1]


def test_heads_that_never_come_again_do_not_fill_the_memory(live: Running, world: World) -> None:
    with connected(live) as connection:
        for number in range(KNOWN + 20):
            ask(connection, good(world).replace(b"Host: x", b"Host: x\r\nX-Id: %d" % number))
    made: Any = live.server.config.http_protocol_class
    assert len(made.args[3]) == 20


def test_a_stop_under_load_loses_no_request(tmp_path: Path, artifact: Artifact, world: World) -> None:
    deploy(artifact, tmp_path, "1")
    settings = Settings(folder=tmp_path, port=free_port())
    process = local.start(settings)
    statuses: list[int] = []
    lost: list[str] = []

    def forever() -> None:
        with httpx.Client(base_url=url(settings)) as client:
            while True:
                try:
                    statuses.append(client.post("/predict", json=world.request(0)).status_code)
                except httpx.ConnectError:
                    return  # it has stopped
                except httpx.HTTPError as error:
                    lost.append(repr(error))
                    return

    threads = [threading.Thread(target=forever) for _ in range(6)]
    for thread in threads:
        thread.start()
    while len(statuses) < 100:
        time.sleep(0.01)
    os.kill(process, signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert lost == []
    assert set(statuses) == {200}


def test_a_stop_waits_for_no_silent_client(deployed: Deployed) -> None:
    with running(deployed.settings) as service:
        idle = connected(service)
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(65_536)
        stopped = time.monotonic()
    with idle:
        assert said(idle) == b""
    assert time.monotonic() - stopped < 10

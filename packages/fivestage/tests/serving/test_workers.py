"""Several processes on one port: one log, one count, and none missed when it is killed."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import psutil
import pytest
import uvicorn

from fivestage.artifact.artifact import Artifact
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.deployment import local_process as local
from fivestage.deployment.service_client import url
from fivestage.serving.log import open_store, predictions
from fivestage.serving.server import Workers
from fivestage.serving.service_settings import Settings
from tests.serving.conftest import Traffic, deploy, first_events, free_port
from tests.serving.test_log import until

pytestmark = pytest.mark.usefixtures("synthetic_process")
COUNTED = 'http_requests_total{handler="/predict",method="POST",status="200"} '


def workers(parent: int) -> list[int]:
    children = [int(one) for one in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return [one for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    """Whether it runs; what has ended stays in /proc until its parent, perhaps these tests, asks how."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def serving(folder: Path) -> int:
    return (folder / "service.log").read_text().count('"message": "serving"')


@contextmanager
def started(folder: Path, artifact: Artifact, **more: Any) -> Iterator[tuple[Settings, int]]:
    deploy(artifact, folder, "1")
    settings = Settings(folder=folder, port=free_port(), workers=2, **more)
    parent = local.start(settings, 120)
    try:
        until(lambda: serving(folder) == 2)
        yield settings, parent
    finally:
        local.stop(settings)


def ask(settings: Settings, traffic: Traffic, times: int) -> list[str]:
    """Each on a connection of its own, so that the kernel spreads them."""
    answers = [
        httpx.post(f"{url(settings)}/predict", json=traffic.request(0), timeout=300) for _ in range(times)
    ]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json()["request_id"] for answer in answers]


def metrics(settings: Settings) -> str:
    return httpx.get(f"{url(settings)}/metrics", timeout=300).text


def counted(settings: Settings) -> float:
    lines = [line for line in metrics(settings).splitlines() if line.startswith(COUNTED)]
    return float(lines[0].removeprefix(COUNTED)) if lines else 0.0


def test_workers_share_a_port_a_log_and_a_count_and_are_replaced(
    tmp_path: Path, artifact: Artifact, traffic: Traffic, contract: Contract
) -> None:
    with started(tmp_path, artifact, poll_seconds=0.05) as (settings, parent):
        names = ask(settings, traffic, 40)
        while len({name.partition("-")[0] for name in names}) < 2:  # until both have answered
            names += ask(settings, traffic, 5)
        events = first_events(traffic, "delivery", 5)
        assert (
            httpx.post(f"{url(settings)}/outcomes", json={"events": events}, timeout=300).status_code == 200
        )
        first = workers(parent)
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        until(lambda: len(workers(parent)) == 2 and first[0] not in workers(parent))
        until(lambda: serving(tmp_path) == 3)
        names += ask(settings, traffic, 20)
        assert counted(settings) == len(names), "the counts of a worker outlive it"
        assert "\ntrees_compiled 1.0" in metrics(settings)
        both = workers(parent)
    assert local.process(settings) is None
    assert not any(alive(one) for one in both)
    store = open_store(settings.database_url)
    assert {one["request_id"] for one in predictions(store, contract)} == set(names)
    store.close()


def test_workers_whose_parent_was_killed_end(tmp_path: Path, artifact: Artifact, traffic: Traffic) -> None:
    with started(tmp_path, artifact) as (settings, parent):
        both = workers(parent)
        ask(settings, traffic, 1)
        os.kill(parent, signal.SIGKILL)
        until(lambda: not any(alive(one) for one in both))


def test_workers_that_cannot_start_are_given_up(tmp_path: Path, artifact: Artifact) -> None:
    deploy(artifact, tmp_path, "1")
    settings = Settings(folder=tmp_path, port=free_port(), workers=2, database="mysql://nowhere")
    with pytest.raises(UserError, match="is not supported: use sqlite:///file"):
        local.start(settings)
    assert local.process(settings) is None


def test_a_stop_closes_the_port_before_the_workers_end() -> None:
    """The parent's port stayed open: clients that came again were let in, and then cut off."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    config = uvicorn.Config("none", workers=2)
    with mock.patch("signal.signal"):
        Workers(config, [listener]).terminate_all()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=300)

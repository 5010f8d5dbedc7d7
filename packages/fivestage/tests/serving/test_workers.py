"""Several processes on one port: one log, one count, and none missed when it is killed."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from fivestage.artifact.artifact import Artifact
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.deployment import local_process as local
from fivestage.deployment.service_client import url
from fivestage.serving.log import open_store, predictions
from fivestage.serving.metrics import Counts, Metrics, Shared
from fivestage.serving.settings import Settings
from tests.serving.conftest import World, deploy, free_port, messages
from tests.serving.test_log import until

COUNTED = 'http_requests_total{handler="/predict",method="POST",status="200"} '


def workers(parent: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@contextmanager
def started(folder: Path, artifact: Artifact, **more: Any) -> Iterator[tuple[Settings, int]]:
    deploy(artifact, folder, "1")
    settings = Settings(folder=folder, port=free_port(), workers=2, **more)
    parent = local.start(settings)
    try:
        until(lambda: len(list((folder / "workers").glob("[0-9]*.json"))) == 2)
        yield settings, parent
    finally:
        local.stop(settings)


def ask(settings: Settings, world: World, times: int) -> list[str]:
    """Each on a connection of its own, so that the kernel spreads them."""
    answers = [httpx.post(f"{url(settings)}/predict", json=world.request(0)) for _ in range(times)]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json()["request_id"] for answer in answers]


def counted(settings: Settings) -> float:
    for line in httpx.get(f"{url(settings)}/metrics").text.splitlines():
        if line.startswith(COUNTED):
            return float(line.removeprefix(COUNTED))
    return 0.0


def kept(folder: Path) -> int:
    """Answers to predictions that the workers have written down."""
    files = [
        msgspec.json.decode(path.read_bytes(), type=Counts) for path in folder.glob("workers/[0-9]*.json")
    ]
    return sum(times for one in files for key, times in one.counters["answers"] if "/predict" in key)


def test_workers_share_a_port_a_log_and_a_count_and_are_replaced(
    tmp_path: Path, artifact: Artifact, world: World, contract: Contract
) -> None:
    with started(tmp_path, artifact, hear_seconds=0.05) as (settings, parent):
        names = ask(settings, world, 40)
        assert len({name.partition("-")[0] for name in names}) == 2, "both answer"
        until(lambda: kept(tmp_path) == 40)  # what a kill must not take
        events = messages({"landing": {name: values[:5] for name, values in world.events["landing"].items()}})
        assert httpx.post(f"{url(settings)}/outcomes", json={"events": events}).status_code == 200
        first = workers(parent)
        os.kill(first[0], signal.SIGKILL)
        until(lambda: len(workers(parent)) == 2 and first[0] not in workers(parent))
        until(lambda: (tmp_path / "service.log").read_text().count('"message": "serving"') == 3)
        names += ask(settings, world, 20)
        until(lambda: counted(settings) == 60)
        assert "starting it again" in (tmp_path / "service.log").read_text()
        both = workers(parent)
    assert local.process(settings) is None
    assert not any(Path(f"/proc/{one}").exists() for one in both)
    store = open_store(settings.database_url)
    assert {one["request_id"] for one in predictions(store, contract)} == set(names)
    store.close()


def test_workers_whose_parent_was_killed_end(tmp_path: Path, artifact: Artifact, world: World) -> None:
    with started(tmp_path, artifact) as (settings, parent):
        both = workers(parent)
        ask(settings, world, 1)
        os.kill(parent, signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{one}").exists() for one in both))


def test_workers_that_cannot_start_are_given_up(tmp_path: Path, artifact: Artifact) -> None:
    deploy(artifact, tmp_path, "1")
    settings = Settings(folder=tmp_path, port=free_port(), workers=2, database="mysql://nowhere")
    with pytest.raises(UserError, match="no known kind"):
        local.start(settings)
    assert local.process(settings) is None


def test_a_worker_goes_on_from_the_counts_of_the_one_before(tmp_path: Path) -> None:
    first = Metrics()
    one = Shared(tmp_path, 1, first)
    first.answered("GET", "/x", 200, 0.002)
    first.unknown["carrier",] += 2
    first.gauges["answers_spooled"] = ("waiting", 3.0)
    first.model = ("7", "digest")
    one.keep()
    other = Shared(tmp_path, 2, Metrics())
    other.keep()
    again = Metrics()
    Shared(tmp_path, 1, again).keep()
    again.answered("GET", "/x", 200, 0.002)
    assert isinstance(again.counts(), Counts)
    total = other.total()
    assert total.unknown["carrier",] == 2
    answers = {("GET", "/x", "200"): 1, ("GET", "/x", "500"): 0, ("GET", "/x", "503"): 0}
    assert dict(total.counts().counters["answers"]) == answers

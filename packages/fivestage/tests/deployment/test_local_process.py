"""Deployment as a local process: drills of start, smoke, rollback and stop, and of a killed service."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from fivestage.artifact.artifact import Artifact, save_artifact
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.deployment import local_process as local
from fivestage.deployment import service_client
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.service_client import SmokeRows, url
from fivestage.serving.log import open_store, predictions
from fivestage.serving.served_version import read_served_version
from fivestage.serving.service_settings import Settings
from tests.serving.conftest import DAY, Traffic, free_port, post_events
from tests.synthetic import request_of

pytestmark = pytest.mark.usefixtures("synthetic_process")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(folder=tmp_path, port=free_port())
    yield settings
    local.stop(settings)


def released(settings: Settings, artifact: Artifact, traffic: Traffic, version: str, lie: float = 0) -> float:
    """Release a version, smoked with the rows it was made with."""
    folder = settings.folder / "models" / version
    save_artifact(artifact, folder)
    del traffic
    smoke = artifact.smoke[-1]
    expected = SmokeRows([request_of(smoke.row)], [(smoke.forecast[0] + lie,)])
    model = ReleasedModel(version, "", "", "", folder, expected)
    return local.release(settings, model).difference


def test_a_release_serves_and_stop_ends_it(settings: Settings, artifact: Artifact, traffic: Traffic) -> None:
    assert released(settings, artifact, traffic, "1") < 1e-9
    assert httpx.get(f"{url(settings)}/model", timeout=300).json()["version"] == "1"
    assert local.start(settings) == local.process(settings)
    assert local.stop(settings)
    assert local.process(settings) is None
    assert not local.stop(settings)


def test_a_failed_smoke_test_rolls_back(
    settings: Settings, artifact: Artifact, other_artifact: Artifact, traffic: Traffic
) -> None:
    released(settings, artifact, traffic, "1")
    with pytest.raises(UserError, match="differ by up to"):
        released(settings, other_artifact, traffic, "2", lie=0.1)
    assert httpx.get(f"{url(settings)}/model", timeout=300).json()["version"] == "1"
    assert read_served_version(settings.current_file).version == "1"


def test_a_version_of_long_ago_is_released_where_life_has_gone_on(
    settings: Settings, artifact: Artifact, other_artifact: Artifact, traffic: Traffic
) -> None:
    released(settings, artifact, traffic, "1")
    first = traffic.events["delivery"]
    assert len(first) > 400
    for days in (80, 81, 82, 83):
        later = first.assign(
            ended_at=first["ended_at"] + days * DAY, order_number=first["order_number"] + days * 10_000
        )
        with httpx.Client(base_url=url(settings), timeout=300) as client:
            post_events(client, {"delivery": later})
    assert httpx.get(f"{url(settings)}/model", timeout=300).json()["forgotten"] > artifact.as_of
    assert released(settings, other_artifact, traffic, "2") < 1e-9
    assert released(settings, artifact, traffic, "1") < 1e-9


def test_a_refused_version_rolls_back(settings: Settings, artifact: Artifact, traffic: Traffic) -> None:
    released(settings, artifact, traffic, "1")
    wrong = tuple(replace(row, forecast=(row.forecast[0] / 2,)) for row in artifact.smoke)
    with pytest.raises(UserError, match="refuses version 2"):
        released(settings, replace(artifact, smoke=wrong), traffic, "2")
    assert httpx.get(f"{url(settings)}/readyz", timeout=300).json() == {"status": "ready", "detail": ""}
    assert httpx.get(f"{url(settings)}/model", timeout=300).json()["version"] == "1"


def test_a_port_in_use_is_said_and_nothing_is_left(
    settings: Settings, artifact: Artifact, traffic: Traffic
) -> None:
    taken = socket.create_server((settings.host, settings.port))
    with taken, pytest.raises(UserError, match="is in use"):
        released(settings, artifact, traffic, "1")
    assert local.process(settings) is None
    assert not settings.current_file.exists()


def test_a_service_that_never_is_ready_is_stopped_and_its_reason_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time to wait is over once it has answered."""
    answers: list[httpx.Response] = []
    get, long = httpx.get, 600.0

    def answered(*given: Any, **named: Any) -> httpx.Response:
        answers.append(get(*given, **named))
        return answers[-1]

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + long * len(answers), sleep=time.sleep)
    monkeypatch.setattr(httpx, "get", answered)
    monkeypatch.setattr(service_client, "time", clock)
    with pytest.raises(UserError, match="no model has been deployed"):
        local.start(settings, wait_seconds=long)
    assert local.process(settings) is None


def test_a_service_that_ends_shows_its_own_log_and_not_that_of_earlier_ones(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "COMMAND", (sys.executable, "-c", "raise SystemExit('the reason é')"))
    (settings.folder / "service.log").write_text("an earlier reason é\n")
    with pytest.raises(UserError, match="the reason é") as caught:
        local.start(settings)
    assert "ended with code 1" in str(caught.value)
    assert "an earlier reason" not in str(caught.value)


def test_a_kill_loses_no_answered_prediction(
    settings: Settings, artifact: Artifact, traffic: Traffic, contract: Contract
) -> None:
    released(settings, artifact, traffic, "1")
    answered: list[str] = []

    def ask() -> None:
        with httpx.Client(base_url=url(settings), timeout=300) as client:
            try:
                while True:
                    answered.append(client.post("/predict", json=traffic.request(0)).json()["request_id"])
            except httpx.HTTPError:
                pass

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(answered) < 200:
        time.sleep(0.01)
    running = local.process(settings)
    assert running is not None
    os.kill(running, signal.SIGKILL)
    for thread in threads:
        thread.join()
    store = open_store(settings.database_url)
    logged = {one["request_id"] for one in predictions(store, contract)}
    store.close()
    assert set(answered) <= logged
    assert local.start(settings) != running

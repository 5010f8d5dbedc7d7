"""Services of small synthetic problems on real ports, and the requests and events to send to them."""

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import uvicorn

from fivestage.artifact.artifact import Artifact, save_artifact
from fivestage.artifact.calibration import CALIBRATIONS
from fivestage.artifact.engine import predict_table
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import Contract
from fivestage.deployment import local_process
from fivestage.features.problem import Problem
from fivestage.serving.served_version import ServedVersion, write_served_version
from fivestage.serving.server import listeners_of, uvicorn_options
from fivestage.serving.service import PredictionService
from fivestage.serving.service_settings import Settings
from fivestage.training.packaging import fit_chosen
from fivestage.training.selection import Selection
from tests.serving.prediction_app import create_app
from tests.synthetic import (
    AS_OF,
    FEATURES,
    packaged,
    prepared,
    request_of,
    synthetic_artifact,
    synthetic_problem,
)

DAY, HOUR = 86_400, 3600
NOW = int(pd.Timestamp(AS_OF, tz="UTC").timestamp())  # the time as of which the models are trained
TRAFFIC_ROWS = 500  # requests from that time on


@dataclass(frozen=True)
class Traffic:
    """Rows decided after the models were trained, and the events that become known."""

    task: str
    table: pd.DataFrame
    events: Mapping[str, pd.DataFrame]

    @property
    def at(self) -> Ints:
        found: Ints = self.table["decision_at"].to_numpy()
        return found

    def row(self, place: int) -> dict[str, Any]:
        names = synthetic_problem(self.task).contract.columns
        found = {name: self.table[name].iloc[place] for name in names}
        return {name: one.item() if hasattr(one, "item") else one for name, one in found.items()}

    def request(self, place: int) -> dict[str, Any]:
        return request_of(self.row(place))


@dataclass(frozen=True)
class Deployed:
    """A service's folder with an artifact in it."""

    settings: Settings
    artifact: Artifact
    digest: str
    problem: Problem


def traffic_of(task: str) -> Traffic:
    one = prepared(task)
    first = int(np.searchsorted(one.rows["decision_at"], NOW))
    events = {}
    for kind, frame in one.event_tables.events.items():
        known = one.contract.events[kind].known_at(dict(frame.items()))  # type: ignore[arg-type]
        events[kind] = frame[(known > NOW - DAY) & (known <= NOW + 20 * DAY)]
    return Traffic(task, one.rows.iloc[first : first + TRAFFIC_ROWS], events)


def messages(events: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Return events as a client sends them."""
    return [
        {"kind": kind, **request_of({str(name): value for name, value in row.items()})}
        for kind, frame in events.items()
        for row in frame.to_dict(orient="records")
    ]


def first_events(traffic: Traffic, kind: str, count: int) -> list[dict[str, Any]]:
    return messages({kind: traffic.events[kind].iloc[:count]})


def offline(artifact: Artifact, traffic: Traffic) -> Floats:
    """Return the forecasts that evaluation computes for every row of the traffic."""
    past = FEATURES.offline_store(prepared(traffic.task).event_tables.events, artifact.reference)
    columns = synthetic_problem(traffic.task).contract.columns
    rows = {name: traffic.table[name].to_numpy().tolist() for name in columns}
    return predict_table(artifact, FEATURES, rows, past, traffic.at)


def deploy(artifact: Artifact, folder: Path, version: str) -> Deployed:
    digest = save_artifact(artifact, folder / "models" / version)
    settings = Settings(folder=folder)
    write_served_version(
        settings.current_file,
        ServedVersion(version=version, folder=folder / "models" / version, digest=digest),
    )
    return Deployed(settings, artifact, digest, synthetic_problem(artifact.contract.task))


@dataclass(frozen=True)
class Running:
    """A service on its own port, in a thread of this process."""

    client: httpx.Client
    service: PredictionService
    url: str
    server: uvicorn.Server


def hold_answers(service: Running, monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Future[None]]:
    """Let each prediction wait, as if its answer were being logged, until its future in this list is set."""
    held: list[asyncio.Future[None]] = []

    def hold(_: object) -> asyncio.Future[None]:
        held.append(asyncio.get_running_loop().create_future())
        return held[-1]

    monkeypatch.setattr(service.service._commit, "add", hold)
    return held


@contextmanager
def running(
    settings: Settings, app: Any = None, problem: Problem | None = None, **options: Any
) -> Iterator[Running]:
    """Serve an application as `python -m serving` does, except for the given options of uvicorn."""
    app = app or create_app(problem or synthetic_problem("binary"), settings)
    server = uvicorn.Server(uvicorn.Config(app, **(uvicorn_options(settings) | options)))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": listeners_of(listener)})
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        with httpx.Client(base_url=url, timeout=300) as client:
            yield Running(client, app.state.service, url, server)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def post_events(client: httpx.Client, events: Mapping[str, pd.DataFrame]) -> None:
    sent = messages(events)
    for start in range(0, len(sent), 1000):
        answer = client.post("/outcomes", json={"events": sent[start : start + 1000]})
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="session")
def contract() -> Contract:
    return synthetic_problem("binary").contract


@pytest.fixture(scope="session", params=["binary"])
def traffic(request: pytest.FixtureRequest) -> Traffic:
    return traffic_of(request.param)


@pytest.fixture(scope="session")
def artifact() -> Artifact:
    return synthetic_artifact("binary")


@pytest.fixture(scope="session")
def other_artifact() -> Artifact:
    """Another model of the same problem."""
    one = prepared("binary")
    candidates = one.problem.candidates(len(one.windows.train), ())
    selection = Selection(next(iter(candidates)), {}, CALIBRATIONS["binary"](0.5), ())
    return packaged(one, fit_chosen(one.sample, selection, candidates))


@pytest.fixture
def deployed(artifact: Artifact, tmp_path: Path) -> Deployed:
    return deploy(artifact, tmp_path, "1")


@pytest.fixture
def live(deployed: Deployed) -> Iterator[Running]:
    with running(deployed.settings) as service:
        yield service


@pytest.fixture
def synthetic_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `local_process.start` start the synthetic problem's service instead of the project's."""
    program = Path(__file__).with_name("synthetic_service.py")
    paths = [str(program.parents[2]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setattr(local_process, "COMMAND", (sys.executable, str(program)))

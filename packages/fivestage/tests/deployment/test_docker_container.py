"""What a container's release leaves running: an engine of the test's own, whose containers are only names."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fivestage.common.errors import UserError
from fivestage.deployment import docker_container
from fivestage.deployment.docker_container import PORT, release, stop
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.service_client import SmokeRows
from fivestage.serving.service_settings import Settings

MODEL = ReleasedModel("7", "", "", "", Path("models/7"), SmokeRows([], []))


@dataclass
class FakeContainer:
    """A container that runs, until it is stopped, or that was never started."""

    engine: "FakeEngine"
    image: str
    options: dict[str, Any]
    status: str = "created"
    restart_policy: str = ""

    @property
    def id(self) -> int:
        return id(self)

    @property
    def ports(self) -> dict[str, Any]:
        (host, port) = self.options["ports"][f"{PORT}/tcp"]
        return {f"{PORT}/tcp": [{"HostIp": host, "HostPort": str(port or 45678)}]}

    @property
    def on_trial(self) -> bool:
        return "tmpfs" in self.options

    def start(self) -> None:
        self.status = "running"

    def stop(self, timeout: int) -> None:
        assert timeout > 0
        self.status = "exited"

    def reload(self) -> None:
        pass

    def update(self, restart_policy: dict[str, str]) -> None:
        self.restart_policy = restart_policy["Name"]

    def remove(self, **_: bool) -> None:
        self.engine.there.remove(self)


@dataclass
class FakeEngine:
    """The containers that are there."""

    there: list[FakeContainer] = field(default_factory=list)

    @property
    def containers(self) -> "FakeEngine":
        return self

    def create(self, image: str, **options: Any) -> FakeContainer:
        self.there.append(FakeContainer(self, image, options))
        return self.there[-1]

    def list(self, **_: Any) -> "list[FakeContainer]":
        return [*self.there]


def serving(engine: FakeEngine) -> list[tuple[str, str]]:
    return [(one.image, one.status) for one in engine.there]


@dataclass
class Faults:
    """Images whose answers are wrong on trial, or only after it."""

    trial: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    made = FakeEngine()

    @contextmanager
    def opened() -> Iterator[FakeEngine]:
        yield made

    monkeypatch.setattr(docker_container, "open_engine", opened)
    monkeypatch.setattr(docker_container, "wait_until_ready", lambda *_: None)
    monkeypatch.setattr(docker_container, "require_free_port", lambda _: None)
    return made


@pytest.fixture
def faults(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Faults:
    found = Faults()

    def smoke(settings: Settings, *_: Any) -> float:
        (container,) = (
            one
            for one in engine.there
            if one.status == "running" and int(one.ports[f"{PORT}/tcp"][0]["HostPort"]) == settings.port
        )
        if container.image in (found.trial if container.on_trial else found.after):
            raise UserError("answers differ")
        return 1e-12

    monkeypatch.setattr(docker_container, "smoke", smoke)
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(folder=tmp_path, port=8123)


@pytest.mark.usefixtures("faults")
def test_the_next_image_takes_over_and_the_one_before_is_removed(
    engine: FakeEngine, settings: Settings
) -> None:
    assert release(settings, MODEL, "one").difference == 1e-12
    assert release(settings, MODEL, "two").difference == 1e-12
    (serving,) = engine.there
    assert (serving.image, serving.status, serving.restart_policy) == ("two", "running", "unless-stopped")
    assert stop(settings)
    assert engine.there == []
    assert not stop(settings)


def test_an_image_that_fails_on_trial_never_stops_the_one_that_serves(
    engine: FakeEngine, faults: Faults, settings: Settings
) -> None:
    release(settings, MODEL, "one")
    (before,) = engine.there
    faults.trial.add("two")
    with pytest.raises(UserError, match="answers differ"):
        release(settings, MODEL, "two")
    assert engine.there == [before]
    assert before.status == "running"


def test_an_image_that_fails_after_it_took_over_gives_way_to_the_one_before(
    engine: FakeEngine, faults: Faults, settings: Settings
) -> None:
    release(settings, MODEL, "one")
    faults.after.add("two")
    with pytest.raises(UserError, match="answers differ"):
        release(settings, MODEL, "two")
    assert serving(engine) == [("one", "running")]


def test_a_first_image_that_fails_leaves_nothing(
    engine: FakeEngine, faults: Faults, settings: Settings
) -> None:
    faults.after.add("one")
    with pytest.raises(UserError, match="answers differ"):
        release(settings, MODEL, "one")
    assert serving(engine) == []

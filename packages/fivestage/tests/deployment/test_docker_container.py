"""What a container's release leaves running: an engine of the test's own, whose containers are only names."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fivestage.common.errors import UserError
from fivestage.deployment import docker_container
from fivestage.deployment.docker_container import release, stop
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.service_client import SmokeRows
from fivestage.serving.service_settings import Settings

MODEL = ReleasedModel("7", "", "", "", Path("models/7"), SmokeRows([], []))


@dataclass
class FakeContainer:
    """A container that runs until it is stopped."""

    image: str
    options: list[str]
    running: bool = True
    restart: str = ""

    @property
    def port(self) -> int:
        (published,) = (one for one in self.options if one.startswith("--publish="))
        return int(published.split(":")[1] or 45678)

    @property
    def on_trial(self) -> bool:
        return any(one.startswith("--tmpfs=") for one in self.options)


@dataclass
class FakeEngine:
    """The containers that are there, behind the commands that reach them."""

    there: dict[str, FakeContainer] = field(default_factory=dict)

    def docker(self, verb: str, *arguments: str, environment: dict[str, str] | None = None) -> str:  # noqa: ARG002
        if verb == "run":
            name = f"container-{len(self.there)}-{arguments[-1]}"
            self.there[name] = FakeContainer(arguments[-1], list(arguments[:-1]))
            return name
        if verb == "ps":
            everything = "--all" in arguments
            return "\n".join(name for name, one in self.there.items() if one.running or everything)
        name = arguments[0] if verb == "port" else arguments[-1]
        container = self.there[name]
        if verb == "port":
            return f"127.0.0.1:{container.port}"
        if verb in ("start", "stop"):
            container.running = verb == "start"
        if verb == "update":
            container.restart = arguments[0]
        if verb == "rm":
            del self.there[name]
        return ""


def serving(engine: FakeEngine) -> list[tuple[str, bool]]:
    return [(one.image, one.running) for one in engine.there.values()]


@dataclass
class Faults:
    """Images whose answers are wrong on trial, or only after it."""

    trial: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    made = FakeEngine()
    monkeypatch.setattr(docker_container, "docker", made.docker)
    monkeypatch.setattr(docker_container, "wait_until_ready", lambda *_: None)
    monkeypatch.setattr(docker_container, "require_free_port", lambda _: None)
    return made


@pytest.fixture
def faults(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Faults:
    found = Faults()

    def smoke(settings: Settings, *_: Any) -> float:
        (container,) = (one for one in engine.there.values() if one.running and one.port == settings.port)
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
    (serving,) = engine.there.values()
    assert (serving.image, serving.running, serving.restart) == ("two", True, "--restart=unless-stopped")
    assert stop(settings)
    assert engine.there == {}
    assert not stop(settings)


def test_an_image_that_fails_on_trial_never_stops_the_one_that_serves(
    engine: FakeEngine, faults: Faults, settings: Settings
) -> None:
    release(settings, MODEL, "one")
    before = dict(engine.there)
    faults.trial.add("two")
    with pytest.raises(UserError, match="answers differ"):
        release(settings, MODEL, "two")
    assert engine.there == before
    assert serving(engine) == [("one", True)]


def test_an_image_that_fails_after_it_took_over_gives_way_to_the_one_before(
    engine: FakeEngine, faults: Faults, settings: Settings
) -> None:
    release(settings, MODEL, "one")
    faults.after.add("two")
    with pytest.raises(UserError, match="answers differ"):
        release(settings, MODEL, "two")
    assert serving(engine) == [("one", True)]


@pytest.mark.usefixtures("faults")
def test_no_secret_is_on_the_command_line(engine: FakeEngine, tmp_path: Path) -> None:
    release(Settings(folder=tmp_path, port=8123, api_keys="a-key-of-twenty-characters"), MODEL, "one")
    (container,) = engine.there.values()
    assert "--env=SERVE_API_KEYS" in container.options
    assert "a-key" not in " ".join(container.options)


def test_a_first_image_that_fails_leaves_nothing(
    engine: FakeEngine, faults: Faults, settings: Settings
) -> None:
    faults.after.add("one")
    with pytest.raises(UserError, match="answers differ"):
        release(settings, MODEL, "one")
    assert serving(engine) == []

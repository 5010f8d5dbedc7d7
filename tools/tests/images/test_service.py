"""The service's image: its content, its user, and the takeover between containers."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from fivestage.artifact.artifact import Artifact, save_artifact
from fivestage.artifact.scorer import TOLERANCE
from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT
from fivestage.deployment import images
from fivestage.deployment.docker_container import release, running, stop
from fivestage.deployment.images import FLAGS
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.service_client import SmokeRows, url
from fivestage.serving.service_settings import Settings
from tests.demo.synthetic_flights import artifact, contract, flights, iso
from tests.serving.conftest import free_port
from tools.tests.images.container_python import COMPILED, inside

__all__ = ["artifact", "contract", "flights"]

(MOST_MB,) = re.findall(
    r"^BUDGET_MB := (\d+)$", (ROOT / ".github" / "ci.mk").read_text("utf-8"), re.MULTILINE
)
ABSENT = """
import importlib.util, shutil
heavy = "zenml mlflow pandas sklearn evidently matplotlib docker".split()
tools = "gcc cc ld make git".split()
print([one for one in heavy if importlib.util.find_spec(one)], [one for one in tools if shutil.which(one)])
"""
READINESS = """
import http.client
service = http.client.HTTPConnection("127.0.0.1", 8000)
service.request("GET", "/readyz")
print(service.getresponse().read().decode())
"""


@pytest.fixture(scope="module")
def image(flags: str, artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> str:  # noqa: ARG001
    """The service's image with version 7 of the model."""
    folder = tmp_path_factory.mktemp("model") / "artifact"
    save_artifact(artifact, folder)
    return images.build_serving(folder, "7")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    found = Settings(folder=tmp_path / "serving", port=free_port())
    yield found
    stop(found)


@pytest.fixture(scope="module")
def rows(artifact: Artifact) -> list[dict[str, Any]]:
    return [iso(one.row) for one in artifact.smoke]


@pytest.fixture(scope="module")
def forecasts(artifact: Artifact) -> list[tuple[float, ...]]:
    return [one.forecast for one in artifact.smoke]


def unpacked(engine: docker.DockerClient, image: str) -> int:
    """Return the size in bytes, as `make budget` counts it."""
    container = engine.containers.create(image)
    try:
        return sum(len(part) for part in container.export())
    finally:
        container.remove()


def test_it_is_small_and_says_what_it_is(engine: docker.DockerClient, image: str) -> None:
    assert unpacked(engine, image) <= int(MOST_MB) * 1_000_000
    about = engine.images.get(image).attrs
    labels, name = about["Config"]["Labels"], "org.opencontainers.image."
    assert {labels["fivestage.model.version"], labels[f"{name}title"]} == {"7", "fivestage-serving"}
    assert re.fullmatch("[0-9a-f]{64}", labels["fivestage.model.digest"])
    assert all(labels[f"{name}{one}"] for one in ("version", "revision", "licenses", "base.name"))
    assert about["Config"]["User"] == "10001:10001"
    assert about["Config"]["Healthcheck"]["Test"][-1] == "fivestage.serving.health"


def test_neither_heavy_libraries_nor_a_compiler_are_inside(image: str) -> None:
    assert inside(image, ABSENT) == "[] []"


def test_the_extension_modules_are_built_and_load(image: str) -> None:
    assert inside(image, COMPILED) == "True True"


def test_the_same_commit_gives_the_same_layers(
    engine: docker.DockerClient,
    image: str,
    artifact: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
) -> None:
    first = engine.images.get(image).attrs["RootFS"]["Layers"]
    save_artifact(artifact, tmp_path / "artifact")
    monkeypatch.setenv(FLAGS, f"{flags} --no-cache-filter=build")
    again = images.build_serving(tmp_path / "artifact", "7")
    assert engine.images.get(again).attrs["RootFS"]["Layers"] == first


def test_the_layer_of_the_libraries_does_not_depend_on_the_commit(image: str) -> None:
    dates = (
        "import os; print(*(os.stat('/opt/fivestage/' + one).st_mtime for one in ('lib/numpy', 'serving')))"
    )
    libraries, code = map(float, inside(image, dates).split())
    assert libraries == datetime(1980, 1, 1, tzinfo=UTC).timestamp() < code


def released(expected: SmokeRows) -> ReleasedModel:
    return ReleasedModel("7", "", "", "", Path(), expected)


def test_it_answers_as_offline_and_what_answers_otherwise_does_not_take_over(
    engine: docker.DockerClient,
    image: str,
    settings: Settings,
    rows: list[dict[str, Any]],
    forecasts: list[tuple[float, ...]],
) -> None:
    assert release(settings, released(SmokeRows(rows, forecasts)), image).difference <= TOLERANCE
    before = running(engine, settings)
    assert before is not None
    assert before.attrs["HostConfig"]["ReadonlyRootfs"]
    with pytest.raises(UserError, match="differ by up to"):
        release(settings, released(SmokeRows(rows, [(one[0] / 2,) for one in forecasts])), image)
    with pytest.raises(UserError, match="cannot be run"):
        release(settings, released(SmokeRows(rows, forecasts)), "fivestage-serving-test:nobody-built-this")
    after = running(engine, settings)
    assert after is not None
    assert after.id == before.id
    model = httpx.get(f"{url(settings)}/model").json()
    assert (model["version"], model["trees"]) == ("7", "compiled")
    assert b"is replaced by slower Python code" not in after.logs()
    code, told = after.exec_run(["python", "-m", "fivestage.serving.health"])
    assert (code, told) == (0, b"")


def test_told_to_stop_it_ends_well(
    engine: docker.DockerClient,
    image: str,
    settings: Settings,
    rows: list[dict[str, Any]],
    forecasts: list[tuple[float, ...]],
) -> None:
    release(settings, released(SmokeRows(rows, forecasts)), image)
    container = running(engine, settings)
    assert container is not None
    container.stop(timeout=10)
    assert container.wait()["StatusCode"] == 0


def test_without_a_model_it_waits_for_one(engine: docker.DockerClient, flags: str) -> None:  # noqa: ARG001
    image = images.build_serving()
    container = engine.containers.run(
        image, detach=True, read_only=True, tmpfs={"/var/lib/fivestage": "uid=10001"}
    )
    try:
        code, told = 1, b""
        while code:
            code, told = container.exec_run(["python", "-c", READINESS])
            container.reload()
            assert container.status == "running", container.logs()
        assert json.loads(told)["status"] == 503
    finally:
        container.remove(force=True)

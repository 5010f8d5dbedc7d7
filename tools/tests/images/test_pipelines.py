"""The image of the commands as Kubernetes runs it: with an arbitrary user and a read-only disk."""

import subprocess

import docker
import pytest

from fivestage.deployment import images
from tools.tests.images.container_python import COMPILED, inside


@pytest.fixture(scope="module")
def pipelines(flags: str) -> str:  # noqa: ARG001
    return images.build_pipelines()


def verb(image: str, *words: str) -> subprocess.CompletedProcess[str]:
    locked = [
        "--network=none",
        "--read-only",
        "--cap-drop=ALL",
        "--tmpfs=/tmp",
        "--tmpfs=/var/lib/fivestage:uid=10001",
    ]
    command = ["docker", "run", "--rm", *locked, image, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_says_what_it_is(engine: docker.DockerClient, pipelines: str) -> None:
    about = engine.images.get(pipelines).attrs["Config"]
    assert about["User"] == "10001:10001"
    assert about["Labels"]["org.opencontainers.image.title"] == "fivestage-pipelines"


def test_the_extension_modules_are_built_and_load(pipelines: str) -> None:
    assert inside(pipelines, COMPILED) == "True True"


def test_its_commands_run_and_end_with_a_sentence(pipelines: str) -> None:
    helped = verb(pipelines)
    assert helped.returncode == 0, helped.stderr
    assert "retrain" in helped.stdout
    refused = verb(pipelines, "fetch")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1, refused.stderr

"""The Docker engine, and build flags for machines without an image registry."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException, ImageNotFound

from fivestage.common.errors import UserError
from fivestage.deployment import images
from fivestage.deployment.images import FLAGS, open_engine

ASKED = "FIVESTAGE_TEST_IMAGES"
BASE, STAND_IN = "python:3.13-slim", "fivestage-base:stand-in"
HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    if not os.environ.get(ASKED):
        pytest.skip("`make test-images` builds and runs them")
    try:
        with open_engine() as found:
            yield found
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def flags(engine: docker.DockerClient) -> Iterator[str]:
    """Set the build flags for this machine; none if an image registry answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "image_name", "fivestage-{}-test".format)  # not those of `make image`
        if not _there(engine, BASE):
            if not _there(engine, STAND_IN):
                if not shutil.which("debootstrap"):
                    pytest.skip(f"there is no {BASE}, and no debootstrap to make a stand-in")
                subprocess.run(["/bin/bash", HERE / "base.sh", STAND_IN], check=True)
            given = os.environ.get(FLAGS, "")
            patch.setenv(FLAGS, f"{given} --network=host --build-arg=BASE={STAND_IN}".strip())
        yield os.environ.get(FLAGS, "")


def _there(engine: docker.DockerClient, name: str) -> bool:
    try:
        engine.images.get(name)
    except ImageNotFound:
        try:
            engine.images.pull(name)
        except DockerException:
            return False
    return True

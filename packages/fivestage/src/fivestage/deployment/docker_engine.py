"""Connect to the Docker engine that the docker command line uses."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import docker
from docker.context import ContextAPI
from docker.errors import DockerException

from fivestage.common.errors import UserError


@contextmanager
def open_engine() -> Iterator[docker.DockerClient]:
    """Connect to the Docker engine; close the connection when the block ends."""
    context = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
    address = os.environ.get("DOCKER_HOST") or (context.Host if context else "")
    try:
        engine = docker.from_env(environment=os.environ | ({"DOCKER_HOST": address} if address else {}))
        engine.ping()
    except DockerException as error:
        where = address or "its usual socket"
        if "Permission denied" in str(error):
            raise UserError(
                f"Permission denied for the Docker engine at {where}: "
                "add this user to the group `docker` and log in again."
            ) from error
        raise UserError(
            f"No Docker engine answers at {where}: install or start one, or set DOCKER_HOST to another."
        ) from error
    with contextlib.closing(engine):
        yield engine

"""Images to a registry: what is pulled from there by digest is what was tried here."""

import docker
from docker.errors import APIError, ImageNotFound

from fivestage.common.errors import UserError
from fivestage.deployment.docker_container import open_engine
from fivestage.deployment.images import PIPELINES, SERVING


def push_images(registry: str) -> dict[str, str]:
    """Push the images that were built last; by name, what pulls exactly them.

    Raises:
        UserError: with what the registry said, when it does not take one.
    """
    with open_engine() as engine:
        return {name: _push(engine, name, f"{registry.lower()}/{name}") for name in (SERVING, PIPELINES)}


def _push(engine: docker.DockerClient, name: str, repository: str) -> str:
    try:
        image = engine.images.get(f"{name}:latest")
    except ImageNotFound as error:
        raise UserError(f"There is no image {name}:latest: run `make image` first.") from error
    tag = next((one.rpartition(":")[2] for one in image.tags if not one.endswith(":latest")), "latest")
    image.tag(repository, tag)
    digest = ""
    try:
        for said in engine.images.push(repository, tag, stream=True, decode=True):
            if "error" in said:
                raise UserError(f"{repository}:{tag} could not be pushed: {said['error']}")
            digest = said.get("aux", {}).get("Digest", digest)
    except APIError as error:
        raise UserError(f"{repository}:{tag} could not be pushed: {error.explanation}") from error
    return f"{repository}@{digest}"

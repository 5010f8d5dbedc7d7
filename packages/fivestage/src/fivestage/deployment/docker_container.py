"""Serve an image as a container on this machine: trial run, takeover, rollback, stop.

A trial container runs next to the serving one, with its own port and state. If it passes the smoke test, a
container with the same image takes over the serving port and is tested again.
"""

import contextlib
import os
import secrets
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from fivestage.common.errors import UserError
from fivestage.deployment.images import build_serving, open_engine
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.service_client import (
    Deployment,
    SmokeRows,
    require_free_port,
    smoke,
    url,
    wait_until_ready,
)
from fivestage.serving.service_settings import PREFIX, Settings

STATE = "/var/lib/fivestage"  # the only folder that a container may write
USER = 10001  # user id in the image
PORT = 8000  # inside the container
MEMORY = "512m"
PROCESSES = 128
READY_SECONDS = 60
STOP_SECONDS = 10  # to finish running requests after draining
LABEL = "fivestage.folder"  # distinguishes our containers from those of other projects
_SET_BY_IMAGE = {"folder", "host", "port", "model", "model_version", "model_digest"}


def release(settings: Settings, model: ReleasedModel, image: str = "") -> Deployment:
    """Serve a version from an image if it passes the smoke test; otherwise keep or restore the previous one.

    Args:
        settings: The service's settings; its folder is mounted and its port published.
        model: The version and its expected predictions.
        image: Name and tag of an image that contains it; by default one is built.

    Returns:
        The deployment that now serves.

    Raises:
        UserError: If the image fails to start or fails the smoke test.
    """
    image = image or build_serving(model.folder, model.version)
    with open_engine() as engine:
        before = running(engine, settings)
        if before is None:
            require_free_port(settings)
        try:
            trial = _start(engine, settings, image, trial=True)
            _check(trial, _published(trial, settings), model.expected)
        finally:
            _remove_all_but(engine, settings, before)
        if before is not None:
            before.stop(timeout=_stop_timeout(settings))
        try:
            after = _start(engine, settings, image)
            difference = _check(after, settings, model.expected)
            after.update(restart_policy={"Name": "unless-stopped"})
        except BaseException:  # also on interruption: an unchecked container must not keep serving
            _remove_all_but(engine, settings, before)
            if before is not None:
                before.start()
                _wait(before, settings)
            raise
        _remove_all_but(engine, settings, after)
        return Deployment(model.version, url(settings), difference)


def stop(settings: Settings) -> bool:
    """Stop and remove the containers started from this folder; return whether there were any."""
    try:
        with open_engine() as engine:
            return _remove_all_but(engine, settings, None)
    except UserError:  # without an engine, no container runs
        return False


def running(engine: docker.DockerClient, settings: Settings) -> Container | None:
    """Return the container that serves from this folder, if there is one."""
    containers = _containers(engine, settings)
    return next((container for container in containers if container.status == "running"), None)


def _start(engine: docker.DockerClient, settings: Settings, image: str, *, trial: bool = False) -> Container:
    """Start a container; a trial container gets a free port and state that is lost when it stops."""
    user = os.getuid() or USER  # the deploying user owns the log, but the service never runs as root
    environment = {f"{PREFIX}API_KEYS": settings.api_keys}
    state: dict[str, Any] = {"tmpfs": {STATE: f"uid={user},gid={user}"}}
    if not trial:
        _make_folder(settings, user)
        environment |= _environment(settings)
        state = {"volumes": {str(settings.folder.resolve()): {"bind": STATE, "mode": "rw"}}}
    try:
        container = engine.containers.create(
            image,
            name=f"fivestage-{secrets.token_hex(4)}",
            labels={LABEL: str(settings.folder.resolve())},
            environment=environment,
            ports={f"{PORT}/tcp": (settings.host, None if trial else settings.port)},
            user=f"{user}:{user}",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=MEMORY,
            pids_limit=PROCESSES,
            extra_hosts={"host.docker.internal": "host-gateway"},  # for a database on this machine
            **state,
        )
        container.start()
        container.reload()
    except APIError as error:
        raise UserError(f"The image {image} cannot be run: {error.explanation}.") from error
    return container


def _make_folder(settings: Settings, user: int) -> None:
    settings.folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:
        for path in (settings.folder, *settings.folder.rglob("*")):
            os.chown(path, user, user)


def _environment(settings: Settings) -> dict[str, str]:
    """Return the operator's settings for a container; its folder differs from a local process's."""
    values = settings.model_dump(mode="json", exclude=_SET_BY_IMAGE)
    values |= {
        "folder": f"{STATE}/container",
        "database": settings.database or f"sqlite:///{STATE}/log.sqlite",
    }
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()}


def _published(container: Container, settings: Settings) -> Settings:
    """Return the settings with the port that the engine chose."""
    return settings.model_copy(update={"port": int(container.ports[f"{PORT}/tcp"][0]["HostPort"])})


def _check(container: Container, settings: Settings, expected: SmokeRows) -> float:
    _wait(container, settings)
    return smoke(settings, expected)


def _wait(container: Container, settings: Settings) -> None:
    def ended() -> str:
        container.reload()
        if container.status != "exited":
            return ""
        state = container.attrs["State"]
        out_of_memory = f"it needed more than {MEMORY}"
        return out_of_memory if state["OOMKilled"] else f"it ended with code {state['ExitCode']}"

    wait_until_ready(settings, READY_SECONDS, lambda: container.logs().decode(errors="replace"), ended)


def _containers(engine: docker.DockerClient, settings: Settings) -> list[Container]:
    label = f"{LABEL}={settings.folder.resolve()}"
    return list(engine.containers.list(all=True, filters={"label": label}))


def _remove_all_but(engine: docker.DockerClient, settings: Settings, kept: Container | None) -> bool:
    """Remove this folder's other containers; return whether there were any."""
    others = [other for other in _containers(engine, settings) if kept is None or other.id != kept.id]
    for container in others:
        with contextlib.suppress(NotFound):
            container.stop(timeout=_stop_timeout(settings))
            container.remove(v=True, force=True)
    return bool(others)


def _stop_timeout(settings: Settings) -> int:
    return int(settings.drain_seconds) + STOP_SECONDS

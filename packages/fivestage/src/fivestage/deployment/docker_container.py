"""The service as a container of this machine: prove an image, let it take over, roll back, stop.

An image proves itself beside the container that serves, on a port and a state of its own; only then does it
take over the port, and has to prove itself again.
"""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container

from fivestage.common.errors import UserError
from fivestage.deployment.service_client import require_free_port, smoke, wait_until_ready
from fivestage.serving.settings import PREFIX, Settings

STATE = "/var/lib/fivestage"  # the one folder that a container may write
USER = 10001  # the image's own
PORT = 8000  # inside
MEMORY = "512m"
PROCESSES = 128
READY_SECONDS = 60
GRACE = 10  # seconds to finish what has begun, after draining
LABEL = "fivestage.folder"  # tells our containers from those of other projects
_OF_IMAGE = {"folder", "host", "port", "model", "model_version", "model_digest"}  # settings that are not ours


def release(
    settings: Settings, image: str, rows: Sequence[Mapping[str, Any]], forecasts: Sequence[Sequence[float]]
) -> float:
    """Serve an image for good if it passes the smoke test, and else what was served before.

    Raises:
        UserError: saying why the image does not serve.
    """
    with open_engine() as engine:
        before = running(engine, settings)
        if before is None:
            require_free_port(settings)
        with _container(engine, settings, image, trial=True) as (trial, there):
            _prove(trial, there, rows, forecasts)
            _remove(trial, settings)
        if before is not None:
            before.stop(timeout=_patience(settings))
        try:
            with _container(engine, settings, image) as (after, there):
                difference = _prove(after, there, rows, forecasts)
                after.update(restart_policy={"Name": "unless-stopped"})
        except BaseException:  # whatever it is, an interruption too: what is not proven does not stay
            if before is not None:
                before.start()
                _wait(before, settings)
            raise
        for old in _ours(engine, settings):
            if old.id != after.id:
                _remove(old, settings)
        return difference


def stop(settings: Settings) -> bool:
    """Stop and remove what `release` has started; says whether there was anything."""
    try:
        with open_engine() as engine:
            found = _ours(engine, settings)
            for container in found:
                _remove(container, settings)
            return bool(found)
    except UserError:  # without an engine nothing runs
        return False


def running(engine: docker.DockerClient, settings: Settings) -> Container | None:
    """The container that serves from this folder, if there is one."""
    return next((one for one in _ours(engine, settings) if one.status == "running"), None)


@contextmanager
def _container(
    engine: docker.DockerClient, settings: Settings, image: str, *, trial: bool = False
) -> Iterator[tuple[Container, Settings]]:
    """A container of the image and where it listens, removed if what is done with it fails.

    On trial, it listens at a port that happens to be free, and what it writes is forgotten.
    """
    user, given = _user(), {} if trial else _environment(settings)
    keys = {f"{PREFIX}API_KEYS": settings.api_keys}
    state: dict[str, Any] = {"tmpfs": {STATE: f"uid={user},gid={user}"}}
    if not trial:
        _own(settings, user)
        state = {"volumes": {str(settings.folder.resolve()): {"bind": STATE, "mode": "rw"}}}
    container = None
    try:
        container = engine.containers.create(
            image,
            name=f"fivestage-{secrets.token_hex(4)}",
            labels={LABEL: str(settings.folder.resolve())},
            environment=keys | given,
            ports={f"{PORT}/tcp": (settings.host, None if trial else settings.port)},
            user=f"{user}:{user}",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=MEMORY,
            pids_limit=PROCESSES,
            extra_hosts={"host.docker.internal": "host-gateway"},  # where a database of this machine is
            **state,
        )
        container.start()
        container.reload()
        at = int(container.ports[f"{PORT}/tcp"][0]["HostPort"])
        yield container, settings.model_copy(update={"port": at})
    except BaseException as error:
        if container is not None:
            _remove(container, settings)
        if isinstance(error, APIError):
            raise UserError(f"The image {image} could not be run: {error.explanation}.") from error
        raise


def _prove(
    container: Container,
    there: Settings,
    rows: Sequence[Mapping[str, Any]],
    forecasts: Sequence[Sequence[float]],
) -> float:
    _wait(container, there)
    return smoke(there, rows, forecasts)


def _wait(container: Container, there: Settings) -> None:
    wait_until_ready(
        there, READY_SECONDS, lambda: container.logs().decode(errors="replace"), lambda: _end(container)
    )


def _end(container: Container) -> str:
    container.reload()
    if container.status != "exited":
        return ""
    state = container.attrs["State"]
    return (
        f"it needed more than {MEMORY}" if state["OOMKilled"] else f"it ended with code {state['ExitCode']}"
    )


def _environment(settings: Settings) -> dict[str, str]:
    """What the operator has set, for a container whose state is `STATE`.

    The pointer of a service that is a process of this machine lies in the same folder, and names other paths.
    """
    given = settings.model_dump(mode="json", exclude=_OF_IMAGE)
    given |= {
        "folder": f"{STATE}/container",
        "database": settings.database or f"sqlite:///{STATE}/log.sqlite",
    }
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}


def _user() -> int:
    """Who the service is: the one who deploys it, so that the log is theirs, but never root."""
    return os.getuid() or USER


def _own(settings: Settings, user: int) -> None:
    settings.folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:
        for path in (settings.folder, *settings.folder.rglob("*")):
            os.chown(path, user, user)


def _ours(engine: docker.DockerClient, settings: Settings) -> list[Container]:
    label = f"{LABEL}={settings.folder.resolve()}"
    return list(engine.containers.list(all=True, filters={"label": label}))


def _remove(container: Container, settings: Settings) -> None:
    with contextlib.suppress(NotFound):
        container.stop(timeout=_patience(settings))
        container.remove(v=True, force=True)


def _patience(settings: Settings) -> int:
    return int(settings.drain_seconds) + GRACE


@contextmanager
def open_engine() -> Iterator[docker.DockerClient]:
    """The engine that the command line talks to.

    Raises:
        UserError: when there is none, or this user may not talk to it.
    """
    address = _address()
    try:
        engine = docker.from_env(environment=os.environ | ({"DOCKER_HOST": address} if address else {}))
        engine.ping()
    except DockerException as error:
        where = address or "its usual socket"
        if "Permission denied" in str(error):
            raise UserError(
                f"This user may not talk to the Docker engine at {where}: "
                "join the group `docker` and log in anew."
            ) from error
        raise UserError(
            f"No Docker engine answers at {where}: install or start one, or name another with DOCKER_HOST."
        ) from error
    with contextlib.closing(engine):
        yield engine


def _address() -> str:
    """What DOCKER_HOST says, or else the context that the command line uses."""
    named, program = os.environ.get("DOCKER_HOST", ""), shutil.which("docker")
    if named or program is None:
        return named
    asked = subprocess.run([program, "context", "inspect"], capture_output=True, check=False)  # noqa: S603 (fixed words)
    return str(json.loads(asked.stdout)[0]["Endpoints"]["docker"]["Host"]) if asked.returncode == 0 else ""

"""Serve an image as a container on this machine: trial run, takeover, rollback, stop.

A trial container runs next to the serving one, with its own port and state. If it passes the smoke test, a
container with the same image takes over the serving port and is tested again.
"""

import contextlib
import json
import os
import secrets

from fivestage.common.errors import UserError
from fivestage.common.programs import run_program
from fivestage.deployment.images import build_serving, docker
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
    before = running(settings)
    if not before:
        require_free_port(settings)
    try:
        trial = _start(settings, image, trial=True)
        port = int(docker("port", trial, f"{PORT}/tcp").splitlines()[0].rpartition(":")[2])
        _check(trial, settings.model_copy(update={"port": port}), model.expected)
    finally:
        _remove_all_but(settings, before)
    if before:
        docker("stop", f"-t={_stop_timeout(settings)}", before)
    try:
        after = _start(settings, image)
        difference = _check(after, settings, model.expected)
        docker("update", "--restart=unless-stopped", after)
    except BaseException:  # also on interruption: an unchecked container must not keep serving
        _remove_all_but(settings, before)
        if before:
            docker("start", before)
            _wait(before, settings)
        raise
    _remove_all_but(settings, after)
    return Deployment(model.version, url(settings), difference)


def stop(settings: Settings) -> bool:
    """Stop and remove the containers started from this folder; return whether there were any."""
    try:
        return _remove_all_but(settings, "")
    except UserError:  # without an engine, no container runs
        return False


def running(settings: Settings) -> str:
    """Return the id of the container that serves from this folder; empty if there is none."""
    return next(iter(_containers(settings)), "")


def _start(settings: Settings, image: str, *, trial: bool = False) -> str:
    """Start a container; a trial container gets a free port and state that is lost when it stops."""
    user = os.getuid() or USER  # the deploying user owns the log, but the service never runs as root
    folder, environment = settings.folder.resolve(), {f"{PREFIX}API_KEYS": settings.api_keys}
    state = f"--tmpfs={STATE}:uid={user},gid={user}"
    if not trial:
        _make_folder(settings, user)
        environment |= _environment(settings)
        state = f"--volume={folder}:{STATE}"
    try:
        return docker(
            *("run", "--detach", "--pull=never", f"--name=fivestage-{secrets.token_hex(4)}"),
            f"--label={LABEL}={folder}",
            *(f"--env={name}" for name in environment),  # without values, which other users could see
            f"--publish={settings.host}:{'' if trial else settings.port}:{PORT}",
            state,
            f"--user={user}:{user}",
            *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
            *(f"--memory={MEMORY}", f"--pids-limit={PROCESSES}"),
            "--add-host=host.docker.internal:host-gateway",  # for a database on this machine
            image,
            environment=environment,
        )
    except UserError as error:
        raise UserError(f"The image {image} cannot be run: {error}") from error


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


def _check(container: str, settings: Settings, expected: SmokeRows) -> float:
    _wait(container, settings)
    return smoke(settings, expected)


def _wait(container: str, settings: Settings) -> None:
    def log() -> str:
        finished = run_program("docker", "logs", container)
        return finished.stdout + finished.stderr

    def ended() -> str:
        state = json.loads(docker("inspect", "--format={{json .State}}", container))
        if state["Status"] != "exited":
            return ""
        out_of_memory = f"it needed more than {MEMORY}"
        return out_of_memory if state["OOMKilled"] else f"it ended with code {state['ExitCode']}"

    wait_until_ready(settings, READY_SECONDS, log, ended)


def _containers(settings: Settings, *options: str) -> list[str]:
    label = f"--filter=label={LABEL}={settings.folder.resolve()}"
    return docker("ps", "--quiet", "--no-trunc", label, *options).split()


def _remove_all_but(settings: Settings, kept: str) -> bool:
    """Remove this folder's other containers; return whether there were any."""
    others = [other for other in _containers(settings, "--all") if other != kept]
    for container in others:
        with contextlib.suppress(UserError):  # it has just been removed
            docker("stop", f"-t={_stop_timeout(settings)}", container)
            docker("rm", "--volumes", "--force", container)
    return bool(others)


def _stop_timeout(settings: Settings) -> int:
    return int(settings.drain_seconds) + STOP_SECONDS

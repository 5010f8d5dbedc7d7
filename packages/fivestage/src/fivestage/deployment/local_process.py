"""Serve a version as a process of this machine: start, smoke test, switch, roll back, stop."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from fivestage.artifact.artifact import artifact_digest
from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.service_client import (
    PATIENCE,
    Deployment,
    headers,
    require_free_port,
    smoke,
    url,
    wait_until_ready,
)
from fivestage.registry.versions import ModelRegistry
from fivestage.serving.served_version import ServedVersion, read_served_version, write_served_version
from fivestage.serving.service_settings import PREFIX, Settings

COMMAND: Sequence[str] = (sys.executable, "-m", "serving")  # the service of this project


def release(settings: Settings, model: ReleasedModel) -> Deployment:
    """Serve a version if it passes the smoke test, and else what was served before.

    Args:
        settings: Of the service, which is started unless it runs.
        model: The version, and what it must answer raw rows with.

    Returns:
        What serves now.

    Raises:
        UserError: Saying why the version does not serve.
    """
    before = switch(settings, model.version, model.folder)
    try:
        start(settings)
        difference = smoke(settings, model.expected)
    except BaseException:  # an interruption too: what has not passed its checks must not stay
        _go_back(settings, before)
        raise
    if settings.shadow_file.exists() and read_served_version(settings.shadow_file).version == model.version:
        settings.shadow_file.unlink()  # it need not shadow itself
    return Deployment(model.version, url(settings), difference)


def switch(
    settings: Settings, version: str, folder: Path, wait_seconds: float = PATIENCE
) -> ServedVersion | None:
    """Point the service to a version, and wait until a running one serves it.

    Args:
        settings: Of the service.
        version: In the registry.
        folder: Of its artifact.
        wait_seconds: Longest time that loading it may take.

    Returns:
        What the service was pointed to before.

    Raises:
        UserError: When the service refuses the version; it is then pointed to what it was before.
    """
    before = read_served_version(settings.current_file) if settings.current_file.exists() else None
    write_served_version(settings.current_file, _pointer(version, folder))
    if process(settings) is None:
        return before
    try:
        response = _reload(settings, wait_seconds)
        refusal = "" if response.is_success else response.json().get("detail", response.text)
    except (httpx.HTTPError, ValueError) as error:
        refusal = f"it does not answer ({error})"
    if refusal:
        _go_back(settings, before)
        raise UserError(f"The service refuses version {version}: {refusal}")
    return before


def shadow(settings: Settings, version: str, folder: Path) -> None:
    """Let a version answer beside the one that serves; a running service loads it by itself.

    Args:
        settings: Of the service.
        version: In the registry.
        folder: Of its artifact.
    """
    write_served_version(settings.shadow_file, _pointer(version, folder))


def fetch_versions(settings: Settings, name: str) -> Iterator[str]:
    """Fetch a model's champion, and its challenger as a shadow, for a service that starts next.

    Args:
        settings: Of that service.
        name: Of the model in the registry.

    Yields:
        A line for each file that names a version.

    Raises:
        UserError: When there is no champion yet.
    """
    registry = ModelRegistry(name)
    for version, name_version, file in (
        (registry.require_champion(), switch, settings.current_file),
        (registry.challenger(), shadow, settings.shadow_file),
    ):
        if version:
            folder = registry.fetch(version.version, settings.folder / "models")
            name_version(settings, version.version, folder)
            yield f"{file} names version {version.version}."


def start(settings: Settings, wait_seconds: float = PATIENCE) -> int:
    """Start the service unless it runs, and wait until it is ready."""
    if (running := process(settings)) is not None:
        wait_until_ready(settings, wait_seconds, lambda: _log_text(settings))
        return running
    require_free_port(settings)
    settings.folder.mkdir(parents=True, exist_ok=True)
    environment = {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.model_dump().items()}
    with _log_path(settings).open("ab") as log, _lock_path(settings).open("w") as lock:
        earlier = log.tell()  # what services before this one wrote
        fcntl.flock(lock, fcntl.LOCK_EX)  # the child inherits it, and holds it as long as it lives
        child = subprocess.Popen(  # noqa: S603 (ours)
            COMMAND,
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
        lock.write(str(child.pid))

    def ended() -> str:
        return "" if child.poll() is None else f"it ended with code {child.returncode}"

    try:
        wait_until_ready(settings, wait_seconds, lambda: _log_text(settings, earlier), ended)
    except UserError:
        stop(settings)
        raise
    return child.pid


def stop(settings: Settings, wait_seconds: float = 10) -> bool:
    """Stop the service, if `start` started it.

    Args:
        settings: Of the service.
        wait_seconds: Time until it is killed.

    Returns:
        Whether it ran.
    """
    running = process(settings)
    if running is not None:
        _send(running, signal.SIGTERM)
        deadline = time.monotonic() + wait_seconds
        while process(settings) is not None:
            if time.monotonic() > deadline:
                _send(running, signal.SIGKILL)
            time.sleep(0.02)
    _lock_path(settings).unlink(missing_ok=True)
    return running is not None


def process(settings: Settings) -> int | None:
    """Return the number of the process that `start` started, while it runs."""
    with contextlib.suppress(FileNotFoundError), _lock_path(settings).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read())
    return None


def _send(running: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(running, number)


def _go_back(settings: Settings, before: ServedVersion | None) -> None:
    """Point the service to what it served before."""
    if before is None:
        settings.current_file.unlink(missing_ok=True)
        stop(settings)
        return
    write_served_version(settings.current_file, before)
    if process(settings) is not None:
        with contextlib.suppress(httpx.HTTPError):
            _reload(settings, wait_seconds=PATIENCE)


def _reload(settings: Settings, wait_seconds: float) -> httpx.Response:
    return httpx.post(f"{url(settings)}/reload", headers=headers(settings), timeout=wait_seconds)


def _pointer(version: str, folder: Path) -> ServedVersion:
    return ServedVersion(version=version, folder=folder.resolve(), digest=artifact_digest(folder))


def _lock_path(settings: Settings) -> Path:
    return settings.folder / "service.pid"


def _log_path(settings: Settings) -> Path:
    return settings.folder / "service.log"


def _log_text(settings: Settings, earlier: int = 0) -> str:
    """Return the log after so many bytes."""
    path = _log_path(settings)
    return path.read_bytes()[earlier:].decode(errors="replace") if path.exists() else ""

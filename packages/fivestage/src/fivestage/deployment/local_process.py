"""Serve a version as a process on this machine: start, smoke test, switch, roll back, stop."""

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

from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.service_client import (
    PATIENCE,
    Deployment,
    connect,
    require_free_port,
    smoke,
    url,
    wait_until_ready,
)
from fivestage.registry.versions import ModelRegistry
from fivestage.serving.served_version import ServedVersion, read_served_version, shadow, write_served_version
from fivestage.serving.service_settings import PREFIX, Settings

LOG = "service.log"
STOP_SECONDS = 10
COMMAND: Sequence[str] = (sys.executable, "-m", "serving")  # the service of this project


def release(settings: Settings, model: ReleasedModel) -> Deployment:
    """Serve a version if it passes the smoke test; otherwise return to the previous one.

    Args:
        settings: The service's settings; it is started unless it runs.
        model: The version and its expected predictions.

    Returns:
        The deployment that now serves.

    Raises:
        UserError: If the version cannot be loaded or fails the smoke test.
    """
    before = switch(settings, model.version, model.folder)
    try:
        start(settings)
        difference = smoke(settings, model.expected)
    except BaseException:  # also on interruption: an unchecked version must not keep serving
        _go_back(settings, before)
        raise
    if settings.shadow_file.exists() and read_served_version(settings.shadow_file).version == model.version:
        settings.shadow_file.unlink()  # a version need not shadow itself
    return Deployment(model.version, url(settings), difference)


def switch(settings: Settings, version: str, folder: Path) -> ServedVersion | None:
    """Point the service to a version, and return the one that it was pointed to before.

    If it runs, wait until it serves the version; if it refuses, point it back and raise a `UserError`.
    """
    before = read_served_version(settings.current_file) if settings.current_file.exists() else None
    write_served_version(settings.current_file, ServedVersion.of(version, folder))
    if process(settings) is None:
        return before
    if refusal := _reload(settings):
        _go_back(settings, before)
        raise UserError(f"The service refuses version {version}: {refusal}")
    return before


def fetch_versions(settings: Settings, name: str) -> Iterator[str]:
    """Fetch a model's champion, and its challenger as a shadow, before a service starts; yield messages."""
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
    with (settings.folder / LOG).open("ab") as log, _lock_path(settings).open("w") as lock:
        earlier = log.tell()  # bytes written by earlier services
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


def stop(settings: Settings) -> bool:
    """Stop the service if `start` started it, after a while by force; return whether it ran."""
    running = process(settings)
    if running is not None:
        _send(running, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while process(settings) is not None:
            if time.monotonic() > deadline:
                _send(running, signal.SIGKILL)
            time.sleep(0.02)
    _lock_path(settings).unlink(missing_ok=True)
    return running is not None


def process(settings: Settings) -> int | None:
    """Return the id of the process that `start` started, or None if it does not run."""
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
    """Point the service back to the version that it served before, or stop it."""
    if before is None:
        settings.current_file.unlink(missing_ok=True)
        stop(settings)
        return
    write_served_version(settings.current_file, before)
    if process(settings) is not None:
        _reload(settings)


def _reload(settings: Settings) -> str:
    """Let the service load the version that it is pointed to; return why it refuses, if it does."""
    try:
        with connect(settings) as client:
            response = client.post("/reload")
        return "" if response.is_success else str(response.json().get("detail", response.text))
    except (httpx.HTTPError, ValueError) as error:
        return f"it does not answer ({error})"


def _lock_path(settings: Settings) -> Path:
    return settings.folder / "service.pid"


def _log_text(settings: Settings, earlier: int = 0) -> str:
    """Return the log after the first `earlier` bytes."""
    path = settings.folder / LOG
    return path.read_bytes()[earlier:].decode(errors="replace") if path.exists() else ""

"""The service as a process of this machine: start, smoke, switch, roll back, stop."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from fivestage.artifact.artifact import artifact_digest
from fivestage.common.errors import UserError
from fivestage.common.settings import DEMO, ROOT
from fivestage.deployment.service_client import headers, require_free_port, smoke, url, wait_until_ready
from fivestage.registry import versions as registry
from fivestage.serving.pointer import Pointer, read_pointer, write_pointer
from fivestage.serving.settings import PREFIX, Settings

COMMAND: Sequence[str] = (sys.executable, "-m", "serving")  # the service of this project


def settings_in(folder: str) -> Settings:
    """The service's settings from the environment, with its state in a folder of its own.

    The demo is not logged among the operator's requests: it has a database of its own, and no limits.
    """
    own = {"folder": Path(folder)}
    demo: dict[str, object] = {"database": "", "rate_per_second": 0.0} if Path(folder) == DEMO else {}
    return Settings.from_environment().model_copy(update=own | demo)


def start(settings: Settings, wait_seconds: float = 30) -> int:
    """Start the service, unless ours is running, wait until it is ready, and return its process number.

    Raises:
        UserError: when the port is held by something else, or the service does not become ready.
    """
    running = process(settings)
    if running is not None:
        wait_until_ready(settings, wait_seconds, log=lambda: _log_text(settings))
        return running
    require_free_port(settings)
    settings.folder.mkdir(parents=True, exist_ok=True)
    given = {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.model_dump().items()}
    with _log(settings).open("ab") as log, _pid(settings).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # the child inherits it, and holds it as long as it lives
        started = subprocess.Popen(  # noqa: S603 (ours)
            COMMAND,
            cwd=ROOT,
            env=os.environ | given,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[held.fileno()],
        )
        held.write(str(started.pid))
    try:
        wait_until_ready(
            settings,
            wait_seconds,
            log=lambda: _log_text(settings),
            ended=lambda: "" if started.poll() is None else f"it ended with code {started.returncode}",
        )
    except UserError:
        stop(settings)
        raise
    return started.pid


def switch(settings: Settings, version: str, folder: Path, wait_seconds: float = 30) -> Pointer | None:
    """Point the service to a version, wait until a running one serves it, and return what it served before.

    Raises:
        UserError: when the service refuses the version; the pointer then stands where it stood.
    """
    before = read_pointer(settings.pointer) if settings.pointer.exists() else None
    pointer = Pointer(version=version, folder=folder.resolve(), digest=artifact_digest(folder))
    write_pointer(settings.pointer, pointer)
    if process(settings) is None:
        return before
    try:
        answer = httpx.post(f"{url(settings)}/reload", headers=headers(settings), timeout=wait_seconds)
        refused = "" if answer.is_success else answer.json().get("detail", answer.text)
    except (httpx.HTTPError, ValueError) as error:
        refused = f"it does not answer ({error})"
    if refused:
        roll_back(settings, before)
        raise UserError(f"The service refuses version {version}: {refused}")
    return before


def shadow(settings: Settings, version: str, folder: Path) -> None:
    """Let a version answer beside the one that serves; a running service takes it up by itself."""
    pointer = Pointer(version=version, folder=folder.resolve(), digest=artifact_digest(folder))
    write_pointer(settings.shadow_pointer, pointer)


def end_shadow(settings: Settings, version: str) -> None:
    """A version that serves has no need to answer beside itself."""
    path = settings.shadow_pointer
    if path.exists() and read_pointer(path).version == version:
        path.unlink()


def fetch_versions(settings: Settings, name: str) -> Iterator[str]:
    """Fetch a model's champion, and its challenger as a shadow, for a service that starts next.

    Yields:
        A line for each file that names a version.

    Raises:
        UserError: when there is no champion yet.
    """
    for version, let, file in (
        (registry.crowned(name), switch, settings.pointer),
        (registry.challenger(name), shadow, settings.shadow_pointer),
    ):
        if version:
            let(settings, version.version, registry.fetch(name, version.version, settings.folder / "models"))
            yield f"{file} names version {version.version}."


def roll_back(settings: Settings, before: Pointer | None) -> None:
    """Point the service to what it served before."""
    if before is None:
        settings.pointer.unlink(missing_ok=True)
        stop(settings)
        return
    write_pointer(settings.pointer, before)
    if process(settings) is not None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(f"{url(settings)}/reload", headers=headers(settings), timeout=30)


def release(
    settings: Settings,
    version: str,
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    forecasts: Sequence[Sequence[float]],
) -> float:
    """Serve a version for good if it passes the smoke test, and else what was served before.

    Raises:
        UserError: saying why the version does not serve.
    """
    before = switch(settings, version, folder)
    try:
        start(settings)
        difference = smoke(settings, rows, forecasts)
    except BaseException:  # whatever it is, an interruption too: what is not proven does not stay
        roll_back(settings, before)
        raise
    end_shadow(settings, version)
    return difference


def stop(settings: Settings, wait_seconds: float = 10) -> bool:
    """Stop the service if it is ours and runs; says whether it did."""
    running = process(settings)
    if running is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running, signal.SIGTERM)
        until = time.monotonic() + wait_seconds
        while process(settings) is not None:
            if time.monotonic() > until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running, signal.SIGKILL)
            time.sleep(0.02)
    _pid(settings).unlink(missing_ok=True)
    return running is not None


def process(settings: Settings) -> int | None:
    """The number of the process that we started, while it runs."""
    try:
        with _pid(settings).open() as held:
            try:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(held.read())
    except FileNotFoundError:
        pass
    return None


def _pid(settings: Settings) -> Path:
    return settings.folder / "service.pid"


def _log(settings: Settings) -> Path:
    return settings.folder / "service.log"


def _log_text(settings: Settings) -> str:
    return _log(settings).read_text(errors="replace") if _log(settings).exists() else ""

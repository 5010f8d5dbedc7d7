"""Runs an application with uvicorn in one or several processes; behind a project's `python -m serving`."""

import argparse
import gc
import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socket import socket
from types import FrameType
from typing import Any, Protocol

import uvicorn
from uvicorn.supervisors import Multiprocess

from fivestage.common.errors import UserError
from fivestage.serving.background import BackgroundTasks
from fivestage.serving.http_protocol import IDLE_SECONDS, LimitedHttpProtocol
from fivestage.serving.log import open_store
from fivestage.serving.problems import ProblemError
from fivestage.serving.prometheus_metrics import SHARED_FOLDER, ServiceMetrics
from fivestage.serving.service_settings import PREFIX, Settings

SWITCH_SECONDS = 0.0005  # how long a busy thread may block the event loop; a tenth of Python's default
# New objects between collections; requests create few cycles, and Python's default of 700 costs some percent.
GC_THRESHOLD = 20_000
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
# Connections accepted per iteration of the event loop: a health check behind a hundred new clients waits for
# 13 iterations and not for a hundred, while open connections wait for few new ones.
LISTENERS = 8
HEALTH_SECONDS = 30  # a worker that is unresponsive for this long is replaced


class Service(Protocol):
    """What `ServiceApp` needs of a service."""

    metrics: ServiceMetrics
    background: BackgroundTasks
    draining: bool

    @property
    def settings(self) -> Settings:
        """The service's settings."""

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""

    @property
    def status_detail(self) -> str:
        """What an operator should know; empty when all is well."""

    async def start(self) -> None:
        """Load the model and start the background tasks."""

    async def stop(self) -> None:
        """Stop the background tasks and close the log."""


def run(app: str) -> None:
    """Serve an application in the foreground until a signal stops it.

    Args:
        app: Import path of the function that creates the application, such as `serving.app:create`.
    """
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--port", help=f"port to listen on (or {PREFIX}PORT)")
    parser.add_argument("--workers", help=f"number of processes that share the port (or {PREFIX}WORKERS)")
    options = {name: value for name, value in vars(parser.parse_args()).items() if value}
    os.environ.update({f"{PREFIX}{name.upper()}": value for name, value in options.items()})
    try:
        settings = Settings.from_environment()
        open_store(settings.database_url).close()
    except UserError as error:
        sys.exit(str(error))
    if settings.workers > 1:
        shutil.rmtree(settings.worker_metrics, ignore_errors=True)
        settings.worker_metrics.mkdir(parents=True)
        os.environ[SHARED_FOLDER] = str(settings.worker_metrics)
    log_to_stderr()
    config = uvicorn.Config(app, factory=True, **uvicorn_options(settings))
    listeners = listeners_of(config.bind_socket())
    if settings.workers > 1:
        Workers(config, listeners).run()
        return
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(listeners)
    if not server.started:
        sys.exit("The service could not start: see the log above.")


def listeners_of(listener: socket) -> list[socket]:
    """Return several descriptors of one listening socket, so that a busy event loop accepts more connections.

    libuv accepts one connection per descriptor and iteration of the event loop. Under overload an iteration
    takes milliseconds, so that new clients and health checks would wait for seconds.
    """
    return [listener, *(listener.dup() for _ in range(LISTENERS - 1))]


class Workers(Multiprocess):
    """uvicorn's supervisor, which closes the port before it stops the workers."""

    def terminate_all(self) -> None:
        """See uvicorn."""
        for one in self.sockets:
            one.close()
        super().terminate_all()


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """Return the arguments for `uvicorn.run(app, **uvicorn_options(settings))`.

    The application's state must hold `settings`, `service`, `admission` and `metrics`.
    """
    return {
        "host": settings.host,
        "port": settings.port,
        "workers": settings.workers,
        "timeout_worker_healthcheck": HEALTH_SECONDS,
        "http": LimitedHttpProtocol,
        "timeout_graceful_shutdown": settings.request_seconds + IDLE_SECONDS,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,
        "headers": [("x-content-type-options", "nosniff")],
    }


def require_ready(service: Service) -> None:
    """Refuse with 503 unless the service is ready."""
    if not service.ready:
        raise ProblemError(503, service.status_detail)


def prepare_process() -> None:
    """Configure a process that serves: log format, thread switching and garbage collection."""
    log_to_stderr()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(GC_THRESHOLD)


def stop_gracefully(service: Service) -> None:
    """On a stop signal, report "not ready" for the drain time before uvicorn stops; a second one skips it."""
    # A worker also stops when its supervisor has died, as a new supervisor may start its own workers.
    service.background.repeat("parent", 0.5, _stop_without_parent)
    if threading.current_thread() is not threading.main_thread():
        return  # as in tests; only the main thread can handle signals

    for one in (signal.SIGTERM, signal.SIGINT):
        stop = signal.getsignal(one)  # uvicorn's
        if callable(stop):
            signal.signal(one, partial(_drain, service, stop))


def _drain(service: Service, stop: Callable[..., None], number: int, frame: FrameType | None) -> None:
    wait = 0.0 if service.draining else service.settings.drain_seconds
    service.draining = True
    timer = threading.Timer(wait, stop, (number, frame))
    timer.daemon = True
    timer.start()


async def _stop_without_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os.kill(os.getpid(), signal.SIGTERM)


class JsonLines(logging.Formatter):
    """Formats a log record as one line of JSON: time, level, message and extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD and value != ""}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr() -> None:
    """Write the log of this process as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

"""Starts an application with uvicorn, in one process or several: `python -m serving` of a project."""

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
from functools import partial
from types import FrameType
from typing import Any, Protocol

import uvicorn
from uvicorn.supervisors import Multiprocess

from fivestage.common.errors import UserError
from fivestage.serving.background import BackgroundTasks
from fivestage.serving.http_protocol import LimitedHttpProtocol
from fivestage.serving.log import open_store
from fivestage.serving.problems import ProblemError
from fivestage.serving.prometheus_metrics import SHARED_FOLDER, ServiceMetrics
from fivestage.serving.service_settings import PREFIX, Settings

SWITCH_SECONDS = 0.0005  # a busy thread keeps the event loop waiting for; Python's default is ten times that
GC_THRESHOLD = 20_000  # objects between collections: requests leave few cycles, and 700 cost some percent
_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
HEALTH_SECONDS = 30  # in which a worker of a busy machine says that it lives, before it is replaced


class Service(Protocol):
    """What an application serves."""

    metrics: ServiceMetrics
    background: BackgroundTasks
    draining: bool

    @property
    def settings(self) -> Settings:
        """Where it reads and writes, its keys and limits."""
        ...

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        ...

    @property
    def status_detail(self) -> str:
        """What an operator should know, whether the service answers or not."""
        ...

    async def start(self) -> None:
        """Load what it needs."""
        ...

    async def stop(self) -> None:
        """Let go of it."""
        ...


def run(app: str) -> None:
    """Serve an application in the foreground until told to stop.

    Args:
        app: where to import the function that makes it, as `serving.app:create`.
    """
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--port", help=f"where it listens (or {PREFIX}PORT)")
    parser.add_argument("--workers", help=f"processes on the port (or {PREFIX}WORKERS)")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value}
    os.environ.update({f"{PREFIX}{name.upper()}": value for name, value in given.items()})
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
    options = uvicorn_options(settings)
    if settings.workers == 1:
        uvicorn.run(app, factory=True, **options)
    else:
        config = uvicorn.Config(app, factory=True, **options)
        Workers(config, [config.bind_socket()]).run()


class Workers(Multiprocess):
    """uvicorn's, which told to stop leaves no port open on which nobody answers any more."""

    def terminate_all(self) -> None:
        """See uvicorn."""
        for one in self.sockets:
            one.close()
        super().terminate_all()


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is given: `uvicorn.run(app, **uvicorn_options(settings))`.

    The application needs `settings`, `service`, `admission` and `metrics` in its state.
    """
    return {
        "host": settings.host,
        "port": settings.port,
        "workers": settings.workers,
        "timeout_worker_healthcheck": HEALTH_SECONDS,
        "http": LimitedHttpProtocol,
        "timeout_keep_alive": settings.keep_alive_seconds,
        "timeout_graceful_shutdown": settings.request_seconds,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,
        "headers": [("x-content-type-options", "nosniff")],
    }


def require_ready(service: Service) -> None:
    """Refuse where requests should not be sent here."""
    if not service.ready:
        raise ProblemError(503, service.status_detail)


def prepare_process() -> None:
    """Set what holds for a whole process that serves: its log, and how often Python interrupts its work."""
    log_to_stderr()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(GC_THRESHOLD)


def stop_gracefully(service: Service) -> None:
    """Told to stop, say for a while that the service is not ready, then let uvicorn stop; twice: at once."""
    # A worker also stops when the process is gone that looked after it, as another may start anew.
    service.background.repeat("parent", 0.5, _stop_without_parent)
    if threading.current_thread() is not threading.main_thread():
        return  # as in tests: signals reach the main thread alone

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
    """What happened, when, and the fields that came with it."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OWN and value != ""}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr() -> None:
    """Write the log of this process as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

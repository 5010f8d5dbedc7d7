"""The service in the foreground: what `python -m serving` of a project runs."""

import argparse
import os
import socket
import sys
import threading
from contextlib import closing
from functools import partial
from types import FrameType

import uvicorn

from fivestage.common.errors import UserError
from fivestage.features.problem import Problem
from fivestage.serving.app import create_app
from fivestage.serving.connection import Connection
from fivestage.serving.logs import log_to_stderr
from fivestage.serving.service import Service
from fivestage.serving.settings import PREFIX, Settings
from fivestage.serving.workers import Workers


class Server(uvicorn.Server):
    """A server that, told to stop, first says that it is not ready, and finishes what has begun."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        app = create_app(problem, settings)
        self.service: Service = app.state.service
        self._parent = os.getppid()
        connection = partial(Connection, settings, self.service.metrics, app.state.hot, {})
        super().__init__(
            uvicorn.Config(
                app,
                http=connection,  # type: ignore[arg-type]
                timeout_graceful_shutdown=settings.request_seconds,
                ws="none",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
            )
        )

    async def on_tick(self, counter: int) -> bool:
        """See uvicorn: ten times a second."""
        if self.service.settings.worker and os.getppid() != self._parent:
            self.should_exit = True  # who looked after us is gone, and another may start anew
        for connection in tuple(self.server_state.connections):
            if self.service.draining:  # a kept one that is closed later may be closed just as its client asks
                connection.part()  # type: ignore[union-attr]
            if counter % 10 == 0:
                connection.second()  # type: ignore[union-attr]
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain; a second signal stops at once."""
        wait = self.service.settings.drain_seconds
        if wait and not self.service.draining:
            timer = threading.Timer(wait, super().handle_exit, (sig, frame))
            timer.daemon = True
            timer.start()
        else:
            super().handle_exit(sig, frame)
        self.service.draining = True


def main(problem: Problem) -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--workers", help=f"processes on the port (or {PREFIX}WORKERS)")
    given = parser.parse_args()
    log_to_stderr()
    try:
        if given.workers:
            os.environ[f"{PREFIX}WORKERS"] = given.workers
        settings = Settings.from_environment()
        several = settings.workers > 1
        listener = _bind(settings.host, settings.port, shared=several)
        if several and not settings.worker:
            with closing(listener):  # keeps the port, and takes no connection
                Workers(settings).run()
        else:
            Server(problem, settings).run(sockets=[listener])
    except UserError as error:
        sys.exit(str(error))


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise UserError(
            f"Port {port} of {host} cannot be used: {error.strerror}. "
            f"Stop what holds it, or set {PREFIX}PORT."
        ) from error
    return listener

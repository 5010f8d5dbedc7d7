"""`python -m serving`: the service in the foreground."""

import socket
import sys
import threading
from types import FrameType

import uvicorn

from core.errors import UserError
from serving.app import create_app
from serving.logs import log_to_stderr
from serving.service import Service
from serving.settings import Settings


class Server(uvicorn.Server):
    """A server that, told to stop, first says that it is not ready, and finishes what has begun."""

    def __init__(self, settings: Settings) -> None:
        app = create_app(settings)
        self._service: Service = app.state.service
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain; a second signal stops at once."""
        wait = self._service.settings.drain_seconds
        if wait and not self._service.draining:
            timer = threading.Timer(wait, super().handle_exit, (sig, frame))
            timer.daemon = True
            timer.start()
        else:
            super().handle_exit(sig, frame)
        self._service.draining = True


def main() -> None:
    """Serve until told to stop."""
    log_to_stderr()
    try:
        settings = Settings.from_environment()
        listener = _listen(settings.host, settings.port)
        Server(settings).run(sockets=[listener])
    except UserError as error:
        sys.exit(str(error))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise UserError(
            f"Port {port} of {host} cannot be used: {error.strerror}. Stop what holds it, or set SERVE_PORT."
        ) from error
    return listener


if __name__ == "__main__":
    main()

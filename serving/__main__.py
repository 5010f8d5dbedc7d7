"""`python -m serving`: the service in the foreground."""

import logging
import socket
import sys

import uvicorn

from core.errors import UserError
from serving.app import create_app
from serving.settings import Settings


def main() -> None:
    """Serve until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = Settings.from_environment()
        listener = _listen(settings.host, settings.port)
        config = uvicorn.Config(
            create_app(settings),
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        uvicorn.Server(config).run(sockets=[listener])
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

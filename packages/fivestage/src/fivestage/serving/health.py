"""`python -m fivestage.serving.health`: health check of the service in this container."""

import http.client
import os
import sys


def main() -> int:
    """Return 0 if the service is ready, else 1."""
    try:
        service = http.client.HTTPConnection(
            "127.0.0.1", int(os.environ.get("SERVE_PORT", "8000")), timeout=2
        )
        service.request("GET", "/readyz")
        return int(service.getresponse().status != http.client.OK)
    except (OSError, http.client.HTTPException):
        return 1


if __name__ == "__main__":
    sys.exit(main())

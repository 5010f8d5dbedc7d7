"""`python -m fivestage.serving.health`: whether the service of this container is ready."""

import http.client
import os
import sys


def main() -> int:
    """0 when it is ready."""
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

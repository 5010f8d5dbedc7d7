"""`make bench-image`: measure the size of the service's image, and the time until a container is ready."""

import argparse
import json
import statistics
import sys
import time
from datetime import UTC, datetime

import docker
from docker.errors import DockerException

from fivestage.common.errors import UserError
from fivestage.common.files import write_between, write_text
from fivestage.common.settings import REPORTS, ROOT
from fivestage.deployment.docker_container import PORT, STATE, USER
from fivestage.deployment.images import PIPELINES, SERVING, image_name, open_engine
from fivestage.deployment.service_client import wait_until_ready
from fivestage.serving.service_settings import Settings

PAGE, JSON = ROOT / "docs" / "kubernetes.md", REPORTS / "bench" / "image.json"
SECONDS = 60


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--times", type=int, default=7, help="number of containers, started one after another"
    )
    times = parser.parse_args().times
    try:
        names = [image_name(role) for role in (SERVING, PIPELINES)]
        with open_engine() as engine:
            sizes = {name: _megabytes(engine, f"{name}:latest") for name in names}
            starts = sorted(_start(engine, f"{names[0]}:latest") for _ in range(times))
        found = {"megabytes": sizes, "ready_seconds": starts}
        write_text(JSON, json.dumps(found, indent=1))
        text = _sentences(sizes, starts)
        write_between(PAGE, "image", text)
    except DockerException as error:
        sys.exit(f"The image cannot be measured; `make image` builds it: {error}")
    except UserError as error:
        sys.exit(str(error))
    print(text)


def _megabytes(engine: docker.DockerClient, image: str) -> float:
    return float(engine.images.get(image).attrs["Size"]) / 1e6


def _start(engine: docker.DockerClient, image: str) -> float:
    """Return the seconds from starting a container until the service is ready, with the engine's part."""
    container = engine.containers.create(
        image, ports={f"{PORT}/tcp": ("127.0.0.1", None)}, read_only=True, tmpfs={STATE: f"uid={USER}"}
    )
    try:
        started = time.perf_counter()
        container.start()
        container.reload()
        port = int(container.ports[f"{PORT}/tcp"][0]["HostPort"])
        wait_until_ready(Settings(port=port), SECONDS, lambda: container.logs().decode(errors="replace"))
        return time.perf_counter() - started
    finally:
        container.remove(force=True, v=True)


def _sentences(sizes: dict[str, float], starts: list[float]) -> str:
    count, median = len(starts), statistics.median(starts)
    serving, pipelines = sizes.values()
    return (
        f"The service's image has {serving:.0f} MB including its base image, the image of the commands "
        f"{pipelines:.0f} MB. A container is ready {median:.2f} s after the start command "
        f"(median of {count}, {starts[0]:.2f} to {starts[-1]:.2f}), including the engine's part. "
        f"{datetime.now(UTC).date().isoformat()}"
    )


if __name__ == "__main__":
    main()

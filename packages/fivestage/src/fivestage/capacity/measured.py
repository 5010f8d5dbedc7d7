"""The measured capacity of one process of the service, written by `make bench-serving`."""

from datetime import date
from pathlib import Path

from pydantic import ValidationError

from fivestage.common.errors import UserError
from fivestage.contract.strict_model import StrictModel

PATH = Path(__file__).with_name("measured.json")


class Capacity(StrictModel):
    """The capacity of one process with a core of its own."""

    measured: date
    machine: str
    row_cpu_ms: float  # milliseconds of CPU for a request of one row, at `rate`
    rate: float  # requests per second, half of `most_per_s`
    p99_ms: float  # 99th percentile of the response time at `rate`, milliseconds
    most_per_s: float  # highest throughput, requests per second
    batch_rows: float  # rows of the largest batch that was measured
    batch_cpu_ms: float  # milliseconds of CPU for that batch
    idle_cpu: float  # share of a core that is used without requests
    start_cpu_s: float  # seconds of CPU until the process is ready
    memory_mb: float  # peak resident memory
    logged_bytes: float  # bytes logged for one request of one row and its response


def read_capacity(path: Path = PATH) -> Capacity:
    """Load the measured capacity."""
    try:
        return Capacity.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path} is missing or invalid: run `make bench-serving`, which writes it."
        ) from error

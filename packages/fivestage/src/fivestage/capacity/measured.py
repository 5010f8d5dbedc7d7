"""The measured capacity of one process of the service, as `make bench-serving` wrote it."""

from datetime import date
from pathlib import Path

from pydantic import ValidationError

from fivestage.common.errors import UserError
from fivestage.contract.strict_model import StrictModel

PATH = Path(__file__).with_name("measured.json")


class Capacity(StrictModel):
    """One process on a core of its own."""

    measured: date  # the day
    machine: str  # in words
    row_cpu_ms: float  # milliseconds of CPU for a request of one row, at `rate`
    rate: float  # requests per second, half of `most_per_s`
    p99_ms: float  # 99% of the requests are answered within so many milliseconds, at `rate`
    most_per_s: float  # requests per second, as fast as it answers
    batch_rows: float  # rows of the largest batch that was measured
    batch_cpu_ms: float  # milliseconds of CPU for it
    idle_cpu: float  # share of a core that is used without any request
    start_cpu_s: float  # seconds of CPU until it is ready
    memory_mb: float  # largest resident memory
    logged_bytes: float  # size of the log for one request of one row and its answer


def read_capacity(path: Path = PATH) -> Capacity:
    """Return what was measured."""
    try:
        return Capacity.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} does not say what was measured: run `make bench-serving`.") from error

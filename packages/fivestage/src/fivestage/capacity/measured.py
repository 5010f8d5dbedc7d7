"""What one process of the service was measured to do, as `make bench-serving` left it."""

from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fivestage.common.errors import UserError
from fivestage.common.files import write_whole

PATH = Path(__file__).with_name("measured.json")


class Capacity(BaseModel):
    """One process on a core of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    measured: date
    machine: str
    row_cpu_ms: float  # of a request with one row, at the rate below
    rate: float  # requests per second, half of the most
    p99_ms: float  # at that rate
    most_per_s: float  # requests per second, as fast as it answers
    batch_rows: float
    batch_cpu_ms: float
    idle_cpu: float  # share of a core without any request
    start_cpu_s: float
    memory_mb: float
    logged_bytes: float  # request and answer of one row


def write_capacity(capacity: Capacity, path: Path = PATH) -> None:
    """Keep what was measured, for `make size`."""
    text = capacity.model_dump_json(indent=1) + "\n"
    write_whole(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def read_capacity(path: Path = PATH) -> Capacity:
    """What was measured.

    Raises:
        UserError: when there is no such file, or it holds something else.
    """
    try:
        return Capacity.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} does not say what was measured: run `make bench-serving`.") from error

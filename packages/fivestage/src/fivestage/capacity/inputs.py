"""The inputs of sizing: assumptions (k8s/assumptions.yaml), list prices, and the measured capacity."""

from datetime import date
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT
from fivestage.common.strict_yaml import read_yaml
from fivestage.contract.strict_model import Count, Positive, Share, StrictModel, Text

ASSUMPTIONS = ROOT / "k8s" / "assumptions.yaml"
PRICES = Path(__file__).with_name("prices.yaml")
MEASURED = Path(__file__).with_name("measured.json")  # written by `make bench-serving`
UNVERIFIED = "not verified: "  # prefix of the source of a price that was not found in public
Multiple = Annotated[float, Field(ge=1)]
Day = Annotated[date, Field(strict=False)]  # a text in the file


class Resources(StrictModel):
    """The resources that a pod requests."""

    cpu_millicores: Count
    memory_mib: Count


class Assumptions(StrictModel):
    """The content of k8s/assumptions.yaml, which explains each field."""

    replica_availability: Annotated[float, Field(gt=0, lt=1)]
    growth: Multiple
    growth_while_scaling: Multiple
    mean_of_peak: Share
    cpu_step_millicores: Count
    memory_step_mib: Count
    memory_times: Multiple
    log_days: Count
    pipelines: Resources
    training_times: Multiple
    node_left: Share


class Price(StrictModel):
    """A list price, per hour or per month."""

    what: Text
    source: Text
    as_of: Day | None = None  # date that the source gives
    read: Day | None = None  # date on which a copy of the source was read, if it gives none
    per_hour: float | None = None
    per_month: float | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for first, second in (("as_of", "read"), ("per_hour", "per_month")):
            if (getattr(self, first) is None) is (getattr(self, second) is None):
                raise ValueError(f"set either {first} or {second}, but not both")
        return self

    @property
    def day(self) -> date:
        """The date that the source gives, else the date on which it was read."""
        day = self.as_of or self.read
        assert day is not None  # noqa: S101 (checked above)
        return day

    @property
    def verified(self) -> bool:
        """Whether the price can be looked up at its source."""
        return not self.source.startswith(UNVERIFIED)


class Node(Price):
    """A machine of the cluster."""

    cpu: Positive
    memory_gib: Positive


class Cloud(StrictModel):
    """A provider's prices in one region."""

    region: Text
    cluster: Price
    node: Node
    load_balancer: Price
    database: Price
    database_gib: Price
    disk_gib: Price

    @property
    def items(self) -> tuple[Price, ...]:
        """All prices of this cloud."""
        return tuple(one for _, one in self if isinstance(one, Price))

    @property
    def verified(self) -> bool:
        """Whether all prices of this cloud are verified."""
        return all(one.verified for one in self.items)


class Prices(StrictModel):
    """The content of prices.yaml."""

    hours_per_month: Positive
    clouds: dict[str, Cloud]

    @property
    def items(self) -> tuple[Price, ...]:
        """The prices of all clouds."""
        return tuple(one for cloud in self.clouds.values() for one in cloud.items)

    def monthly(self, price: Price) -> float:
        """Return a price in USD per month."""
        if price.per_month is not None:
            return price.per_month
        return (price.per_hour or 0) * self.hours_per_month


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


Read = TypeVar("Read", bound=StrictModel)


def read(kind: type[Read], path: Path) -> Read:
    """Read a YAML file as a model."""
    try:
        return kind.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {field}: {first['msg']}. Fix that field and run again.") from error


def read_capacity(path: Path = MEASURED) -> Capacity:
    """Load the measured capacity."""
    try:
        return Capacity.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path} is missing or invalid: run `make bench-serving`, which writes it."
        ) from error

"""The typed models of k8s/assumptions.yaml, which sizing takes for granted, and of the list prices."""

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
UNVERIFIED = "not verified: "  # how a price's source begins where no public statement of it was found
Multiple = Annotated[float, Field(ge=1)]
Day = Annotated[date, Field(strict=False)]  # a text in YAML


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
    """A list price, by the hour or by the month."""

    what: Text
    source: Text
    as_of: Day | None = None  # the day that the source states
    read: Day | None = None  # where it states none, the day on which a copy of it was read
    per_hour: float | None = None
    per_month: float | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for first, second in (("as_of", "read"), ("per_hour", "per_month")):
            if (getattr(self, first) is None) is (getattr(self, second) is None):
                raise ValueError(f"it takes {first} or {second}, and not both")
        return self

    @property
    def day(self) -> date:
        """The day that the source states, or else the day on which it was read."""
        day = self.as_of or self.read
        assert day is not None  # noqa: S101 (checked above)
        return day

    @property
    def verified(self) -> bool:
        """Whether somebody can look the figure up where the source says."""
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
        """Whether all of its prices are."""
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
        """Return the USD that one costs a month."""
        if price.per_month is not None:
            return price.per_month
        return (price.per_hour or 0) * self.hours_per_month


Read = TypeVar("Read", bound=StrictModel)


def read(kind: type[Read], path: Path) -> Read:
    """Read a YAML file as a model."""
    try:
        return kind.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {field}: {first['msg']}. Correct that field and run again.") from error

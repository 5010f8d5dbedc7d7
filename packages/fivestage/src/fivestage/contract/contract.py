"""The typed model of `problem/problem.yaml`: an illegal contract cannot be built."""

import hashlib
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from fivestage.common.errors import UserError, did_you_mean
from fivestage.common.strict_yaml import read_yaml
from fivestage.contract.strict_model import Count, Name, Positive, Share, StrictModel, Text
from fivestage.contract.tasks import (
    BinaryCosts,
    BinaryDecision,
    ClassificationGates,
    Decision,
    Label,
    MulticlassCosts,
    MulticlassLabel,
    RegressionCosts,
    RegressionGates,
    RegressionLabel,
)

LEAST_REFERENCE = 4  # periods that drift is compared with
RESERVED = (  # what rows, logged rows, scored rows and refused ones carry beside the contract's columns
    "decision_at", "known_at", "number", "request_id", "answered_at", "model_version", "probability",
    "forecast", "decision", "place", "row", "reason",
)  # fmt: skip
FORECAST = ("value", "low", "high")  # the same where numbers are forecast

WHOLE_NUMBER = re.compile(r"\s*([+-]?\d{1,18})(?:\.0*)?\s*")

BaselineName = Literal[
    "prior", "historical_rate", "historical_mean", "logistic_regression", "linear_regression"
]


class CategoryColumn(StrictModel):
    """A text column; `values`, where given, are all that is allowed.

    Texts of `form: integer` are whole numbers, such as a customer's: "18", "18.0" and "018" are the same one.
    """

    type: Literal["category"]
    about: Text
    form: Literal["text", "integer"] = "text"
    values: tuple[Text, ...] = Field(default=(), strict=False)
    max_length: Count = 32
    nullable: bool = False
    example: str

    def canonical(self, value: str) -> str:
        """The one way in which a value is written, by which its history is found.

        Raises:
            ValueError: when it is to be a whole number and is none.
        """
        if self.form != "integer":
            return value
        if number := WHOLE_NUMBER.fullmatch(value):
            return str(int(number[1]))
        raise ValueError("Expected a whole number, written as text")

    @model_validator(mode="after")
    def values_are_allowed(self) -> Self:
        for value in (*self.values, self.example):
            if len(value) > self.max_length:
                raise ValueError(f"{value!r} is longer than max_length, {self.max_length}")
        if self.values and self.example not in self.values:
            raise ValueError(f"example {self.example!r} is not one of values")
        return self


class NumberColumn(StrictModel):
    """A number column with its allowed range, both ends included."""

    type: Literal["integer", "number"]
    about: Text
    unit: str = ""
    min: float
    max: float
    nullable: bool = False
    example: float

    @model_validator(mode="after")
    def range_holds_the_example(self) -> Self:
        if not self.min <= self.example <= self.max:
            raise ValueError(f"example {self.example} is outside {self.min} to {self.max}")
        if self.type == "integer" and not self.example.is_integer():
            raise ValueError(f"example {self.example} is not a whole number")
        return self


class TimestampColumn(StrictModel):
    """A date and time, always with its zone; epoch seconds inside the project."""

    type: Literal["timestamp"]
    about: Text
    min: datetime
    max: datetime
    nullable: bool = False
    example: datetime

    @model_validator(mode="after")
    def zones_and_range(self) -> Self:
        for field in ("min", "max", "example"):
            if getattr(self, field).tzinfo is None:
                raise ValueError(f"{field} has no time zone")
        if not self.min <= self.example <= self.max:
            raise ValueError(f"example {self.example} is outside {self.min} to {self.max}")
        return self


Column = Annotated[CategoryColumn | NumberColumn | TimestampColumn, Field(discriminator="type")]


COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}


class ColumnRule(StrictModel):
    """What two columns of a row must satisfy, written as `ordered_at <= delivered_at`.

    A row that lacks one of the two keeps the rule.
    """

    left: Name
    comparison: Literal["<=", "<", ">=", ">", "==", "!="]
    right: Name

    @model_validator(mode="before")
    @classmethod
    def from_text(cls, content: Any) -> Any:
        if not isinstance(content, str):
            return content
        words = content.split()
        if len(words) != len(cls.model_fields):
            raise ValueError(f"{content!r} is no rule: write it as `ordered_at <= delivered_at`, with spaces")
        return dict(zip(cls.model_fields, words, strict=True))

    def holds(self, row: Mapping[str, Any]) -> Any:
        """Whether a row, or each row of columns, keeps the rule; a value that is not there breaks none."""
        left, right = row[self.left], row[self.right]
        return COMPARISONS[self.comparison](left, right) | (left != left) | (right != right)  # noqa: PLR0124 (NaN)

    def __str__(self) -> str:
        return f"{self.left} {self.comparison} {self.right}"


def _require_present(columns: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse gaps in what says when a row is and which one."""
    for name in names:
        if columns[name].nullable:
            raise ValueError(f"the column {name!r} says when or which one a row is: it cannot be nullable")


def _require_comparable(columns: Mapping[str, Any], rule: ColumnRule) -> None:
    """Refuse a rule between columns that have no common order."""
    for name in (rule.left, rule.right):
        if name not in columns:
            raise ValueError(f"rules names the column {name!r}, which columns does not have")
    kinds = {isinstance(columns[name], TimestampColumn) for name in (rule.left, rule.right)}
    texts = any(isinstance(columns[name], CategoryColumn) for name in (rule.left, rule.right))
    if texts or len(kinds) > 1:
        raise ValueError(f"the rule {str(rule)!r} must compare two numbers or two timestamps")


class Event(StrictModel):
    """A kind of event that the project receives, and from when it counts."""

    about: Text
    known: Name
    known_after_hours: Annotated[float, Field(ge=0)] = 0
    columns: dict[Name, Column]
    identity: tuple[Name, ...] = Field(strict=False, min_length=1)

    @model_validator(mode="after")
    def known_is_a_time(self) -> Self:
        if not isinstance(self.columns.get(self.known), TimestampColumn):
            raise ValueError(  # noqa: TRY004 (which pydantic reports as the field's)
                f"known names {self.known!r}, which is not a timestamp of the event"
            )
        return self

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The least and the most of each number."""
        numbers = ((name, one) for name, one in self.columns.items() if isinstance(one, NumberColumn))
        return {name: (one.min, one.max) for name, one in numbers}

    def known_at(self, event: Mapping[str, Any]) -> Any:
        """Epoch seconds from which an event, or a column of them, is known."""
        return event[self.known] + round(self.known_after_hours * 3600)

    @model_validator(mode="after")
    def identity_names_columns(self) -> Self:
        for name in self.identity:
            if name not in self.columns:
                raise ValueError(f"identity names the column {name!r}, which the event does not have")
        _require_present(self.columns, (self.known, *self.identity))
        return self


class Split(StrictModel):
    """Where time is cut: folds, then the holdout window, then the frozen test window."""

    test_start: date
    test_end: date
    holdout_days: Count
    folds: Count
    fold_days: Count

    @model_validator(mode="after")
    def test_has_days(self) -> Self:
        if self.test_end <= self.test_start:
            raise ValueError("test_end must come after test_start")
        return self

    @property
    def test_start_at(self) -> int:
        """The start of the test window, epoch seconds."""
        return epoch(self.test_start)

    @property
    def test_end_at(self) -> int:
        """The end of the test window, epoch seconds."""
        return epoch(self.test_end)


class ServiceObjectives(StrictModel):
    """Serving objectives."""

    p99_ms: Positive
    availability: Annotated[float, Field(gt=0, lt=1)]
    requests_per_second: Positive
    max_batch: Count


class MonitoringSettings(StrictModel):
    """How the service is watched, and when that leads to retraining."""

    period_days: Count
    bad_periods: Count
    of_periods: Count
    reference_days: Count
    false_alarm: Annotated[float, Field(gt=0, lt=0.5)]
    max_bias: Share
    min_label_share: Share
    cooldown_days: Annotated[int, Field(ge=0)]
    max_age_days: Count
    proof_days: Count = 14
    promotion: Literal["automatic", "approval"] = "automatic"
    unwatched: tuple[Name, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def n_of_m(self) -> Self:
        if self.bad_periods > self.of_periods:
            raise ValueError("bad_periods cannot be more than of_periods")
        if self.reference_days < LEAST_REFERENCE * self.period_days:
            raise ValueError(f"reference_days must hold at least {LEAST_REFERENCE} periods")
        if self.max_age_days < self.cooldown_days:
            raise ValueError("max_age_days cannot be less than cooldown_days")
        return self

    @property
    def period_seconds(self) -> int:
        """The length of a monitored period."""
        return self.period_days * 86_400


class RegressionMonitoringSettings(MonitoringSettings):
    """The same, with the bias in the label's unit."""

    max_bias: Positive


class Budget(StrictModel):
    """What may be spent."""

    training_minutes: Positive
    retrainings_per_year: Annotated[int, Field(ge=0)]
    retraining_cost: Annotated[float, Field(ge=0)]
    rows_in_memory: Count = 1_000_000  # of tables in parts: more are streamed, or learnt from by a sample


class Contract(StrictModel):
    """The business problem, from decision to budget; each task has a contract of its own, below."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")]
    title: Text
    reserved: ClassVar[tuple[str, ...]] = RESERVED
    known_baselines: ClassVar[tuple[BaselineName, ...]] = ("prior", "historical_rate", "logistic_regression")

    task: Literal["binary", "multiclass", "regression"]
    decision: Any
    label: Label
    identity: tuple[Name, ...] = Field(strict=False, min_length=1)
    columns: dict[Name, Column]
    rules: tuple[ColumnRule, ...] = Field(default=(), strict=False)
    suspected_leaks: dict[str, Text] = Field(
        default_factory=dict
    )  # columns kept all the same, and the evidence
    events: dict[Name, Event]
    slices: tuple[Name, ...] = Field(strict=False)
    costs: Any
    baselines: dict[BaselineName, Share] = Field(min_length=1)
    split: Split
    gates: Any
    service: ServiceObjectives
    monitoring: MonitoringSettings
    budget: Budget

    @model_validator(mode="after")
    def names_agree(self) -> Self:
        time = self.decision.time_column
        if not isinstance(self.columns.get(time), TimestampColumn):
            raise ValueError(  # noqa: TRY004 (which pydantic reports as the contract's)
                f"decision.time_column names {time!r}, which is not a timestamp of columns"
            )
        for field in ("identity", "slices"):
            for name in getattr(self, field):
                if name not in self.columns:
                    raise ValueError(f"{field} names the column {name!r}, which columns does not have")
        _require_present(self.columns, (time, *self.identity))
        for name in self.baselines:
            if name not in self.known_baselines:
                known = ", ".join(self.known_baselines)
                raise ValueError(f"baselines names {name!r}; those of {self.task} are {known}")
        if self.label.name in self.columns:
            raise ValueError(f"the label {self.label.name!r} is also an input column: that is a leak")
        return self

    @model_validator(mode="after")
    def rules_compare_columns(self) -> Self:
        for rule in self.rules:
            _require_comparable(self.columns, rule)
        return self

    @model_validator(mode="after")
    def names_are_free(self) -> Self:
        for name in (*self.columns, self.label.name):
            if name in self.reserved:
                raise ValueError(f"{name!r} is a name that rows need for themselves: choose another")
        return self

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the contract's content, whatever its comments or order of keys."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


class BinaryContract(Contract):
    """Act or wait, by the probability of one outcome."""

    task: Literal["binary"]
    decision: BinaryDecision
    costs: BinaryCosts
    gates: ClassificationGates


class MulticlassContract(Contract):
    """One of several actions, by the probabilities of the classes."""

    task: Literal["multiclass"]
    decision: Decision
    label: MulticlassLabel
    costs: MulticlassCosts
    gates: ClassificationGates

    @model_validator(mode="after")
    def every_class_has_a_price(self) -> Self:
        for name, prices in self.costs.actions.items():
            if tuple(prices) != self.label.classes:
                raise ValueError(
                    f"costs.actions.{name} must price the classes of the label, in their order: "
                    f"{', '.join(self.label.classes)}"
                )
        return self


class RegressionContract(Contract):
    """A number to plan with; `interval` is the share of what comes that lies between low and high."""

    reserved = (*RESERVED, *FORECAST)
    known_baselines = ("prior", "historical_mean", "linear_regression")

    task: Literal["regression"]
    decision: Decision
    label: RegressionLabel
    costs: RegressionCosts
    interval: Annotated[float, Field(ge=0.5, lt=1)]
    gates: RegressionGates
    monitoring: RegressionMonitoringSettings


TASKS = ("binary", "multiclass", "regression")
_CONTRACT: TypeAdapter[Contract] = TypeAdapter(
    Annotated[BinaryContract | MulticlassContract | RegressionContract, Field(discriminator="task")]
)


def parse_contract(content: Mapping[str, Any] | str, source: str) -> Contract:
    """The contract in a mapping read from YAML, or in JSON text.

    Raises:
        UserError: naming the field, for anything that is not a legal contract.
    """
    try:
        if isinstance(content, str):
            return _CONTRACT.validate_json(content)
        return _CONTRACT.validate_python(content)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        first, unknown = errors[0], [one for one in errors if one["type"] == "extra_forbidden"]
        if first["type"] == "missing":  # maybe as its name is misspelt beside it, which says more
            first = next((one for one in unknown if one["loc"][:-1] == first["loc"][:-1]), first)
        field = ".".join(str(part) for part in first["loc"][1:]) or "the contract"  # first comes the task
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        why = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            *inside, name = map(str, first["loc"])
            why = f"the contract has no such field.{did_you_mean(name, _fields_at(inside))}"
        if not first["loc"]:
            field, why = "task", f"it must be one of {', '.join(TASKS)}"
        raise UserError(
            f"{source}: {field}: {why.rstrip('.')}{more}. Fix that field and run again."
        ) from error


def _fields_at(inside: Sequence[str]) -> Sequence[str]:
    """The fields that a part of the contract may have; `inside` is where it is, as pydantic says it."""
    schema = _CONTRACT.json_schema()
    node: dict[str, Any] = schema
    for part in ("", *inside):
        if part in node.get("properties", {}):
            node = node["properties"][part]
        elif part in node.get("discriminator", {}).get("mapping", {}):
            node = {"$ref": node["discriminator"]["mapping"][part]}
        elif part:
            node = next(iter(node.get("patternProperties", {}).values()), {})
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return list(node.get("properties", {}))


def load_contract(path: Path) -> Contract:
    """The contract in a YAML file.

    Args:
        path: such as `problem/problem.yaml`.

    Returns:
        The typed contract of the task that the file names.

    Raises:
        UserError: naming the file and the field or line.
    """
    content = read_yaml(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds no fields; compare it with the one the template came with.")
    return parse_contract(content, str(path))


def epoch(at: datetime | date) -> int:
    """Epoch seconds of a time with a zone, or of a day's start in UTC.

    Args:
        at: a time with a zone, or a day.

    Returns:
        Whole seconds since 1970, UTC; fractions are cut off.
    """
    if not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day, tzinfo=UTC)
    return int(at.timestamp())


def epoch_of(text: str) -> int:
    """Epoch seconds of the start of a day, in UTC.

    Args:
        text: the day, such as `2024-01-31`.

    Returns:
        Whole seconds since 1970.

    Raises:
        UserError: when it is not a day.
    """
    return epoch(day(text))


def iso(at: int) -> str:
    """Epoch seconds as ISO 8601 in UTC.

    Args:
        at: epoch seconds.

    Returns:
        Text such as `2024-01-31T09:30:00Z`.

    Raises:
        ValueError: when the year is not one of 1 to 9999.
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day_of(at: int) -> date:
    """The UTC day of epoch seconds.

    Args:
        at: epoch seconds.

    Returns:
        The day.

    Raises:
        ValueError: when the year is not one of 1 to 9999.
    """
    return datetime.fromtimestamp(at, UTC).date()


def day(text: str) -> date:
    """A day written as YYYY-MM-DD.

    Args:
        text: such as `2024-01-31`.

    Returns:
        The day.

    Raises:
        UserError: when it is not.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{text!r} is not a day: write it as YYYY-MM-DD.") from error

"""The typed model of `problem/problem.yaml`; an invalid contract is rejected when it is loaded."""

import hashlib
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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

LEAST_REFERENCE = 4  # periods in the reference window of drift, at least
RESERVED = (  # columns that the project adds to rows, prediction logs, scored rows and quarantined rows
    "decision_at", "known_at", "number", "request_id", "answered_at", "model_version", "probability",
    "forecast", "decision", "place", "row", "reason",
)  # fmt: skip
FORECAST = ("value", "low", "high")  # columns that a regression adds
CHECKED = ("label", "forecast", "probability", "value")  # columns that monitoring adds to the features

WHOLE_NUMBER = re.compile(r"\s*([+-]?\d{1,18})(?:\.0*)?\s*")

BaselineName = Literal[
    "prior", "historical_rate", "historical_mean", "logistic_regression", "linear_regression"
]


class _Column(StrictModel):
    about: Text
    nullable: bool = False


class CategoryColumn(_Column):
    """A text column; `values`, if given, lists all allowed values.

    With `form: integer`, texts are whole numbers such as customer numbers: "18", "18.0" and "018" are equal.
    """

    type: Literal["category"]
    form: Literal["text", "integer"] = "text"
    values: tuple[Text, ...] = Field(default=(), strict=False)
    max_length: Count = 32
    example: str

    def canonical(self, value: str) -> str:
        """Normalise a value, so that all spellings of it share one history.

        Raises:
            ValueError: when the column holds whole numbers and the value is not one.
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


class NumberColumn(_Column):
    """A number column with its allowed range, both ends included."""

    type: Literal["integer", "number"]
    unit: str = ""
    min: float
    max: float
    example: float

    @model_validator(mode="after")
    def range_holds_the_example(self) -> Self:
        _require_within(self.min, self.example, self.max)
        if self.type == "integer" and not self.example.is_integer():
            raise ValueError(f"example {self.example} is not a whole number")
        return self


class TimestampColumn(_Column):
    """A date and time with a time zone; epoch seconds inside the project."""

    type: Literal["timestamp"]
    min: datetime
    max: datetime
    example: datetime

    @model_validator(mode="after")
    def zones_and_range(self) -> Self:
        for field in ("min", "max", "example"):
            if getattr(self, field).tzinfo is None:
                raise ValueError(f"{field} has no time zone")
        _require_within(self.min, self.example, self.max)
        return self


def _require_within(low: Any, example: Any, high: Any) -> None:
    if not low <= example <= high:
        raise ValueError(f"example {example} is outside {low} to {high}")


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
    """A constraint between two columns of a row, written as `ordered_at <= delivered_at`.

    A row that lacks one of the two values satisfies the rule.
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
            raise ValueError(
                f"{content!r} is not a rule: write it as `ordered_at <= delivered_at`, with spaces"
            )
        return dict(zip(cls.model_fields, words, strict=True))

    def holds(self, row: Mapping[str, Any]) -> Any:
        """Whether a row, or each row of a table's columns, satisfies the rule; missing values satisfy it."""
        left, right = row[self.left], row[self.right]
        return COMPARISONS[self.comparison](left, right) | (left != left) | (right != right)  # noqa: PLR0124 (NaN)

    def __str__(self) -> str:
        return f"{self.left} {self.comparison} {self.right}"


def _require_listed(field: str, names: Sequence[str], columns: Mapping[str, Any]) -> None:
    for name in names:
        if name not in columns:
            raise ValueError(f"{field} names the column {name!r}, which is not listed under columns")


def _require_key(field: str, time: str, identity: Sequence[str], columns: Mapping[str, Any]) -> None:
    """Require columns that date and identify each row; `field` names the first in messages."""
    if not isinstance(columns.get(time), TimestampColumn):
        raise ValueError(  # noqa: TRY004 (which pydantic reports as the field's)
            f"{field} names {time!r}, which is not a timestamp under columns"
        )
    _require_listed("identity", identity, columns)
    for name in (time, *identity):
        if columns[name].nullable:
            raise ValueError(f"the column {name!r} dates or identifies a row, so it cannot be nullable")


class Event(StrictModel):
    """A kind of event that the service receives, and when such an event becomes known."""

    about: Text
    known: Name
    known_after_hours: Annotated[float, Field(ge=0)] = 0
    columns: dict[Name, Column]
    identity: tuple[Name, ...] = Field(strict=False, min_length=1)

    @model_validator(mode="after")
    def names_agree(self) -> Self:
        _require_key("known", self.known, self.identity, self.columns)
        return self

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The allowed minimum and maximum of each number column."""
        numbers = ((name, one) for name, one in self.columns.items() if isinstance(one, NumberColumn))
        return {name: (one.min, one.max) for name, one in numbers}

    def known_at(self, event: Mapping[str, Any]) -> Any:
        """When an event, or each event of a table's columns, became known: epoch seconds."""
        return event[self.known] + round(self.known_after_hours * 3600)


class Split(StrictModel):
    """Dates that split the data: folds, then the holdout window, then the frozen test window."""

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
        """Start of the test window, epoch seconds."""
        return epoch(self.test_start)

    @property
    def test_end_at(self) -> int:
        """End of the test window, epoch seconds."""
        return epoch(self.test_end)


class ServiceObjectives(StrictModel):
    """Service-level objectives, and the largest batch that a request may hold."""

    p99_ms: Positive
    availability: Annotated[float, Field(gt=0, lt=1)]
    requests_per_second: Positive
    max_batch: Count


class MonitoringSettings(StrictModel):
    """Settings of monitoring, and the policy for retraining and promotion."""

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
            raise ValueError(f"reference_days must cover at least {LEAST_REFERENCE} periods")
        if self.max_age_days < self.cooldown_days:
            raise ValueError("max_age_days cannot be less than cooldown_days")
        return self

    @property
    def period_seconds(self) -> int:
        """Length of a monitoring period, seconds."""
        return self.period_days * 86_400


class RegressionMonitoringSettings(MonitoringSettings):
    """Monitoring settings of a regression, with `max_bias` in the label's unit."""

    max_bias: Positive


class Budget(StrictModel):
    """Limits on training time, retrainings and memory."""

    training_minutes: Positive
    retrainings_per_year: Annotated[int, Field(ge=0)]
    retraining_cost: Annotated[float, Field(ge=0)]
    rows_in_memory: Count = 1_000_000  # of partitioned tables; if there are more, a sample is used


class Contract(StrictModel):
    """The business problem, from decision to budget; each task has its own subclass below."""

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
    # Columns that are kept although they are suspected of leakage, and the evidence.
    suspected_leaks: dict[str, Text] = Field(default_factory=dict)
    events: dict[Name, Event]
    slices: tuple[Name, ...] = Field(strict=False)
    costs: Any
    baselines: dict[BaselineName, Share] = Field(min_length=1)
    split: Split
    gates: Any
    service: ServiceObjectives
    monitoring: MonitoringSettings
    budget: Budget

    @classmethod
    def load(cls, path: Path) -> "Contract":
        """Load a contract from a YAML file.

        Args:
            path: such as `problem/problem.yaml`.

        Returns:
            The contract, typed by the file's task.

        Raises:
            UserError: when the contract is invalid; the message names the file and the field or line.
        """
        content = read_yaml(path)
        if not isinstance(content, Mapping):
            raise UserError(f"{path} has no fields: compare it with the problem.yaml of the template.")
        return parse_contract(content, str(path))

    @model_validator(mode="after")
    def names_agree(self) -> Self:
        _require_key("decision.time_column", self.decision.time_column, self.identity, self.columns)
        _require_listed("slices", self.slices, self.columns)
        for name in self.baselines:
            if name not in self.known_baselines:
                known = ", ".join(self.known_baselines)
                raise ValueError(f"baselines names {name!r}; the baselines of {self.task} are {known}")
        if self.label.name in self.columns:
            raise ValueError(f"the label {self.label.name!r} is also an input column, which leaks it")
        for column in (*self.columns, self.label.name):
            if column in self.reserved:
                raise ValueError(f"the name {column!r} is reserved: choose another")
        return self

    @model_validator(mode="after")
    def rules_compare_columns(self) -> Self:
        for rule in self.rules:
            _require_listed("rules", (rule.left, rule.right), self.columns)
            kinds = {type(self.columns[name]) for name in (rule.left, rule.right)}
            if len(kinds) > 1 or CategoryColumn in kinds:
                raise ValueError(f"the rule {str(rule)!r} must compare two numbers or two timestamps")
        return self

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the contract's content; comments and the order of keys do not count."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def outputs(self) -> tuple[str, ...]:
        """What its models predict and decide on; models of other outputs cannot be compared."""
        return (self.task,)

    def require_features(self, features: Iterable[str]) -> None:
        """Require that monitoring can tell features from its own columns, and knows the unwatched ones.

        Raises:
            UserError: when a feature has a reserved name, or `monitoring.unwatched` names none.
        """
        known = list(features)
        for name in CHECKED:
            if name in known and (name != "value" or self.task == "regression"):
                raise UserError(
                    f"problem/features.py: the feature {name!r} has the name of a column that monitoring "
                    "adds to the features. Give it another name."
                )
        for name in self.monitoring.unwatched:
            if name not in known:
                raise UserError(
                    f"problem/problem.yaml: monitoring.unwatched: {name} is not a feature."
                    f"{did_you_mean(name, known)} Fix that name, or remove it."
                )


class BinaryContract(Contract):
    """The contract of a binary problem: act or wait, by the probability of an outcome."""

    task: Literal["binary"]
    decision: BinaryDecision
    costs: BinaryCosts
    gates: ClassificationGates


class MulticlassContract(Contract):
    """The contract of a multiclass problem: take one of several actions, by the class probabilities."""

    task: Literal["multiclass"]
    decision: Decision
    label: MulticlassLabel
    costs: MulticlassCosts
    gates: ClassificationGates

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.task, *self.label.classes, *self.costs.actions)

    @model_validator(mode="after")
    def every_class_has_a_price(self) -> Self:
        for name, prices in self.costs.actions.items():
            if tuple(prices) != self.label.classes:
                raise ValueError(
                    f"costs.actions.{name} must give a cost for each class of the label, in this order: "
                    f"{', '.join(self.label.classes)}"
                )
        return self


class RegressionContract(Contract):
    """The contract of a regression: plan with a number; `interval` is the intervals' nominal coverage."""

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
    """Build a contract from a mapping read from YAML, or from JSON text.

    Raises:
        UserError: when the contract is invalid; the message names the field.
    """
    try:
        if isinstance(content, str):
            return _CONTRACT.validate_json(content)
        return _CONTRACT.validate_python(content)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        first, unknown = errors[0], [one for one in errors if one["type"] == "extra_forbidden"]
        if first["type"] == "missing":  # an unknown field next to it is probably its misspelling: report that
            first = next((one for one in unknown if one["loc"][:-1] == first["loc"][:-1]), first)
        # The first part is the task.
        field = ".".join(str(part) for part in first["loc"][1:]) or "the contract"
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = did_you_mean(str(first["loc"][-1]), _fields_at(first["loc"][:-1]))
            reason = f"the contract has no such field.{known}"
        if not first["loc"]:
            field, reason = "task", f"it must be one of {', '.join(TASKS)}"
        raise UserError(
            f"{source}: {field}: {reason.rstrip('.')}{more}. Fix that field and run again."
        ) from error


def _fields_at(place: Sequence[int | str]) -> list[str]:
    """Return the names of the fields at a place of the contract, such as ("binary", "gates")."""
    part = schema = _CONTRACT.json_schema()
    for name in place:
        if "discriminator" in part:
            part = {"$ref": part["discriminator"]["mapping"][name]}
        elif name in part.get("properties", ()):
            part = part["properties"][name]
        else:
            part = part["items"] if isinstance(name, int) else next(iter(part["patternProperties"].values()))
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    return list(part.get("properties", ()))


def epoch(at: datetime | date) -> int:
    """Convert a time with a time zone, or the start of a day in UTC, to whole epoch seconds."""
    if not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day, tzinfo=UTC)
    return int(at.timestamp())


def epoch_of(text: str) -> int:
    """Convert a date to the epoch seconds at which it starts in UTC.

    Args:
        text: a date such as `2024-01-31`.

    Returns:
        Whole epoch seconds.

    Raises:
        UserError: when the text is not a date.
    """
    try:
        return epoch(date.fromisoformat(text))
    except ValueError as error:
        raise UserError(f"{text!r} is not a date: write it as YYYY-MM-DD.") from error


def iso(at: int) -> str:
    """Format epoch seconds as ISO 8601 in UTC, such as `2024-01-31T09:30:00Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day_of(at: int) -> date:
    """The UTC date of a time.

    Args:
        at: epoch seconds.

    Returns:
        The date.

    Raises:
        ValueError: when the year is outside 1 to 9999.
    """
    return datetime.fromtimestamp(at, UTC).date()

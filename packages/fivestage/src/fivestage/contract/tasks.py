"""The parts of a contract that differ by task: decision, label, costs and gates.

`binary`: act or wait, by the probability of an outcome. `multiclass`: take one of several actions, by the
class probabilities. `regression`: plan with a number, where too much and too little have different costs.
`fivestage.contract.cost_model` turns forecasts into decisions and costs.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from fivestage.contract.strict_model import Count, Currency, Name, Positive, Share, StrictModel, Text

LEAST_CLASSES = 3  # with two, the task is binary
LEAST_ACTIONS = 2


class Decision(StrictModel):
    """Who decides what, and how long before the time in the time column."""

    who: Text
    what: Text
    time_column: Name
    hours_before: Annotated[float, Field(ge=0)]

    @property
    def lead_seconds(self) -> int:
        """Seconds from the decision to the time column."""
        return round(self.hours_before * 3600)


class BinaryDecision(Decision):
    """A decision between acting and waiting."""

    act: Name
    wait: Name

    @model_validator(mode="after")
    def act_is_not_wait(self) -> Self:
        if self.act == self.wait:
            raise ValueError(f"act and wait are both {self.act!r}: give them different names")
        return self


class Label(StrictModel):
    """What is predicted, and when its true value becomes known."""

    name: Name
    means: Text
    known: Text


class MulticlassLabel(Label):
    """One of several classes; rows hold the index of the class."""

    classes: tuple[Text, ...] = Field(strict=False, min_length=LEAST_CLASSES)

    @model_validator(mode="after")
    def classes_differ(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes lists a class twice")
        return self


class RegressionLabel(Label):
    """A number with a unit."""

    unit: Text


class Costs(StrictModel):
    """Costs of decisions, in a currency."""

    currency: Currency


class BinaryCosts(Costs):
    """Cost per decision, for each pair of decision and truth."""

    act_positive: float
    act_negative: float
    wait_positive: float
    wait_negative: float

    @model_validator(mode="after")
    def acting_must_pay_somewhere(self) -> Self:
        if self.wait_positive <= self.act_positive:
            raise ValueError("acting on a true positive must cost less than missing it")
        if self.act_negative <= self.wait_negative:
            raise ValueError("a false alarm must cost more than correctly waiting")
        return self

    @property
    def threshold(self) -> float:
        """Probability above which acting is cheaper (Elkan 2001, eq. 2)."""
        false_alarm = self.act_negative - self.wait_negative
        avoided = self.wait_positive - self.act_positive
        return false_alarm / (false_alarm + avoided)


class MulticlassCosts(Costs):
    """Cost per decision, by action and true class; every action has a cost for every class."""

    actions: dict[Name, dict[Text, float]] = Field(min_length=LEAST_ACTIONS)

    @model_validator(mode="after")
    def no_action_is_always_best(self) -> Self:
        first, *others = self.actions.values()
        if any(list(other) != list(first) for other in others):
            raise ValueError("every action must give costs for the same classes, in the same order")
        for name, prices in self.actions.items():
            rest = [other for action, other in self.actions.items() if action != name]
            if all(prices[one] <= other[one] for other in rest for one in prices):
                raise ValueError(
                    f"{name!r} is the cheapest action for every class: there is nothing to decide"
                )
        return self


class RegressionCosts(Costs):
    """Cost per unit by which the decision is too high (`over`) or too low (`under`)."""

    over: Positive
    under: Positive

    @property
    def level(self) -> float:
        """The quantile level of the cheapest decision (Koenker 2005, ch. 1)."""
        return self.under / (self.over + self.under)


# A score above this limit suggests data leakage. None where an honest model or chance could reach any limit:
# the gate then does not apply. A limit of 1 could never be exceeded.
Suspicious = Annotated[float, Field(gt=0, lt=1)] | None


class Gates(StrictModel):
    """Limits that a challenger must meet to be promoted."""

    max_row_ms: Positive
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    max_loss_per_1000: Annotated[float, Field(ge=0)]
    # The loss allowed at the worse end of the interval, in standard errors of the saving, if that is more. At
    # 1.5, a challenger passes if its mean saving is at least about a fifth of its standard error. A narrower
    # tolerance refuses most true improvements, because they are smaller than the noise of a month of days.
    max_loss_standard_errors: Annotated[float, Field(ge=0)] = 1.5
    max_slice_loss: Share
    min_slice_rows: Count


class ClassificationGates(Gates):
    """Gates for probabilities."""

    max_calibration_error: Share
    max_bias: Share
    suspicious_roc_auc: Suspicious = None


class RegressionGates(Gates):
    """Gates for numbers; `max_bias` is in the label's unit, `max_coverage_error` a share of the rows."""

    max_coverage_error: Share
    max_bias: Positive
    suspicious_r2: Suspicious = None


def coverage_error(closed: float, opened: float, nominal: float) -> float:
    """Difference between the intervals' nominal coverage and their observed coverage.

    The observed coverage is `closed` if labels equal to an end count as covered, and `opened` if they do not.
    Where many labels are equal, any nominal coverage between the two is correct.
    """
    return max(nominal - closed, opened - nominal, 0.0)

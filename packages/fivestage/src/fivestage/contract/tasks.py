"""What of a contract is another for each task: the decision, the label, what errors cost, the gates.

`binary`: act or wait, by the probability of one outcome. `multiclass`: one of several actions, by the
probabilities of the classes. `regression`: a number to plan with, where too much and too little cost
differently. How forecasts become decisions and money: `fivestage.contract.cost_model`.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from fivestage.contract.strict_model import Count, Currency, Name, Positive, Share, StrictModel, Text

LEAST_CLASSES = 3  # of two, the task is binary
LEAST_ACTIONS = 2


class Decision(StrictModel):
    """Who decides what, and how long before the time column."""

    who: Text
    what: Text
    time_column: Name
    hours_before: Annotated[float, Field(ge=0)]

    @property
    def lead_seconds(self) -> int:
        """Seconds from the decision to the time column."""
        return round(self.hours_before * 3600)


class BinaryDecision(Decision):
    """To act or to wait."""

    act: Name
    wait: Name

    @model_validator(mode="after")
    def act_is_not_wait(self) -> Self:
        if self.act == self.wait:
            raise ValueError(f"act and wait are both {self.act!r}: answers could not be told apart")
        return self


class Label(StrictModel):
    """What is predicted and when the truth is known."""

    name: Name
    means: Text
    known: Text


class MulticlassLabel(Label):
    """One of several classes; rows hold its place among them."""

    classes: tuple[Text, ...] = Field(strict=False, min_length=LEAST_CLASSES)

    @model_validator(mode="after")
    def classes_differ(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names one of them twice")
        return self


class RegressionLabel(Label):
    """A number."""

    unit: Text


class Costs(StrictModel):
    """What decisions cost, in money."""

    currency: Currency


class BinaryCosts(Costs):
    """Money per decision, for each pair of decision and truth."""

    act_positive: float
    act_negative: float
    wait_positive: float
    wait_negative: float

    @model_validator(mode="after")
    def acting_must_pay_somewhere(self) -> Self:
        if self.wait_positive <= self.act_positive:
            raise ValueError("acting on a true positive must cost less than missing it")
        if self.act_negative <= self.wait_negative:
            raise ValueError("a false alarm must cost more than rightly waiting")
        return self

    @property
    def threshold(self) -> float:
        """Probability above which acting is cheaper (Elkan 2001, eq. 2)."""
        false_alarm = self.act_negative - self.wait_negative
        rescued = self.wait_positive - self.act_positive
        return false_alarm / (false_alarm + rescued)


class MulticlassCosts(Costs):
    """Money per decision, by action and the class that comes; every action prices every class."""

    actions: dict[Name, dict[Text, float]] = Field(min_length=LEAST_ACTIONS)

    @model_validator(mode="after")
    def no_action_is_always_best(self) -> Self:
        first, *others = self.actions.values()
        if any(list(other) != list(first) for other in others):
            raise ValueError("every action must price the same classes, in the same order")
        for name, prices in self.actions.items():
            rest = [other for action, other in self.actions.items() if action != name]
            if all(prices[one] <= other[one] for other in rest for one in prices):
                raise ValueError(f"{name!r} is the cheapest whatever comes: there is nothing to decide")
        return self


class RegressionCosts(Costs):
    """Money per unit by which the decision lies above what comes, or below it."""

    over: Positive
    under: Positive

    @property
    def level(self) -> float:
        """The chance of lying above what comes at which a decision is cheapest (Koenker 2005, ch. 1)."""
        return self.under / (self.over + self.under)


# Beyond it a leak is suspected. None where an honest model or chance could reach whatever stood here: the
# gate is then not applicable. A limit of 1 could never fire.
Suspicious = Annotated[float, Field(gt=0, lt=1)] | None


class Gates(StrictModel):
    """What a challenger must show before it serves."""

    max_row_ms: Positive
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    max_loss_per_1000: Annotated[float, Field(ge=0)]
    # What the worse end of the interval may lose, in standard errors of the saving, if that is more. At 1.5 a
    # challenger passes whose mean saving is at least about a fifth of its own standard error: a narrower
    # tolerance refuses most true improvements, because a month of days is noisier than what a month improves.
    max_loss_standard_errors: Annotated[float, Field(ge=0)] = 1.5
    max_slice_loss: Share
    min_slice_rows: Count


class ClassificationGates(Gates):
    """The gates of probabilities."""

    max_calibration_error: Share
    max_bias: Share
    suspicious_roc_auc: Suspicious = None


class RegressionGates(Gates):
    """The gates of numbers; `max_bias` in the label's unit, `max_coverage_error` a share of the rows."""

    max_coverage_error: Share
    max_bias: Positive
    suspicious_r2: Suspicious = None


def coverage_error(closed: float, opened: float, wanted: float) -> float:
    """How far the share that intervals should hold is from what they hold without their edges and with them.

    Where many numbers are the same, all between the two is right.
    """
    return max(wanted - closed, opened - wanted, 0.0)

"""What the service answers, for each task: messages made from the contract, filled from forecasts.

The form of a task has the type of an `answer`, its `tensors` for the Open Inference Protocol, and the
`columns` of a scored table. `prediction` makes the message of a row and `message` that of a request,
`forecast` reads the numbers back, `reasons` says what moved a prediction, `decided` how decisions are
told, `kind` what one counts as.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType
from numpy.typing import NDArray

from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import BinaryCostModel, MulticlassCostModel

Chance = Annotated[float, Meta(ge=0, le=1)]
Value = float | str | None
# What the keys of an answer have in place of characters of a class's name that JSON would have to escape.
IN_KEYS = dict.fromkeys(range(32), " ") | {ord('"'): "'", ord("\\"): "/"}
ABOUT_GAP = (
    "Only where the decision lies far from the events that are known: hours after the last of them (features "
    "lack what happened since), or, negative, before the events that are kept reach back far enough."
)
Gap = Annotated[float | UnsetType, Meta(description=ABOUT_GAP)]
NUMBERS = ("value", "low", "high", "decision")
Moved = tuple[str, Value, float]  # a feature, its value where it has one, and what it adds


class OutputTensor(NamedTuple):
    """An output: its name, its type, how many numbers a row has, and what it holds of a prediction."""

    name: str
    datatype: str
    width: int
    read: Callable[[Any], Sequence[Any]]


class Reason(Struct, frozen=True, gc=False):
    """A feature, its value where it has one, and what it adds to the log-odds."""

    feature: str
    value: Value
    log_odds: float


class Reasons(Struct, frozen=True):
    """From the log-odds of the average case to those of this one: what moved it most, and the rest."""

    average: float
    strongest: tuple[Reason, ...]
    rest: float


class Prediction(Struct, frozen=True, gc=False):
    """A probability, the decision that is cheaper at it, and features with a category training never saw."""

    probability: Chance
    decision: str
    unknown: tuple[str, ...] = ()
    history_gap_hours: Gap = UNSET
    reasons: Reasons | UnsetType = UNSET  # on request


class Answer(Struct, frozen=True):
    """The answer to a request: one prediction per row, in the order of the rows."""

    request_id: str
    model_version: str
    threshold: float
    predictions: list[Prediction]


class ClassReasons(Struct, frozen=True):
    """The same for the likeliest class, in its log-odds against the others (their geometric mean)."""

    of: str
    average: float
    strongest: tuple[Reason, ...]
    rest: float


class NumberReason(Struct, frozen=True, gc=False):
    """A feature, its value where it has one, and what it adds to the value, in its unit."""

    feature: str
    value: Value
    adds: float


class NumberReasons(Struct, frozen=True):
    """From the value of the average case to that of this one: what moved it most, and the rest."""

    average: float
    strongest: tuple[NumberReason, ...]
    rest: float


class NumberPrediction(Struct, frozen=True, gc=False):
    """The expected value, between which bounds it may come, and the number that is cheapest to plan with."""

    value: float
    low: float
    high: float
    decision: float
    unknown: tuple[str, ...] = ()
    history_gap_hours: Gap = UNSET
    reasons: NumberReasons | UnsetType = UNSET  # on request


def numbers_in(prediction: Mapping[str, Any]) -> tuple[float, ...]:
    """The numbers of the forecast in a prediction that came as JSON.

    Raises:
        KeyError: when it is none.
    """
    if "probabilities" in prediction:
        return tuple(prediction["probabilities"].values())
    names = ("probability",) if "probability" in prediction else NUMBERS
    return tuple(prediction[name] for name in names)


def _alone(name: str) -> Callable[[Any], Sequence[Any]]:
    read = attrgetter(name)
    return lambda prediction: (read(prediction),)


def _decided(datatype: str) -> OutputTensor:
    return OutputTensor("decision", datatype, 1, _alone("decision"))


class _TaskForm:
    answer: Any

    def message(self, request_id: str, version: str, predictions: list[Any]) -> Any:
        return self.answer(request_id, version, predictions)

    def kind(self, decision: Any) -> str:
        return str(decision)


class BinaryForm(_TaskForm):
    """A probability, and whether to act on it."""

    answer = Answer
    columns = ("probability",)

    def __init__(self, contract: BinaryContract) -> None:
        self._money = BinaryCostModel(contract.costs)
        self._act, self._wait = contract.decision.act, contract.decision.wait
        self.tensors = (OutputTensor("probability", "FP64", 1, self.forecast), _decided("BYTES"))

    def prediction(self, forecast: Any, unknown: tuple[str, ...]) -> Prediction:
        return Prediction(forecast, self._act if self._money.decide_one(forecast) else self._wait, unknown)

    def message(self, request_id: str, version: str, predictions: list[Prediction]) -> Struct:
        return Answer(request_id, version, self._money.threshold, predictions)

    def decided(self, decisions: NDArray[Any]) -> NDArray[Any]:
        return np.where(decisions, self._act, self._wait).astype(object)

    def forecast(self, prediction: Prediction) -> tuple[float, ...]:
        return (prediction.probability,)

    def reasons(
        self, prediction: Prediction, average: float, strongest: Sequence[Moved], rest: float
    ) -> Struct:
        del prediction
        return Reasons(average, tuple(Reason(*one) for one in strongest), rest)


class MulticlassForm(_TaskForm):
    """A probability for each class, and the cheapest action."""

    def __init__(self, contract: MulticlassContract) -> None:
        self._names = contract.label.classes
        self.columns = tuple(f"probability_{name}" for name in self._names)
        self._actions = tuple(contract.costs.actions)
        self._money = MulticlassCostModel(contract.costs)
        fields = [f"class_{place}" for place in range(len(self._names))]
        chances = msgspec.defstruct(
            "Probabilities",
            [(field, Chance) for field in fields],
            rename={field: name.translate(IN_KEYS) for field, name in zip(fields, self._names, strict=True)},
            frozen=True,
            gc=False,
            namespace={"__doc__": "The probability of each class; they add up to one."},
        )
        made = msgspec.defstruct(
            "Prediction",
            [
                ("probabilities", chances),
                ("decision", Literal[self._actions]),
                ("unknown", tuple[str, ...], ()),
                ("history_gap_hours", Gap, UNSET),
                ("reasons", ClassReasons | UnsetType, UNSET),
            ],
            frozen=True,
            namespace={"__doc__": "A probability for each class, and the action that is cheapest at them."},
        )
        self._chances: Any = chances
        self._made: Any = made
        self.answer = _answer_of(made)
        self.tensors = (
            OutputTensor("probabilities", "FP64", len(self._names), self.forecast),
            _decided("BYTES"),
        )

    def prediction(self, forecast: Any, unknown: tuple[str, ...]) -> Any:
        action = self._actions[self._money.decide_one(forecast)]
        return self._made(self._chances(*forecast), action, unknown)

    def decided(self, decisions: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.array(self._actions, dtype=object)[decisions])

    def forecast(self, prediction: Any) -> tuple[float, ...]:
        return msgspec.structs.astuple(prediction.probabilities)

    def reasons(self, prediction: Any, average: float, strongest: Sequence[Moved], rest: float) -> Struct:
        forecast = self.forecast(prediction)
        likeliest = self._names[forecast.index(max(forecast))]
        return ClassReasons(likeliest, average, tuple(Reason(*one) for one in strongest), rest)


class RegressionForm(_TaskForm):
    """A value with its interval, and the number to plan with."""

    columns = NUMBERS
    tensors = tuple(OutputTensor(name, "FP64", 1, _alone(name)) for name in NUMBERS)

    def __init__(self) -> None:
        self.answer = _answer_of(NumberPrediction)

    def prediction(self, forecast: Any, unknown: tuple[str, ...]) -> NumberPrediction:
        return NumberPrediction(*(*forecast, unknown))

    def decided(self, decisions: NDArray[Any]) -> NDArray[Any]:
        return decisions

    def forecast(self, prediction: NumberPrediction) -> tuple[float, ...]:
        return prediction.value, prediction.low, prediction.high, prediction.decision

    def reasons(
        self, prediction: NumberPrediction, average: float, strongest: Sequence[Moved], rest: float
    ) -> Struct:
        del prediction
        return NumberReasons(average, tuple(NumberReason(*one) for one in strongest), rest)

    def kind(self, decision: Any) -> str:
        del decision
        return "number"


Form = BinaryForm | MulticlassForm | RegressionForm


def form_of(contract: Contract) -> Form:
    """The messages of a contract.

    Args:
        contract: tells the task, the decisions' names and the costs.

    Returns:
        How forecasts of this task are told: one for binary, one for multiclass, one for regression.

    Raises:
        TypeError: for a contract of no task.
    """
    match contract:
        case BinaryContract():
            return BinaryForm(contract)
        case MulticlassContract():
            return MulticlassForm(contract)
        case RegressionContract():
            return RegressionForm()
    raise TypeError(f"{type(contract).__name__} is a contract of no task")


def _answer_of(prediction: type[Struct]) -> type[Struct]:
    fields = [("request_id", str), ("model_version", str), ("predictions", list[prediction])]  # type: ignore[valid-type]
    return msgspec.defstruct("Answer", fields, frozen=True, namespace={"__doc__": Answer.__doc__})

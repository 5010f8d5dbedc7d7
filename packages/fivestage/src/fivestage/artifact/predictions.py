"""Response messages of each task: types built from the contract and filled with forecasts.

A task's form has the response type `answer`, the `tensors` of the Open Inference Protocol, and the `columns`
of a scored table. `prediction` builds the message for a row and `message` the response to a request,
`forecast` reads the numbers back, `reasons` explains a prediction, `decided` returns decisions in the words
of the contract, and `kind` the label under which a decision is counted.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace
from numpy.typing import NDArray

from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import BinaryCostModel, MulticlassCostModel

Probability = Annotated[float, Meta(ge=0, le=1)]
Value = float | str | None
# Replaces the characters of class names that JSON would have to escape in keys.
KEY_CHARACTERS = dict.fromkeys(range(32), " ") | {ord('"'): "'", ord("\\"): "/"}
ABOUT_GAP = (
    "Only present if the decision is far from the known events: hours since the last of them (the features "
    "lack what happened since then) or, if negative, hours before the first decision whose history is kept."
)
Gap = Annotated[float | UnsetType, Meta(description=ABOUT_GAP)]
REGRESSION_FIELDS = ("value", "low", "high", "decision")
Contribution = tuple[str, Value, float]  # a feature, its value if it has one, and its contribution


class OutputTensor(NamedTuple):
    """An output tensor: its name, data type, numbers per row, and how to read them from a prediction."""

    name: str
    datatype: str
    width: int
    read: Callable[[Any], Sequence[Any]]


class Reason(Struct, frozen=True, gc=False):
    """A feature, its value if it has one, and its contribution to the log-odds."""

    feature: str
    value: Value
    log_odds: float


class Reasons(Struct, frozen=True):
    """Why the log-odds differ from the average: the strongest contributions, and the sum of the others.

    With several classes, they are those of the likeliest class, `of`, against the mean of all classes.
    """

    average: float
    strongest: tuple[Reason, ...]
    rest: float
    of: str | UnsetType = UNSET


class Prediction(Struct, frozen=True, gc=False):
    """A probability, the cheaper decision, and the features whose category was not seen in training."""

    probability: Probability
    decision: str
    unknown: tuple[str, ...] = ()
    history_gap_hours: Gap = UNSET
    reasons: Reasons | UnsetType = UNSET  # on request


class Answer(Struct, frozen=True):
    """The response to a request: one prediction per row, in the order of the rows."""

    request_id: str
    model_version: str
    threshold: float
    predictions: list[Prediction]


class NumberReason(Struct, frozen=True, gc=False):
    """A feature, its value if it has one, and its contribution to the expected value, in its unit."""

    feature: str
    value: Value
    adds: float


class NumberReasons(Struct, frozen=True):
    """Why the value differs from the average: the strongest contributions, and the sum of the others."""

    average: float
    strongest: tuple[NumberReason, ...]
    rest: float


class NumberPrediction(Struct, frozen=True, gc=False):
    """The expected value, the bounds of its interval, and the cheapest number to plan with."""

    value: float
    low: float
    high: float
    decision: float
    unknown: tuple[str, ...] = ()
    history_gap_hours: Gap = UNSET
    reasons: NumberReasons | UnsetType = UNSET  # on request


def numbers_in(prediction: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the numbers of the forecast in a prediction received as JSON.

    Raises:
        KeyError: if it is not a prediction.
    """
    if "probabilities" in prediction:
        return tuple(prediction["probabilities"].values())
    names = ("probability",) if "probability" in prediction else REGRESSION_FIELDS
    return tuple(prediction[name] for name in names)


def _field_reader(name: str) -> Callable[[Any], Sequence[Any]]:
    read = attrgetter(name)
    return lambda prediction: (read(prediction),)


def _decision_tensor(datatype: str) -> OutputTensor:
    return OutputTensor("decision", datatype, 1, _field_reader("decision"))


class _TaskForm:
    answer: Any
    reason: type[Struct] = Reason
    explanation: type[Struct] = Reasons

    def message(self, request_id: str, version: str, predictions: list[Any]) -> Any:
        return self.answer(request_id, version, predictions)

    def reasons(
        self,
        prediction: Any,  # noqa: ARG002 (used where there are several classes)
        average: float,
        strongest: Sequence[Contribution],
        rest: float,
    ) -> Any:
        return self.explanation(average, tuple(self.reason(*one) for one in strongest), rest)

    def kind(self, decision: Any) -> str:
        return str(decision)


class BinaryForm(_TaskForm):
    """A probability, and whether to act on it."""

    answer = Answer
    columns = ("probability",)

    def __init__(self, contract: BinaryContract) -> None:
        self._cost_model = BinaryCostModel(contract.costs)
        self._act, self._wait = contract.decision.act, contract.decision.wait
        self.tensors = (OutputTensor("probability", "FP64", 1, self.forecast), _decision_tensor("BYTES"))

    def prediction(self, forecast: Any, unknown: tuple[str, ...]) -> Prediction:
        decision = self._act if self._cost_model.decide_one(forecast) else self._wait
        return Prediction(forecast, decision, unknown)

    def message(self, request_id: str, version: str, predictions: list[Prediction]) -> Struct:
        return Answer(request_id, version, self._cost_model.threshold, predictions)

    def decided(self, decisions: NDArray[Any]) -> NDArray[Any]:
        return np.where(decisions, self._act, self._wait).astype(object)

    def forecast(self, prediction: Prediction) -> tuple[float, ...]:
        return (prediction.probability,)


class MulticlassForm(_TaskForm):
    """A probability for each class, and the cheapest action."""

    def __init__(self, contract: MulticlassContract) -> None:
        self._names = contract.label.classes
        self.columns = tuple(f"probability_{name}" for name in self._names)
        self._actions = tuple(contract.costs.actions)
        self._cost_model = MulticlassCostModel(contract.costs)
        fields = [f"class_{place}" for place in range(len(self._names))]
        keys = [name.translate(KEY_CHARACTERS) for name in self._names]
        probabilities = msgspec.defstruct(
            "Probabilities",
            [(field, Probability) for field in fields],
            rename=dict(zip(fields, keys, strict=True)),
            frozen=True,
            gc=False,
            namespace={"__doc__": "The probability of each class; they add up to one."},
        )
        # Not a Literal: the log has actions of earlier contracts too.
        action = Annotated[str, Meta(extra_json_schema={"enum": sorted(self._actions)})]
        prediction = msgspec.defstruct(
            "Prediction",
            [
                ("probabilities", probabilities),
                ("decision", action),
                ("unknown", tuple[str, ...], ()),
                ("history_gap_hours", Gap, UNSET),
                ("reasons", Reasons | UnsetType, UNSET),
            ],
            frozen=True,
            namespace={"__doc__": "The probability of each class, and the cheapest action."},
        )
        self._probabilities_type: Any = probabilities
        self._prediction_type: Any = prediction
        self.answer = _answer_type(prediction)
        self.tensors = (
            OutputTensor("probabilities", "FP64", len(self._names), self.forecast),
            _decision_tensor("BYTES"),
        )

    def prediction(self, forecast: Any, unknown: tuple[str, ...]) -> Any:
        action = self._actions[self._cost_model.decide_one(forecast)]
        return self._prediction_type(self._probabilities_type(*forecast), action, unknown)

    def decided(self, decisions: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.array(self._actions, dtype=object)[decisions])

    def forecast(self, prediction: Any) -> tuple[float, ...]:
        return msgspec.structs.astuple(prediction.probabilities)

    def reasons(self, prediction: Any, average: float, strongest: Sequence[Contribution], rest: float) -> Any:
        forecast = self.forecast(prediction)
        likeliest = self._names[forecast.index(max(forecast))]
        return replace(super().reasons(prediction, average, strongest, rest), of=likeliest)


class RegressionForm(_TaskForm):
    """An expected value with its interval, and the number to plan with."""

    columns = REGRESSION_FIELDS
    reason, explanation = NumberReason, NumberReasons
    tensors = tuple(OutputTensor(name, "FP64", 1, _field_reader(name)) for name in REGRESSION_FIELDS)

    def __init__(self) -> None:
        self.answer = _answer_type(NumberPrediction)

    def prediction(self, forecast: Any, unknown: tuple[str, ...]) -> NumberPrediction:
        return NumberPrediction(*(*forecast, unknown))

    def decided(self, decisions: NDArray[Any]) -> NDArray[Any]:
        return decisions

    def forecast(self, prediction: NumberPrediction) -> tuple[float, ...]:
        return prediction.value, prediction.low, prediction.high, prediction.decision

    def kind(self, decision: Any) -> str:
        del decision
        return "number"


Form = BinaryForm | MulticlassForm | RegressionForm


def form_of(contract: Contract) -> Form:
    """Return the response messages for a contract, which has the task, the decisions' names and the costs."""
    match contract:
        case BinaryContract():
            return BinaryForm(contract)
        case MulticlassContract():
            return MulticlassForm(contract)
        case RegressionContract():
            return RegressionForm()
    raise TypeError(f"{type(contract).__name__} is not the contract of a known task")


def _answer_type(prediction: type[Struct]) -> type[Struct]:
    fields = [("request_id", str), ("model_version", str), ("predictions", list[prediction])]  # type: ignore[valid-type]
    return msgspec.defstruct("Answer", fields, frozen=True, namespace={"__doc__": Answer.__doc__})

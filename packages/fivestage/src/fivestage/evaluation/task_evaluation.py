"""What evaluation asks of each task: its loss, its calibration, its gates."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.metrics import log_loss

from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import DECISION, HIGH, LOW, VALUE
from fivestage.contract.tasks import coverage_error
from fivestage.evaluation.gates import Gate, at_most

THRESHOLDS = np.linspace(0.02, 0.9, 45)
MOVES = np.linspace(-0.5, 0.5, 41)  # of decisions, in widths of the interval


class BinaryEvaluation:
    """Probabilities of one outcome; forecasts as in `fivestage.contract.cost_model`."""

    classes = 2

    def __init__(self, contract: BinaryContract | MulticlassContract) -> None:
        self.limits, self.name = contract.gates, contract.label.name

    def loss(self, label: Ints, forecast: Floats) -> float:
        """Log-loss of probabilities, root mean squared error of numbers."""
        return float(log_loss(label, forecast, labels=np.arange(self.classes)))

    def calibration_pairs(self, label: Ints, forecast: Floats) -> dict[str, tuple[Floats, Floats]]:
        """By what is predicted: outcomes, and the predictions that should equal them on average."""
        return {self.name: (label.astype(np.float64), forecast)}

    def alternative_decisions(self, forecast: Floats) -> Iterator[tuple[float, Any]]:
        """Other rules than the costs' own, in order, and the decisions by each: other thresholds."""
        return ((threshold, forecast >= threshold) for threshold in THRESHOLDS)

    def gates(self, found: Mapping[str, float]) -> list[Gate]:
        """Plausible, calibrated, unbiased: what a challenger's scores on the holdout window must be."""
        limits = self.limits
        return [
            at_most(
                "plausible",
                found["roc_auc"],
                limits.suspicious_roc_auc,
                "ROC-AUC {value:.3f}; above {limit:g} a leak is suspected",
            ),
            at_most(
                "calibrated",
                found["calibration_error"],
                limits.max_calibration_error,
                "calibration error {value:.3f}, at most {limit:g} allowed",
            ),
            at_most(
                "unbiased",
                abs(found["bias"]),
                limits.max_bias,
                "the mean prediction is {value:.3f} off the rate, at most {limit:g} allowed",
            ),
        ]


class MulticlassEvaluation(BinaryEvaluation):
    """Probabilities of several classes."""

    def __init__(self, contract: MulticlassContract) -> None:
        super().__init__(contract)
        self.names, self.classes = contract.label.classes, len(contract.label.classes)

    def calibration_pairs(self, label: Ints, forecast: Floats) -> dict[str, tuple[Floats, Floats]]:
        truth = np.eye(self.classes)[label]
        return {name: (truth[:, place], forecast[:, place]) for place, name in enumerate(self.names)}

    def alternative_decisions(self, forecast: Floats) -> Iterator[tuple[float, Any]]:
        """There is no order in which actions could be tried more or less."""
        del forecast
        return iter(())


class RegressionEvaluation:
    """Numbers with their intervals."""

    def __init__(self, contract: RegressionContract) -> None:
        self.contract = contract

    def loss(self, label: Any, forecast: Floats) -> float:
        return math.sqrt(np.mean((forecast[:, VALUE] - label) ** 2))

    def calibration_pairs(self, label: Floats, forecast: Floats) -> dict[str, tuple[Floats, Floats]]:
        return {self.contract.label.name: (label, forecast[:, VALUE])}

    def alternative_decisions(self, forecast: Floats) -> Iterator[tuple[float, Any]]:
        """By so much more or less of the label's unit."""
        width = float(np.median(forecast[:, HIGH] - forecast[:, LOW]))
        return ((move, forecast[:, DECISION] + move) for move in width * MOVES)

    def gates(self, found: Mapping[str, float]) -> list[Gate]:
        limits, wanted = self.contract.gates, self.contract.interval
        closed, opened = found["coverage"], found["open_coverage"]
        held = f"{closed:.1%}"
        if f"{opened:.1%}" != held:
            held = f"{opened:.1%} without their edges, {held} with them,"
        unit = self.contract.label.unit
        return [
            at_most(
                "plausible",
                found["r2"],
                limits.suspicious_r2,
                "R² {value:.3f}; above {limit:g} a leak is suspected",
            ),
            at_most(
                "calibrated",
                coverage_error(closed, opened, wanted),
                limits.max_coverage_error,
                f"the intervals hold {held} of the outcomes and should {wanted:.0%}: "
                "off by {value:.3f}, at most {limit:g} allowed",
            ),
            at_most(
                "unbiased",
                abs(found["bias"]),
                limits.max_bias,
                f"the mean prediction is {{value:.3g}} {unit} off the outcomes, at most {{limit:g}} allowed",
            ),
        ]


TaskEvaluation = BinaryEvaluation | RegressionEvaluation  # one of several classes is a binary one

_EVALUATIONS: Mapping[str, Callable[[Any], TaskEvaluation]] = {
    "binary": BinaryEvaluation,
    "multiclass": MulticlassEvaluation,
    "regression": RegressionEvaluation,
}


def evaluation_of(contract: Contract) -> TaskEvaluation:
    """How a contract's task is evaluated."""
    return _EVALUATIONS[contract.task](contract)

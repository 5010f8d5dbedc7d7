"""How each task is evaluated: its loss, calibration, alternative decisions and gates."""

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
SHIFTS = np.linspace(-0.5, 0.5, 41)  # of decisions, in interval widths


class BinaryEvaluation:
    """Evaluates probabilities of one outcome; forecasts as in `fivestage.contract.cost_model`."""

    classes = 2

    def __init__(self, contract: BinaryContract | MulticlassContract) -> None:
        self.limits, self.name = contract.gates, contract.label.name

    def loss(self, label: Ints, forecast: Floats) -> float:
        """Return the log-loss of probabilities, or the root mean squared error of a regression."""
        return float(log_loss(label, forecast, labels=np.arange(self.classes)))

    def calibration_pairs(self, label: Ints, forecast: Floats) -> dict[str, tuple[Floats, Floats]]:
        """Return outcomes and the predictions that should equal them on average, by label or class."""
        return {self.name: (label.astype(np.float64), forecast)}

    def alternative_decisions(self, forecast: Floats) -> Iterator[tuple[float, Any]]:
        """Yield the decisions at other thresholds than the cheapest, in ascending order."""
        return ((threshold, forecast >= threshold) for threshold in THRESHOLDS)

    def gates(self, metrics: Mapping[str, float]) -> list[Gate]:
        """Build the gates on a challenger's holdout metrics: plausible, calibrated, unbiased."""
        limits = self.limits
        return [
            at_most(
                "plausible",
                metrics["roc_auc"],
                limits.suspicious_roc_auc,
                "ROC-AUC {value:.3f}; above {limit:g} a leak is suspected",
            ),
            at_most(
                "calibrated",
                metrics["calibration_error"],
                limits.max_calibration_error,
                "calibration error {value:.3f}, at most {limit:g} allowed",
            ),
            at_most(
                "unbiased",
                abs(metrics["bias"]),
                limits.max_bias,
                "the mean prediction is {value:.3f} off the rate, at most {limit:g} allowed",
            ),
        ]


class MulticlassEvaluation(BinaryEvaluation):
    """Evaluates probabilities of several classes."""

    def __init__(self, contract: MulticlassContract) -> None:
        super().__init__(contract)
        self.names, self.classes = contract.label.classes, len(contract.label.classes)

    def calibration_pairs(self, label: Ints, forecast: Floats) -> dict[str, tuple[Floats, Floats]]:
        truth = np.eye(self.classes)[label]
        return {name: (truth[:, index], forecast[:, index]) for index, name in enumerate(self.names)}

    def alternative_decisions(self, forecast: Floats) -> Iterator[tuple[float, Any]]:
        """Yield nothing, because actions have no order along which to vary them."""
        del forecast
        return iter(())


class RegressionEvaluation:
    """Evaluates regression forecasts and their intervals."""

    def __init__(self, contract: RegressionContract) -> None:
        self.contract = contract

    def loss(self, label: Any, forecast: Floats) -> float:
        return math.sqrt(np.mean((forecast[:, VALUE] - label) ** 2))

    def calibration_pairs(self, label: Floats, forecast: Floats) -> dict[str, tuple[Floats, Floats]]:
        return {self.contract.label.name: (label, forecast[:, VALUE])}

    def alternative_decisions(self, forecast: Floats) -> Iterator[tuple[float, Any]]:
        """Yield the decisions shifted up or down, by amounts in the label's unit."""
        width = float(np.median(forecast[:, HIGH] - forecast[:, LOW]))
        return ((shift, forecast[:, DECISION] + shift) for shift in width * SHIFTS)

    def gates(self, metrics: Mapping[str, float]) -> list[Gate]:
        limits, nominal = self.contract.gates, self.contract.interval
        closed, opened = metrics["coverage"], metrics["open_coverage"]
        coverage = f"{closed:.1%}"
        if f"{opened:.1%}" != coverage:
            coverage = f"{opened:.1%} without their edges, {coverage} with them,"
        unit = self.contract.label.unit
        return [
            at_most(
                "plausible",
                metrics["r2"],
                limits.suspicious_r2,
                "R² {value:.3f}; above {limit:g} a leak is suspected",
            ),
            at_most(
                "calibrated",
                coverage_error(closed, opened, nominal),
                limits.max_coverage_error,
                f"the intervals contain {coverage} of the outcomes and should contain {nominal:.0%}: "
                "off by {value:.3f}, at most {limit:g} allowed",
            ),
            at_most(
                "unbiased",
                abs(metrics["bias"]),
                limits.max_bias,
                f"the mean prediction is {{value:.3g}} {unit} off the outcomes, at most {{limit:g}} allowed",
            ),
        ]


TaskEvaluation = BinaryEvaluation | RegressionEvaluation  # MulticlassEvaluation is a BinaryEvaluation

_EVALUATIONS: Mapping[str, Callable[[Any], TaskEvaluation]] = {
    "binary": BinaryEvaluation,
    "multiclass": MulticlassEvaluation,
    "regression": RegressionEvaluation,
}


def evaluation_of(contract: Contract) -> TaskEvaluation:
    """Return the evaluation of a contract's task."""
    return _EVALUATIONS[contract.task](contract)

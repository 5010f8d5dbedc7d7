"""What depends on the task when a model is evaluated: its loss, calibration, other decisions and gates."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.metrics import log_loss, root_mean_squared_error

from fivestage.common.columns import Floats
from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import DECISION, HIGH, LOW, VALUE
from fivestage.contract.tasks import coverage_error
from fivestage.evaluation.gates import Gate, at_most

THRESHOLDS = np.linspace(0.02, 0.9, 45)
SHIFTS = np.linspace(-0.5, 0.5, 41)  # of decisions, in interval widths


def loss(contract: Contract, label: Any, forecast: Floats) -> float:
    """Return the log-loss of probabilities, or the root mean squared error of a regression."""
    if isinstance(contract, RegressionContract):
        return float(root_mean_squared_error(label, forecast[:, VALUE]))
    classes = len(contract.label.classes) if isinstance(contract, MulticlassContract) else 2
    return float(log_loss(label, forecast, labels=np.arange(classes)))


def calibration_pairs(contract: Contract, label: Any, forecast: Floats) -> dict[str, tuple[Floats, Floats]]:
    """Return outcomes and the predictions that should equal them on average, by label or class."""
    if isinstance(contract, MulticlassContract):
        truth = np.eye(len(contract.label.classes))[label]
        return {
            name: (truth[:, index], forecast[:, index]) for index, name in enumerate(contract.label.classes)
        }
    prediction = forecast[:, VALUE] if isinstance(contract, RegressionContract) else forecast
    return {contract.label.name: (np.asarray(label, dtype=np.float64), prediction)}


def alternative_decisions(contract: Contract, forecast: Floats) -> Iterator[tuple[float, Any]]:
    """Yield thresholds, or shifts of the decision in the label's unit, with their decisions, in order.

    The contract's own rule is one of them. There is none for several classes, because actions have no order
    along which to vary them.
    """
    if isinstance(contract, BinaryContract):
        thresholds = np.union1d(THRESHOLDS, contract.costs.threshold)
        yield from ((threshold, forecast >= threshold) for threshold in thresholds)
    elif isinstance(contract, RegressionContract):
        width = float(np.median(forecast[:, HIGH] - forecast[:, LOW]))
        yield from ((shift, forecast[:, DECISION] + shift) for shift in width * SHIFTS)


def metric_gates(contract: Contract, metrics: Mapping[str, float]) -> list[Gate]:
    """Build the gates on a challenger's holdout metrics: plausible, calibrated, unbiased."""
    if isinstance(contract, RegressionContract):
        closed, opened, nominal = metrics["coverage"], metrics["open_coverage"], contract.interval
        coverage = f"{closed:.1%}"
        if f"{opened:.1%}" != coverage:
            coverage = f"{opened:.1%} without their edges, {coverage} with them,"
        fit, value, limit = "R²", metrics["r2"], contract.gates.suspicious_r2
        error, allowed = coverage_error(closed, opened, nominal), contract.gates.max_coverage_error
        calibrated = (
            f"the intervals contain {coverage} of the outcomes and should contain {nominal:.0%}: "
            "off by {value:.3f}, at most {limit:g} allowed"
        )
        unbiased = f"{{value:.3g}} {contract.label.unit} off the outcomes"
    else:
        fit, value, limit = "ROC-AUC", metrics["roc_auc"], contract.gates.suspicious_roc_auc
        error, allowed = metrics["calibration_error"], contract.gates.max_calibration_error
        calibrated = "calibration error {value:.3f}, at most {limit:g} allowed"
        unbiased = "{value:.3f} off the rate"
    bias, most = abs(metrics["bias"]), contract.gates.max_bias
    return [
        at_most("plausible", value, limit, f"{fit} {{value:.3f}}; above {{limit:g}} a leak is suspected"),
        at_most("calibrated", error, allowed, calibrated),
        at_most("unbiased", bias, most, f"the mean prediction is {unbiased}, at most {{limit:g}} allowed"),
    ]

"""Scores rows of encoded features with any kind of model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fivestage.artifact.additive import AdditiveExplainer, AdditiveModel
from fivestage.artifact.calibration import AnyCalibration
from fivestage.artifact.compiled_trees import SOURCE, CompiledTrees
from fivestage.artifact.onnx_graphs import OnnxGraphs, OnnxScorer
from fivestage.artifact.shapley import Explainer
from fivestage.artifact.trees import Trees, UnsupportedError
from fivestage.common.columns import Floats
from fivestage.common.errors import UserError
from fivestage.common.native import library
from fivestage.contract.cost_model import DECISION

TOLERANCE = 1e-9  # of raw scores, relative above 1: the same leaves are added in another order
SINGLE_TOLERANCE = 1e-4  # the same in single precision, whose rounding error is about 1e-5
SMALLEST_PROBABILITY = 1e-6  # probabilities are clipped, as the log-odds of 0 and 1 are infinite
REGRESSION_SCORES = DECISION + 1  # raw scores per regression forecast

ModelData = Trees | AdditiveModel | OnnxGraphs


@dataclass(frozen=True, slots=True)
class Parity:
    """Encoded rows (rows x features), and the raw scores (rows, or rows x outputs) of the fitted model."""

    rows: Floats
    margins: Floats


class Scorer:
    """Turns encoded features into calibrated forecasts with one model.

    Args:
        model: trees, an additive model, or ONNX graphs.
        calibration: turns raw scores into forecasts.

    Raises:
        UserError: if the model is an ONNX graph and onnxruntime is not installed.
    """

    def __init__(self, model: ModelData, calibration: AnyCalibration) -> None:
        self._calibration, self._model = calibration, model
        self._backend = _backend(model)
        # Why trees are scored by slower Python code; empty if they are not.
        self.why_slow = "the C code could not be compiled here" if isinstance(self._backend, Trees) else ""
        self._probabilities, self._single = model.link == "probability", model.single
        self._regression = calibration.task == "regression"
        # One row of plain trees is scored without any numpy.
        self._margin: Callable[[Sequence[float]], Any] | None = None
        if isinstance(self._backend, CompiledTrees) and not (self._probabilities or self._single):
            all_scores = self._backend.outputs == REGRESSION_SCORES
            self._margin = self._backend.margin if all_scores or not self._regression else None

    @property
    def tolerance(self) -> float:
        """How far raw scores may be from those of the original model; relative above 1."""
        return SINGLE_TOLERANCE if self._single else TOLERANCE

    def margins(self, features: Floats) -> Floats:
        """Return the raw scores of rows x features: one per row, or rows x outputs."""
        if self._single:
            features = features.astype(np.float32).astype(np.float64)
        outputs = self._backend.margins(features)
        if self._probabilities:
            return log_odds(outputs)
        return regression_scores(outputs) if self._regression else outputs

    def forecast(self, features: Floats) -> Floats:
        """Return the forecast for each row of features (`fivestage.contract.cost_model`)."""
        margins = self.margins(features)
        if not len(margins):
            return self._calibration.forecast(margins)
        # Row by row, as in `forecast_one`: numpy's exp may differ in the last bit.
        forecasts = [self._calibration.forecast_one(margin) for margin in margins.tolist()]
        return np.array(forecasts, dtype=np.float64)

    def forecast_one(self, features: Sequence[float]) -> Any:
        """Return the forecast for a single row of features: a number, or a list of numbers."""
        if self._margin is not None:
            return self._calibration.forecast_one(self._margin(features))
        row = np.array([features], dtype=np.float64)
        return self._calibration.forecast_one(self.margins(row)[0].tolist())

    def explainers(self) -> Sequence[Explainer | AdditiveExplainer]:
        """Return an explainer for each of the model's raw scores."""
        match self._model:
            case AdditiveModel():
                return [AdditiveExplainer(self._model, output) for output in range(len(self._model.base))]
            case Trees(link="margin"):
                return [Explainer(self._model, output) for output in range(len(self._model.ends))]
        raise UnsupportedError(
            "only boosted trees, regression forests and linear models can be explained exactly"
        )

    def require_parity(self, parity: Parity) -> None:
        """Check that the raw scores equal those of the original model, within the tolerance."""
        actual, expected = self.margins(parity.rows), parity.margins
        if not expected.size or actual.shape != expected.shape:
            raise UserError(
                "The artifact lacks the original model's scores, so it cannot be checked. Train again."
            )
        worst = float((np.abs(actual - expected) / np.maximum(1, np.abs(expected))).max())
        if not worst <= self.tolerance:
            raise UserError(
                f"The artifact's scores differ from those of its original model (by up to {worst:.2g}). "
                "Train again, with the versions of treelite and scikit-learn in requirements.lock."
            )


def log_odds(probabilities: Floats) -> Floats:
    """Convert probabilities to raw scores, so that all models are calibrated in the same way.

    Args:
        probabilities: rows x classes.

    Returns:
        For two classes, the log-odds of the second, one per row; for more, the logarithms, rows x classes.
    """
    clipped = np.clip(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    if clipped.shape[1] > 2:  # noqa: PLR2004 (one outcome and its absence)
        return np.asarray(np.log(clipped), dtype=np.float64)
    return np.asarray(np.log(clipped[:, 1] / (1 - clipped[:, 1])), dtype=np.float64)


def regression_scores(scores: Floats) -> Floats:
    """Return the four raw scores per row, which all equal the expected value if the model has no others."""
    return np.column_stack([scores] * REGRESSION_SCORES) if scores.ndim == 1 else scores


def _backend(model: ModelData) -> CompiledTrees | Trees | AdditiveModel | OnnxScorer:
    """Return what scores the model."""
    if isinstance(model, OnnxGraphs):
        return OnnxScorer(model)
    if isinstance(model, Trees) and (code := library(SOURCE, "margins")):
        return CompiledTrees(model, code)
    return model

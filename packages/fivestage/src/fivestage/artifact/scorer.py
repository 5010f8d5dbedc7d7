"""From rows of encoded features to forecasts, whatever the model is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fivestage.artifact.additive import AdditiveExplainer, AdditiveModel
from fivestage.artifact.calibration import AnyCalibration
from fivestage.artifact.compiled_trees import SOURCE, CompiledForest
from fivestage.artifact.onnx_graphs import OnnxGraphs, OnnxScorer
from fivestage.artifact.shapley import Explainer
from fivestage.artifact.tree_tables import Ensemble, UnsupportedError, forest_of
from fivestage.common.columns import Floats
from fivestage.common.errors import UserError
from fivestage.common.native import library
from fivestage.contract.cost_model import DECISION

TOLERANCE = 1e-9  # of raw scores; of large ones, a share. The same leaves are added in another order
SINGLE_TOLERANCE = 1e-4  # the same in single precision, whose own error is some 1e-5
SMALLEST_CHANCE = 1e-6  # log-odds of 0 and 1 are infinite
OF_NUMBER = DECISION + 1  # raw scores of a number's forecast

if TYPE_CHECKING:
    from fivestage.artifact.treelite_checkpoint import Interpreter

ModelData = Ensemble | AdditiveModel | OnnxGraphs


@dataclass(frozen=True, slots=True)
class Parity:
    """Encoded rows (rows x features), and the raw scores (rows, or rows x outputs) of the fitted model."""

    rows: Floats
    margins: Floats


class Scorer:
    """A model and its calibration.

    Args:
        model: trees, an additive model, or ONNX graphs.
        calibration: from raw scores to forecasts.

    Raises:
        UserError: for ONNX graphs without onnxruntime.
    """

    def __init__(self, model: ModelData, calibration: AnyCalibration) -> None:
        self._calibration, self._model = calibration, model
        self._backend, self.why_slow = _backend(model)  # why trees are not compiled; empty when they are
        self._chances = not isinstance(model, AdditiveModel) and model.link == "probability"
        self._single = not isinstance(model, AdditiveModel) and model.single
        self._of_number = calibration.task == "regression"
        outputs = isinstance(model, Ensemble) and len(model.outputs) == OF_NUMBER
        is_plain = not (self._chances or self._single or (self._of_number and not outputs))
        self._margin = (
            self._backend.margin if is_plain and isinstance(self._backend, CompiledForest) else None
        )

    @property
    def tolerance(self) -> float:
        """How far its answers may be from those of the original model; of large ones, a share."""
        return SINGLE_TOLERANCE if self._single else TOLERANCE

    def margins(self, features: Floats) -> Floats:
        """Raw scores of rows of features: one a row, or rows x outputs."""
        if self._single:
            features = features.astype(np.float32).astype(np.float64)
        found = self._backend.margins(features)
        if self._chances:
            return log_odds(found)
        return of_number(found) if self._of_number else found

    def forecast(self, features: Floats) -> Floats:
        """The forecast for each row of features, see `fivestage.contract.cost_model`."""
        margins = self.margins(features)
        if not len(margins):
            return self._calibration.forecast(margins)
        # Row by row, as `one` does: numpy's exp is another in the last bit.
        return np.array([self._calibration.of_one(margin) for margin in margins.tolist()], dtype=np.float64)

    def one(self, features: Sequence[float]) -> Any:
        """The forecast for one row of features: a number, or a list of them."""
        if self._margin is not None:
            return self._calibration.of_one(self._margin(features))
        row = np.array([features], dtype=np.float64)
        return self._calibration.of_one(self.margins(row)[0].tolist())

    def explainers(self) -> Sequence[Explainer | AdditiveExplainer]:
        """One for each raw score that the model has."""
        match self._model:
            case AdditiveModel():
                return [AdditiveExplainer(self._model, output) for output in range(len(self._model.base))]
            case Ensemble() if self._model.outputs:
                return [Explainer(output, self._model.features) for output in self._model.outputs]
        raise UnsupportedError("only boosted trees and linear models can be explained exactly")

    def require(self, parity: Parity) -> None:
        """Hold the model against the one that it was made from."""
        found, expected = self.margins(parity.rows), parity.margins
        if not expected.size or found.shape != expected.shape:
            raise UserError("The artifact has no answers of the original model to hold its own against.")
        worst = float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())
        if not worst <= self.tolerance:
            raise UserError(
                f"The artifact answers otherwise than the model it was made from (by up to {worst:.2g}): "
                "train again, with the versions of treelite and scikit-learn that requirements.lock names."
            )


def log_odds(chances: Floats) -> Floats:
    """Probabilities as raw scores, so that all models are calibrated alike.

    Args:
        chances: rows x classes.

    Returns:
        Of two classes the log-odds of the second, one a row; of more, the logarithms.
    """
    held = np.clip(chances, SMALLEST_CHANCE, 1 - SMALLEST_CHANCE)
    if held.shape[1] > 2:  # noqa: PLR2004 (one outcome and its absence)
        return np.asarray(np.log(held), dtype=np.float64)
    return np.asarray(np.log(held[:, 1] / (1 - held[:, 1])), dtype=np.float64)


def of_number(scores: Floats) -> Floats:
    """A number's four raw scores: those of four models, or the one expected value, four times."""
    return np.column_stack([scores] * OF_NUMBER) if scores.ndim == 1 else scores


def _backend(model: ModelData) -> "tuple[CompiledForest | Interpreter | AdditiveModel | OnnxScorer, str]":
    """What answers; of trees, compiled tables, or treelite's interpreter and why."""
    match model:
        case AdditiveModel():
            return model, ""
        case OnnxGraphs():
            return OnnxScorer(model), ""
    code = library(SOURCE)
    try:
        if code is not None:
            return CompiledForest(forest_of(model), code), ""
        why_slow = "their code could not be compiled here"
    except UnsupportedError as error:
        why_slow = str(error)
    from fivestage.artifact.treelite_checkpoint import Interpreter

    return Interpreter(model.checkpoints), why_slow

"""How probabilities are learnt: of one outcome, and of several classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from fivestage.artifact.calibration import AnyCalibration, Calibration, MulticlassCalibration
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BaselineName, BinaryContract, MulticlassContract
from fivestage.data.splits import Fold
from fivestage.evaluation.metrics import scores
from fivestage.evaluation.task_evaluation import evaluation_of
from fivestage.training.baselines import BASELINES
from fivestage.training.estimators import Estimator, Features, fit_classifier, scores_of_classes
from fivestage.training.sample import TrainingSample

SLOPES = (1e-3, 10.0)  # in which the temperature of several classes is looked for


class BinaryTrainer:
    """A raw score for the log-odds; forecasts as in `fivestage.contract.cost_model`."""

    uncalibrated: AnyCalibration = Calibration()
    classifier = True

    def __init__(self, contract: BinaryContract | MulticlassContract) -> None:
        self.costs, self._judged = contract.costs, evaluation_of(contract)
        self.classes = len(contract.label.classes) if isinstance(contract, MulticlassContract) else 0

    def fit(self, features: Features, label: Ints, estimator: Estimator) -> list[Estimator]:
        """The fitted models whose outputs are the raw scores."""
        return [fit_classifier(estimator, features, label, self.classes)]

    def margins(self, models: Sequence[Estimator], features: Features) -> Floats:
        """Raw scores by scikit-learn itself: one a row, or rows x outputs."""
        return scores_of_classes(models[0], features)

    def complete(
        self,
        sample: TrainingSample,  # noqa: ARG002 (other tasks look at it again)
        folds: Sequence[Fold],  # noqa: ARG002
        estimator: Estimator,  # noqa: ARG002
        margins: Sequence[Floats],
    ) -> Sequence[Floats]:
        """All raw scores of each fold's validation rows, given those that the settings were chosen by."""
        return margins

    def leaderboard_scores(self, label: Ints, margins: Floats) -> dict[str, float]:
        """What the leaderboard shows of uncalibrated raw scores."""
        return scores(label, self.uncalibrated.forecast(margins), self.costs)

    def stage_loss(self, label: Ints, margins: Floats) -> float:
        """What settings and candidates are chosen by."""
        return self._judged.loss(label, self.uncalibrated.forecast(margins))

    def calibrate(self, margins: Floats, label: Any) -> AnyCalibration:
        """Temperature scaling (Guo et al. 2017), learnt on raw scores of rows that the model has not seen.

        One number, no offset: the offset that fits one month is that month's weather, and is wrong for the
        next. The same as scikit-learn's `method="temperature"` (a test holds it), which asks for one fitted
        model, where these are the scores of several, one a fold.
        """
        scaling = LogisticRegression(C=np.inf, fit_intercept=False).fit(margins.reshape(-1, 1), label)
        return Calibration(float(scaling.coef_[0, 0]))

    def baseline(self, name: BaselineName, sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
        """The forecasts of a baseline that has seen the rows `train`."""
        return BASELINES[name](sample, train, rows)


class MulticlassTrainer(BinaryTrainer):
    """A raw score for each class."""

    uncalibrated: AnyCalibration = MulticlassCalibration()

    def calibrate(self, margins: Floats, label: Any) -> AnyCalibration:
        """The same, with one temperature for all classes."""
        found = minimize_scalar(
            lambda slope: self._judged.loss(label, MulticlassCalibration(slope).forecast(margins)),
            bounds=SLOPES,
            method="bounded",
        )
        return MulticlassCalibration(float(found.x))

"""Training of classifiers: probabilities of one outcome, or of several classes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from fivestage.artifact.calibration import AnyCalibration, Calibration, MulticlassCalibration
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BaselineName, BinaryContract, MulticlassContract
from fivestage.evaluation.task_evaluation import loss
from fivestage.training.baselines import BASELINES
from fivestage.training.estimators import Estimator, Features, fit_classifier, scores_of_classes
from fivestage.training.sample import TrainingSample

SLOPES = (1e-3, 10.0)  # range in which the calibration slope of several classes is searched


class BinaryTrainer:
    """Trains models of one outcome, whose raw score is its log-odds (`fivestage.contract.cost_model`)."""

    uncalibrated: AnyCalibration = Calibration()
    classifier = True

    def __init__(self, contract: BinaryContract | MulticlassContract) -> None:
        self.contract = contract
        self.classes = len(contract.label.classes) if isinstance(contract, MulticlassContract) else 0

    def fit(self, features: Features, label: Ints, estimator: Estimator) -> list[Estimator]:
        """Fit the models whose outputs are the raw scores."""
        return [fit_classifier(estimator, features, label, self.classes)]

    def margins(self, models: Sequence[Estimator], features: Features) -> Floats:
        """Return the estimators' raw scores, before any conversion: one per row, or rows x outputs."""
        return scores_of_classes(models[0], features)

    def staged_margins(self, models: Sequence[Estimator], features: Features) -> Iterator[Floats]:
        """Yield the raw scores after each boosting stage of models that have `count_setting`."""
        for stage in models[0].staged_decision_function(features):
            yield stage.ravel() if stage.ndim > 1 and stage.shape[1] == 1 else stage

    def calibrate(self, margins: Floats, label: Any) -> AnyCalibration:
        """Fit a temperature scaling (Guo et al. 2017) to raw scores of rows that the model has not seen.

        It has no offset: the offset that fits one month reflects that month's weather and is wrong for the
        next. The result equals scikit-learn's `method="temperature"` (tested), which needs one fitted model,
        whereas these are the scores of several models, one per fold.
        """
        scaling = LogisticRegression(C=np.inf, fit_intercept=False).fit(margins.reshape(-1, 1), label)
        return Calibration(float(scaling.coef_[0, 0]))

    def baseline(self, name: BaselineName, sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
        """Return a baseline's forecasts for `rows`, learnt from the rows `train`."""
        return BASELINES[name](sample, train, rows)


class MulticlassTrainer(BinaryTrainer):
    """Trains models of several classes, with one raw score per class."""

    uncalibrated: AnyCalibration = MulticlassCalibration()

    def calibrate(self, margins: Floats, label: Any) -> AnyCalibration:
        """Fit one temperature for all classes."""
        fitted = minimize_scalar(
            lambda slope: loss(self.contract, label, MulticlassCalibration(slope).forecast(margins)),
            bounds=SLOPES,
            method="bounded",
        )
        return MulticlassCalibration(float(fitted.x))

"""Trainers: how the models of a task are fitted and calibrated; nothing else in training depends on it."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from fivestage.artifact.calibration import (
    AnyCalibration,
    Calibration,
    MulticlassCalibration,
    RegressionCalibration,
)
from fivestage.artifact.scorer import REGRESSION_SCORES
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import (
    BaselineName,
    BinaryContract,
    Contract,
    MulticlassContract,
    RegressionContract,
)
from fivestage.contract.cost_model import DECISION, HIGH, LOW, cost_model_of
from fivestage.evaluation.metrics import scores
from fivestage.evaluation.task_evaluation import loss
from fivestage.training.baselines import BASELINES
from fivestage.training.estimators import (
    Estimator,
    Features,
    fit_classifier,
    fit_regressor,
    quantile_of,
    quick_estimator,
    scores_of_classes,
)
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


class RegressionTrainer:
    """Trains models of a number: four raw scores, in a forecast's order (`fivestage.contract.cost_model`)."""

    uncalibrated: AnyCalibration = RegressionCalibration()
    classifier = False

    def __init__(self, contract: RegressionContract) -> None:
        self.contract, self.costs = contract, contract.costs
        tail = (1 - contract.interval) / 2
        self.levels = (tail, 1 - tail, contract.costs.level)  # quantile levels of low, high and decision

    def fit(self, features: Features, label: Floats, estimator: Estimator) -> list[Estimator]:
        """Fit the mean and the quantiles, or the mean alone if the estimator cannot learn quantiles."""
        quantiles = [quantile_of(estimator, level) for level in self.levels]
        estimators = [estimator, *quantiles] if all(one is not None for one in quantiles) else [estimator]
        return [fit_regressor(one, features, label) for one in estimators]

    def margins(self, models: Sequence[Estimator], features: Features) -> Floats:
        return _raw_scores(model.predict(features) for model in models)

    def staged_margins(self, models: Sequence[Estimator], features: Features) -> Iterator[Floats]:
        return map(_raw_scores, zip(*(model.staged_predict(features) for model in models), strict=True))

    def calibrate(self, margins: Floats, label: Any) -> AnyCalibration:
        """Conformalise each quantile separately (Romano et al. 2019) on rows that the models have not seen.

        MAPIE's `ConformalizedQuantileRegressor` gives the same bounds to the last bit, but only for one model
        and without the decision's quantile; these are the scores of several models, one per fold. The mean
        gets no offset, because the offset of one month is wrong for the next.
        """
        low, high, decision = self.levels
        offsets = RegressionCalibration(
            low=-_conformal_quantile(margins[:, LOW] - label, 1 - low),
            high=_conformal_quantile(label - margins[:, HIGH], high),
            decision=_conformal_quantile(label - margins[:, DECISION], decision),
        )
        forecast = offsets.forecast(margins)
        cost_model = cost_model_of(self.costs)
        cost = cost_model.price(label, cost_model.decide(forecast)).mean()
        width = (forecast[:, HIGH] - forecast[:, LOW]).mean()
        cost_per_width = float(cost / max(width, 1e-12))
        return RegressionCalibration(offsets.low, offsets.high, offsets.decision, cost_per_width)

    def baseline(self, name: BaselineName, sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
        """Return a baseline's forecasts for `rows`, with quantiles from its residuals on the rows `train`."""
        both = np.concatenate([train, rows])
        value = BASELINES[name](sample, train, both)
        fitted, predicted = value[: len(train)], value[len(train) :]
        offsets = np.quantile(sample.label[train] - fitted, self.levels)
        return RegressionCalibration(*offsets).forecast(np.column_stack([predicted] * REGRESSION_SCORES))


TaskTrainer = BinaryTrainer | RegressionTrainer  # MulticlassTrainer is a BinaryTrainer

_TRAINERS: Mapping[str, Callable[[Any], TaskTrainer]] = {
    "binary": BinaryTrainer,
    "multiclass": MulticlassTrainer,
    "regression": RegressionTrainer,
}


def trainer_of(contract: Contract) -> TaskTrainer:
    """Return the trainer for a contract's task."""
    return _TRAINERS[contract.task](contract)


def baseline_savings(sample: TrainingSample) -> dict[BaselineName, float]:
    """Compute each baseline's share of the achievable savings in the holdout window.

    Args:
        sample: all rows, as models see them; baselines are fitted on its training window and scored on its
            holdout window.

    Returns:
        A share by baseline: 1 if all that could be saved is saved, 0 for the best constant decision, NaN if
        nothing could be saved.

    Raises:
        ValueError: if labels or forecasts cannot be scored.
    """
    contract, train, holdout = sample.contract, sample.windows.train, sample.windows.holdout
    label, trainer = sample.label[holdout], trainer_of(contract)
    return {
        name: scores(label, trainer.baseline(name, sample, train, holdout), contract.costs)["savings_share"]
        for name in contract.baselines
    }


def a_few_trees(trainer: TaskTrainer) -> Callable[[Floats, Any, Ints, Ints], Floats]:
    """Return a function that fits a few trees on some rows and forecasts others."""

    def learn(features: Floats, label: Any, train: Ints, rows: Ints) -> Floats:
        models = trainer.fit(features[train], label[train], quick_estimator(classifier=trainer.classifier))
        return trainer.uncalibrated.forecast(trainer.margins(models, features[rows]))

    return learn


def _raw_scores(predictions: Iterable[Any]) -> Floats:
    """Return the raw scores; the mean stands in for missing quantiles, and calibration adds offsets."""
    outputs = [np.asarray(one, dtype=np.float64).ravel() for one in predictions]
    return np.column_stack(outputs if len(outputs) > 1 else outputs * REGRESSION_SCORES)


def _conformal_quantile(values: Floats, share: float) -> float:
    """Return the bound that a further value does not exceed with at least this probability."""
    rank = min(len(values), math.ceil((len(values) + 1) * share))
    return float(np.partition(values, rank - 1)[rank - 1])

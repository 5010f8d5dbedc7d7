"""Training of regressions: the mean, and quantiles for the interval and the decision."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import root_mean_squared_error

from fivestage.artifact.calibration import AnyCalibration, RegressionCalibration
from fivestage.artifact.scorer import REGRESSION_SCORES
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BaselineName, RegressionContract
from fivestage.contract.cost_model import DECISION, HIGH, LOW, VALUE, cost_model_of
from fivestage.data.splits import Fold
from fivestage.evaluation.metrics import scores
from fivestage.training.baselines import BASELINES
from fivestage.training.estimators import Estimator, Features, fit_regressor, quantile_of
from fivestage.training.sample import TrainingSample
from fivestage.training.side_by_side import side_by_side

VALUE_METRICS = ("mae", "rmse", "r2", "bias", "rows")  # metrics that need no interval and no decision


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
        """Return the raw scores; the mean stands in for missing quantiles, and calibration adds offsets."""
        outputs = [np.asarray(model.predict(features), dtype=np.float64).ravel() for model in models]
        return np.column_stack(outputs if len(outputs) > 1 else outputs * REGRESSION_SCORES)

    def complete(
        self, sample: TrainingSample, folds: Sequence[Fold], estimator: Estimator, margins: Sequence[Floats]
    ) -> Sequence[Floats]:
        """Add the quantiles to the means, by which the settings were chosen."""
        quantiles = [quantile_of(estimator, level) for level in self.levels]
        if any(one is None for one in quantiles):
            return [np.column_stack([mean] * REGRESSION_SCORES) for mean in margins]

        def predict(work: tuple[Fold, Estimator]) -> Floats:
            fold, quantile = work
            model = fit_regressor(quantile, sample.frame(fold.train), sample.label[fold.train])
            return np.asarray(model.predict(sample.frame(fold.valid)), dtype=np.float64)

        predictions = side_by_side(predict, [(fold, one) for fold in folds for one in quantiles])
        per_fold = len(quantiles)
        return [
            np.column_stack([mean, *predictions[number * per_fold : (number + 1) * per_fold]])
            for number, mean in enumerate(margins)
        ]

    def leaderboard_scores(self, label: Floats, margins: Floats) -> dict[str, float]:
        if margins.ndim > 1:
            return scores(label, self.uncalibrated.forecast(margins), self.costs)
        metrics = scores(label, np.column_stack([margins] * REGRESSION_SCORES), self.costs)
        return {name: metrics[name] for name in VALUE_METRICS}

    def stage_loss(self, label: Floats, margins: Floats) -> float:
        value = margins[:, VALUE] if margins.ndim > 1 else margins
        return float(root_mean_squared_error(label, value))

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


def _conformal_quantile(values: Floats, share: float) -> float:
    """Return the bound that a further value does not exceed with at least this probability."""
    rank = min(len(values), math.ceil((len(values) + 1) * share))
    return float(np.partition(values, rank - 1)[rank - 1])

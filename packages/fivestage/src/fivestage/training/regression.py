"""Training of regressions: the mean, and quantiles for the interval and the decision."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fivestage.artifact.calibration import AnyCalibration, RegressionCalibration
from fivestage.artifact.scorer import REGRESSION_SCORES
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BaselineName, RegressionContract
from fivestage.contract.cost_model import DECISION, HIGH, LOW, cost_model_of
from fivestage.training.baselines import BASELINES
from fivestage.training.estimators import Estimator, Features, fit_regressor, quantile_of
from fivestage.training.sample import TrainingSample


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


def _raw_scores(predictions: Iterable[Any]) -> Floats:
    """Return the raw scores; the mean stands in for missing quantiles, and calibration adds offsets."""
    outputs = [np.asarray(one, dtype=np.float64).ravel() for one in predictions]
    return np.column_stack(outputs if len(outputs) > 1 else outputs * REGRESSION_SCORES)


def _conformal_quantile(values: Floats, share: float) -> float:
    """Return the bound that a further value does not exceed with at least this probability."""
    rank = min(len(values), math.ceil((len(values) + 1) * share))
    return float(np.partition(values, rank - 1)[rank - 1])

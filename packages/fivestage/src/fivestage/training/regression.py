"""How numbers are learnt: the mean, and quantiles for the interval and for the decision."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

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

OF_VALUES = ("mae", "rmse", "r2", "bias", "rows")  # scores that need no interval and no decision


class RegressionTrainer:
    """Four raw scores, in the order of a forecast (`fivestage.contract.cost_model`)."""

    uncalibrated: AnyCalibration = RegressionCalibration()
    classifier = False

    def __init__(self, contract: RegressionContract) -> None:
        self.contract, self.costs = contract, contract.costs
        outside = (1 - contract.interval) / 2
        self.levels = (outside, 1 - outside, contract.costs.level)  # of low, high and decision

    def fit(self, features: Features, label: Floats, estimator: Estimator) -> list[Estimator]:
        """The mean and its quantiles; the mean alone where the estimator learns no quantiles."""
        quantiles = [quantile_of(estimator, level) for level in self.levels]
        wanted = [estimator, *quantiles] if all(one is not None for one in quantiles) else [estimator]
        return [fit_regressor(one, features, label) for one in wanted]

    def margins(self, models: Sequence[Estimator], features: Features) -> Floats:
        """Without quantiles, the mean in their place: calibration moves each by what holds its share."""
        found = [np.asarray(model.predict(features), dtype=np.float64).ravel() for model in models]
        return np.column_stack(found if len(found) > 1 else found * REGRESSION_SCORES)

    def complete(
        self, sample: TrainingSample, folds: Sequence[Fold], estimator: Estimator, margins: Sequence[Floats]
    ) -> Sequence[Floats]:
        """The mean, which the folds chose the settings by, with its quantiles."""
        quantiles = [quantile_of(estimator, level) for level in self.levels]
        if any(one is None for one in quantiles):
            return [np.column_stack([mean] * REGRESSION_SCORES) for mean in margins]

        def asked(work: tuple[Fold, Estimator]) -> Floats:
            fold, one = work
            model = fit_regressor(one, sample.frame(fold.train), sample.label[fold.train])
            return np.asarray(model.predict(sample.frame(fold.valid)), dtype=np.float64)

        found = side_by_side(asked, [(fold, one) for fold in folds for one in quantiles])
        each = len(quantiles)
        return [
            np.column_stack([mean, *found[place * each : (place + 1) * each]])
            for place, mean in enumerate(margins)
        ]

    def leaderboard_scores(self, label: Floats, margins: Floats) -> dict[str, float]:
        if margins.ndim > 1:
            return scores(label, self.uncalibrated.forecast(margins), self.costs)
        found = scores(label, np.column_stack([margins] * REGRESSION_SCORES), self.costs)
        return {name: found[name] for name in OF_VALUES}

    def stage_loss(self, label: Floats, margins: Floats) -> float:
        value = margins[:, VALUE] if margins.ndim > 1 else margins
        return math.sqrt(np.mean((value - label) ** 2))

    def calibrate(self, margins: Floats, label: Any) -> AnyCalibration:
        """Conformalised quantile regression (Romano et al. 2019), each side by itself.

        MAPIE's `ConformalizedQuantileRegressor` gave the same bounds to the last bit, of one model and
        without the decision's quantile; these are the scores of several models, one a fold.

        Learnt on rows that the models have not seen. The mean has no offset, as that of one month is wrong
        for the next.
        """
        low, high, decision = self.levels
        moved = RegressionCalibration(
            low=-_enough(margins[:, LOW] - label, 1 - low),
            high=_enough(label - margins[:, HIGH], high),
            decision=_enough(label - margins[:, DECISION], decision),
        )
        forecast = moved.forecast(margins)
        money = cost_model_of(self.costs)
        cost = money.price(label, money.decide(forecast)).mean()
        width = (forecast[:, HIGH] - forecast[:, LOW]).mean()
        return RegressionCalibration(moved.low, moved.high, moved.decision, float(cost / max(width, 1e-12)))

    def baseline(self, name: BaselineName, sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
        """The value, and around it what training rows lay off theirs."""
        both = np.concatenate([train, rows])
        value = BASELINES[name](sample, train, both)
        seen, asked = value[: len(train)], value[len(train) :]
        off = np.quantile(sample.label[train] - seen, self.levels)
        return RegressionCalibration(*off).forecast(np.column_stack([asked] * REGRESSION_SCORES))


def _enough(values: Floats, share: float) -> float:
    """The value that this share of further ones stays below, by the rank that so many allow for."""
    rank = min(len(values), math.ceil((len(values) + 1) * share))
    return float(np.partition(values, rank - 1)[rank - 1])

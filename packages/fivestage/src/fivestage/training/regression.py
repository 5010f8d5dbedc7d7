"""How numbers are learnt: the mean, and quantiles for the interval and for the decision."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from fivestage.artifact.calibration import AnyCalibration, RegressionCalibration
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BaselineName, RegressionContract
from fivestage.contract.cost_model import DECISION, HIGH, LOW, VALUE, cost_model_of
from fivestage.data.splits import Fold
from fivestage.evaluation.metrics import scores
from fivestage.training.baselines import BASELINES
from fivestage.training.boosting import BoostingParams, fit_regressor
from fivestage.training.sample import TrainingSample

OF_VALUES = ("mae", "rmse", "r2", "bias", "rows")  # scores that need no interval and no decision


class RegressionTrainer:
    """Four sums of trees, in the order of a forecast (`fivestage.contract.cost_model`)."""

    uncalibrated: AnyCalibration = RegressionCalibration()

    def __init__(self, contract: RegressionContract) -> None:
        self.contract, self.costs = contract, contract.costs
        outside = (1 - contract.interval) / 2
        self.levels = (outside, 1 - outside, contract.costs.level)  # of low, high and decision

    def fit(
        self, features: Floats, label: Floats, trees: BoostingParams
    ) -> list[HistGradientBoostingRegressor]:
        return [fit_regressor(features, label, trees, level) for level in (None, *self.levels)]

    def margins(self, models: Sequence[HistGradientBoostingRegressor], features: Floats) -> Floats:
        return np.column_stack([model.predict(features) for model in models])

    def staged(self, sample: TrainingSample, fold: Fold, trees: BoostingParams) -> Iterator[Floats]:
        """The mean alone: it chooses the number of trees."""
        model = fit_regressor(sample.features[fold.train], sample.label[fold.train], trees)
        yield from model.staged_predict(sample.features[fold.valid])

    def whole(
        self, sample: TrainingSample, folds: Sequence[Fold], trees: BoostingParams, staged: Sequence[Floats]
    ) -> Sequence[Floats]:
        """The mean with its quantiles."""
        found = []
        for fold, mean in zip(folds, staged, strict=True):
            features, label = sample.features[fold.train], sample.label[fold.train]
            quantiles = [fit_regressor(features, label, trees, level) for level in self.levels]
            asked = sample.features[fold.valid]
            found.append(np.column_stack([mean, *(model.predict(asked) for model in quantiles)]))
        return found

    def told(self, label: Floats, margins: Floats) -> dict[str, float]:
        if margins.ndim > 1:
            return scores(label, self.uncalibrated.forecast(margins), self.costs)
        told = scores(label, np.column_stack([margins] * 4), self.costs)
        return {name: told[name] for name in OF_VALUES}

    def stage_loss(self, label: Floats, margins: Floats) -> float:
        return math.sqrt(np.mean((margins - label) ** 2))

    def loss(self, label: Floats, forecast: Floats) -> float:
        return self.stage_loss(label, forecast[:, VALUE])

    def calibrate(self, margins: Floats, label: Floats) -> AnyCalibration:
        """Conformalised quantile regression (Romano et al. 2019), each side by itself.

        Learnt on rows that the trees have not seen. The mean has no offset, as that of one month is wrong for
        the next.
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
        return RegressionCalibration(*off).forecast(np.column_stack([asked] * 4))


def _enough(values: Floats, share: float) -> float:
    """The value that this share of further ones stays below, by the rank that so many allow for."""
    rank = min(len(values), math.ceil((len(values) + 1) * share))
    return float(np.partition(values, rank - 1)[rank - 1])

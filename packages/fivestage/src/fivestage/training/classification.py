"""How probabilities are learnt: of one outcome, and of several classes."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from fivestage.artifact.calibration import AnyCalibration, Calibration, MulticlassCalibration
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BaselineName, BinaryContract, MulticlassContract
from fivestage.data.splits import Fold
from fivestage.evaluation.metrics import scores
from fivestage.training.baselines import BASELINES
from fivestage.training.boosting import BoostingParams, fit_trees
from fivestage.training.sample import TrainingSample

SLOPES = (1e-3, 10.0)  # in which the temperature of several classes is looked for


class BinaryTrainer:
    """A margin for the log-odds."""

    uncalibrated: AnyCalibration = Calibration()

    def __init__(self, contract: BinaryContract | MulticlassContract) -> None:
        self.costs, self.asked, self.name = contract.costs, contract.gates, contract.label.name
        self.classes = len(contract.label.classes) if isinstance(contract, MulticlassContract) else 0

    def fit(
        self, features: Floats, label: Ints, trees: BoostingParams
    ) -> list[HistGradientBoostingClassifier]:
        return [fit_trees(features, label, trees, self.classes)]

    def margins(self, models: Sequence[HistGradientBoostingClassifier], features: Floats) -> Floats:
        return np.asarray(models[0].decision_function(features), dtype=np.float64)

    def staged(self, sample: TrainingSample, fold: Fold, trees: BoostingParams) -> Iterator[Floats]:
        model = fit_trees(sample.features[fold.train], sample.label[fold.train], trees, self.classes)
        for margins in model.staged_decision_function(sample.features[fold.valid]):
            yield margins if self.classes else margins.ravel()

    def whole(
        self,
        sample: TrainingSample,  # noqa: ARG002 (other tasks look at it again)
        folds: Sequence[Fold],  # noqa: ARG002
        trees: BoostingParams,  # noqa: ARG002
        staged: Sequence[Floats],
    ) -> Sequence[Floats]:
        return staged

    def told(self, label: Ints, margins: Floats) -> dict[str, float]:
        return scores(label, self.uncalibrated.forecast(margins), self.costs)

    def stage_loss(self, label: Ints, margins: Floats) -> float:
        return self.loss(label, self.uncalibrated.forecast(margins))

    def loss(self, label: Ints, forecast: Floats) -> float:
        return float(log_loss(label, forecast, labels=np.arange(self.classes or 2)))

    def calibrate(self, margins: Floats, label: Ints) -> AnyCalibration:
        """Temperature scaling (Guo et al. 2017), learnt on margins of rows that the trees have not seen.

        One number, no offset: the offset that fits one month is that month's weather, and is wrong for the
        next.
        """
        scaling = LogisticRegression(C=np.inf, fit_intercept=False).fit(margins.reshape(-1, 1), label)
        return Calibration(float(scaling.coef_[0, 0]))

    def baseline(self, name: BaselineName, sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
        return BASELINES[name](sample, train, rows)


class MulticlassTrainer(BinaryTrainer):
    """A margin for each class."""

    uncalibrated: AnyCalibration = MulticlassCalibration()

    def __init__(self, contract: MulticlassContract) -> None:
        super().__init__(contract)
        self.names = contract.label.classes

    def calibrate(self, margins: Floats, label: Ints) -> AnyCalibration:
        """The same, with one temperature for all classes."""
        found = minimize_scalar(
            lambda slope: self.loss(label, MulticlassCalibration(slope).forecast(margins)),
            bounds=SLOPES,
            method="bounded",
        )
        return MulticlassCalibration(float(found.x))

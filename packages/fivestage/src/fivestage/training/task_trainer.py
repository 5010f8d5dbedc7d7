"""How a task is learnt; which one it is, is asked nowhere else in training."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fivestage.artifact.calibration import AnyCalibration
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import (
    BaselineName,
    BinaryContract,
    Contract,
    MulticlassContract,
    RegressionContract,
)
from fivestage.data.splits import Fold, TemporalSplit
from fivestage.evaluation.metrics import scores
from fivestage.training.classification import BinaryTrainer, MulticlassTrainer
from fivestage.training.estimators import Estimator, Features, quick_estimator
from fivestage.training.regression import RegressionTrainer
from fivestage.training.sample import TrainingSample


class TaskTrainer(Protocol):
    """Models, calibration and baselines of a task; forecasts as in `fivestage.contract.cost_model`."""

    classifier: bool

    @property
    def uncalibrated(self) -> AnyCalibration:
        """From raw scores to forecasts, before anything was learnt for it."""
        ...

    def fit(self, features: Features, label: Any, estimator: Estimator) -> list[Estimator]:
        """The fitted models whose outputs are the raw scores."""
        ...

    def margins(self, models: Sequence[Estimator], features: Features) -> Floats:
        """Raw scores by scikit-learn itself: one a row, or rows x outputs."""
        ...

    def complete(
        self, sample: TrainingSample, folds: Sequence[Fold], estimator: Estimator, margins: Sequence[Floats]
    ) -> Sequence[Floats]:
        """All raw scores of each fold's validation rows, given those that the settings were chosen by."""
        ...

    def leaderboard_scores(self, label: Any, margins: Floats) -> dict[str, float]:
        """What the leaderboard shows of uncalibrated raw scores."""
        ...

    def stage_loss(self, label: Any, margins: Floats) -> float:
        """What settings and candidates are chosen by."""
        ...

    def calibrate(self, margins: Floats, label: Any) -> AnyCalibration:
        """From raw scores of rows that the models have not seen."""
        ...

    def baseline(self, name: BaselineName, sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
        """The forecasts of a baseline that has seen the rows `train`."""
        ...


def trainer_of(contract: Contract) -> TaskTrainer:
    """How a contract's task is learnt.

    Args:
        contract: tells the task, its classes or interval, and the costs.

    Returns:
        The trainer: one for binary, one for multiclass, one for regression.

    Raises:
        TypeError: for a contract of no task.
    """
    match contract:
        case BinaryContract():
            return BinaryTrainer(contract)
        case MulticlassContract():
            return MulticlassTrainer(contract)
        case RegressionContract():
            return RegressionTrainer(contract)
    raise TypeError(f"{type(contract).__name__} is a contract of no task")


def baseline_savings(
    sample: TrainingSample, windows: TemporalSplit, contract: Contract
) -> dict[BaselineName, float]:
    """The share of the achievable savings that each baseline of the contract brings in the holdout window.

    Args:
        sample: all rows as models see them.
        windows: baselines see the training window, and are judged on the holdout window.
        contract: names the baselines, and tells the task and the costs.

    Returns:
        By baseline, a share: 1 is all that could be saved, 0 the best constant decision's; NaN where nothing
        could be saved.

    Raises:
        ValueError: for labels or forecasts that cannot be scored.
    """
    label, trainer = sample.label[windows.holdout], trainer_of(contract)
    return {
        name: scores(label, trainer.baseline(name, sample, windows.train, windows.holdout), contract.costs)[
            "savings_share"
        ]
        for name in contract.baselines
    }


def a_few_trees(trainer: TaskTrainer) -> Callable[[Floats, Any, Ints, Ints], Floats]:
    """What a few trees forecast for some rows after learning the labels of others.

    Args:
        trainer: how the task is learnt.

    Returns:
        A function of features (rows x features, float64), labels, and the positions of rows to learn from and
        of rows to predict; it returns the latter's uncalibrated forecasts, in the shape of the task.
    """

    def learn(features: Floats, label: Any, train: Ints, rows: Ints) -> Floats:
        models = trainer.fit(features[train], label[train], quick_estimator(classifier=trainer.classifier))
        return trainer.uncalibrated.forecast(trainer.margins(models, features[rows]))

    return learn

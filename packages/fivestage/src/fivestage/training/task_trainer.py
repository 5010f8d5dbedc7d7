"""How a task is learnt; which one it is, is asked nowhere else in training."""

from collections.abc import Callable, Mapping
from typing import Any

from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BaselineName, Contract
from fivestage.data.splits import TemporalSplit
from fivestage.evaluation.metrics import scores
from fivestage.training.classification import BinaryTrainer, MulticlassTrainer
from fivestage.training.estimators import quick_estimator
from fivestage.training.regression import RegressionTrainer
from fivestage.training.sample import TrainingSample

TaskTrainer = BinaryTrainer | RegressionTrainer  # one of several classes is a binary one

_TRAINERS: Mapping[str, Callable[[Any], TaskTrainer]] = {
    "binary": BinaryTrainer,
    "multiclass": MulticlassTrainer,
    "regression": RegressionTrainer,
}


def trainer_of(contract: Contract) -> TaskTrainer:
    """How a contract's task is learnt.

    Args:
        contract: tells the task, its classes or interval, and the costs.

    Returns:
        The trainer: one for binary, one for multiclass, one for regression.
    """
    return _TRAINERS[contract.task](contract)


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
    """What a few trees forecast for some rows after learning the labels of others."""

    def learn(features: Floats, label: Any, train: Ints, rows: Ints) -> Floats:
        models = trainer.fit(features[train], label[train], quick_estimator(classifier=trainer.classifier))
        return trainer.uncalibrated.forecast(trainer.margins(models, features[rows]))

    return learn

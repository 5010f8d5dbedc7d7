"""Chooses the trainer of a task; nothing else in training depends on which task it is."""

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

TaskTrainer = BinaryTrainer | RegressionTrainer  # MulticlassTrainer is a BinaryTrainer

_TRAINERS: Mapping[str, Callable[[Any], TaskTrainer]] = {
    "binary": BinaryTrainer,
    "multiclass": MulticlassTrainer,
    "regression": RegressionTrainer,
}


def trainer_of(contract: Contract) -> TaskTrainer:
    """Return the trainer for a contract's task."""
    return _TRAINERS[contract.task](contract)


def baseline_savings(
    sample: TrainingSample, windows: TemporalSplit, contract: Contract
) -> dict[BaselineName, float]:
    """Compute each baseline's share of the achievable savings in the holdout window.

    Args:
        sample: all rows, as models see them.
        windows: baselines are fitted on the training window and scored on the holdout window.
        contract: defines the task, the costs and the baselines.

    Returns:
        A share by baseline: 1 if all that could be saved is saved, 0 for the best constant decision, NaN if
        nothing could be saved.

    Raises:
        ValueError: if labels or forecasts cannot be scored.
    """
    label, trainer = sample.label[windows.holdout], trainer_of(contract)
    return {
        name: scores(label, trainer.baseline(name, sample, windows.train, windows.holdout), contract.costs)[
            "savings_share"
        ]
        for name in contract.baselines
    }


def a_few_trees(trainer: TaskTrainer) -> Callable[[Floats, Any, Ints, Ints], Floats]:
    """Return a function that fits a few trees on some rows and forecasts others."""

    def learn(features: Floats, label: Any, train: Ints, rows: Ints) -> Floats:
        models = trainer.fit(features[train], label[train], quick_estimator(classifier=trainer.classifier))
        return trainer.uncalibrated.forecast(trainer.margins(models, features[rows]))

    return learn

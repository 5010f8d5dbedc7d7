"""How a task is learnt; which one it is, is asked nowhere else in this room."""

from collections.abc import Callable, Iterator, Sequence
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
from fivestage.training.boosting import FEW_TREES, BoostingParams
from fivestage.training.classification import BinaryTrainer, MulticlassTrainer
from fivestage.training.regression import RegressionTrainer
from fivestage.training.sample import TrainingSample


class TaskTrainer(Protocol):
    """Trees, calibration, baselines and gates of a task."""

    @property
    def uncalibrated(self) -> AnyCalibration:
        """From margins to forecasts, before anything was learnt for it."""
        ...

    def fit(self, features: Floats, label: Any, trees: BoostingParams) -> list[Any]:
        """The models whose outputs are the margins."""
        ...

    def margins(self, models: Sequence[Any], features: Floats) -> Floats:
        """One margin a row, or rows x outputs, by scikit-learn itself."""
        ...

    def staged(self, sample: TrainingSample, fold: Fold, trees: BoostingParams) -> Iterator[Floats]:
        """Margins of the fold's validation rows after each tree, enough of them to choose their number."""
        ...

    def whole(
        self, sample: TrainingSample, folds: Sequence[Fold], trees: BoostingParams, staged: Sequence[Floats]
    ) -> Sequence[Floats]:
        """All margins of the validation rows of each fold, given those of the chosen stage."""
        ...

    def told(self, label: Any, margins: Floats) -> dict[str, float]:
        """What the leaderboard is told of uncalibrated margins."""
        ...

    def stage_loss(self, label: Any, margins: Floats) -> float:
        """What stages and candidates are chosen by."""
        ...

    def loss(self, label: Any, forecast: Floats) -> float:
        """The same of forecasts."""
        ...

    def calibrate(self, margins: Floats, label: Any) -> AnyCalibration:
        """From margins of rows that the trees have not seen."""
        ...

    def baseline(self, name: BaselineName, sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
        """The forecasts of a baseline that has seen the rows `train`."""
        ...


def trainer_of(contract: Contract) -> TaskTrainer:
    """The learner of a contract's task.

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
    """The share of the possible savings that each baseline of the contract brings in the contest window."""
    label, learner = sample.label[windows.contest], trainer_of(contract)
    return {
        name: scores(label, learner.baseline(name, sample, windows.train, windows.contest), contract.costs)[
            "savings_share"
        ]
        for name in contract.baselines
    }


def a_few_trees(learner: TaskTrainer) -> Callable[[Floats, Any, Ints, Ints], Floats]:
    """What a few trees forecast for some rows after learning the labels of others."""

    def learn(features: Floats, label: Any, train: Ints, rows: Ints) -> Floats:
        models = learner.fit(features[train], label[train], FEW_TREES)
        return learner.uncalibrated.forecast(learner.margins(models, features[rows]))

    return learn

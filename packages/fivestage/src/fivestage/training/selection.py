"""Baselines and candidates on the same temporal folds; nothing here sees the contest window or later."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fivestage.artifact.calibration import AnyCalibration
from fivestage.common.columns import Floats
from fivestage.contract.contract import BaselineName, Contract
from fivestage.data.splits import Fold, TemporalSplit
from fivestage.evaluation.metrics import scores
from fivestage.training.boosting import BoostingParams
from fivestage.training.leaderboard import LeaderboardRow
from fivestage.training.sample import TrainingSample
from fivestage.training.task_trainer import TaskTrainer, trainer_of

CANDIDATES = (
    BoostingParams(learning_rate=0.1, leaves=15, count=150),
    BoostingParams(learning_rate=0.1, leaves=31, count=100),
)
TREES_STEP = 25
LEAVES_OF_ROWS = 50  # a leaf may hold so small a part of the rows
LEAST_LEAF_ROWS = 5


@dataclass(frozen=True)
class Selection:
    """The chosen trees, their calibration, and everything they were compared with."""

    trees: BoostingParams
    calibration: AnyCalibration
    leaderboard: tuple[LeaderboardRow, ...]


@dataclass(frozen=True)
class CandidateResult:
    """A candidate with its best number of trees, and its margins for each fold's validation rows."""

    trees: BoostingParams
    loss: float
    margins: tuple[Floats, ...]


def cross_validate_candidate(
    sample: TrainingSample, windows: TemporalSplit, contract: Contract, trees: BoostingParams
) -> CandidateResult:
    """One candidate on the folds, with smaller leaves where the rows to learn from are few."""
    folds, learner = windows.folds, trainer_of(contract)
    least = max(LEAST_LEAF_ROWS, len(folds[0].train) // LEAVES_OF_ROWS)
    fitting = replace(trees, min_leaf_rows=min(trees.min_leaf_rows, least))
    staged = [_stages(sample, fold, fitting, learner) for fold in folds]
    return _best_count(fitting, staged, _labels(sample, folds), learner)


def select(
    sample: TrainingSample, windows: TemporalSplit, contract: Contract, tried: Sequence[CandidateResult]
) -> Selection:
    """Compare baselines and candidates on the folds; the one with the least loss is calibrated."""
    folds, learner = windows.folds, trainer_of(contract)
    labels = _labels(sample, folds)
    best = min(tried, key=lambda one: one.loss)
    whole = learner.whole(sample, folds, best.trees, best.margins)
    leaderboard = (
        *(
            LeaderboardRow(name, "baseline", _fold_means(_baseline(name, sample, folds, contract, learner)))
            for name in contract.baselines
        ),
        *(
            LeaderboardRow(
                one.trees.name,
                "candidate",
                _fold_means(
                    [
                        learner.told(label, margins)
                        for label, margins in zip(labels, whole if one is best else one.margins, strict=True)
                    ]
                ),
                chosen=one is best,
            )
            for one in tried
        ),
    )
    calibration = learner.calibrate(np.concatenate(whole), np.concatenate(labels))
    return Selection(best.trees, calibration, leaderboard)


def _labels(sample: TrainingSample, folds: Sequence[Fold]) -> list[Any]:
    return [sample.label[fold.valid] for fold in folds]


def _stages(sample: TrainingSample, fold: Fold, trees: BoostingParams, learner: TaskTrainer) -> list[Floats]:
    """Margins of the fold's validation rows after every few trees, and after all."""
    return [
        margins
        for number, margins in enumerate(learner.staged(sample, fold, trees), 1)
        if number % TREES_STEP == 0 or number == trees.count
    ]


def _best_count(
    trees: BoostingParams, staged: Sequence[Sequence[Floats]], labels: Sequence[Any], learner: TaskTrainer
) -> CandidateResult:
    """The number of trees with the least loss, as a mean over the folds."""
    stages = list(zip(*staged, strict=True))  # stages x folds
    losses = [
        np.mean([learner.stage_loss(label, margins) for label, margins in zip(labels, stage, strict=True)])
        for stage in stages
    ]
    best = int(np.argmin(losses))
    count = min((best + 1) * TREES_STEP, trees.count)
    return CandidateResult(replace(trees, count=count), float(losses[best]), stages[best])


def _baseline(
    name: BaselineName,
    sample: TrainingSample,
    folds: Sequence[Fold],
    contract: Contract,
    learner: TaskTrainer,
) -> list[dict[str, float]]:
    return [
        scores(
            sample.label[fold.valid], learner.baseline(name, sample, fold.train, fold.valid), contract.costs
        )
        for fold in folds
    ]


def _fold_means(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}

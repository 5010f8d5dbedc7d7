"""Baselines and candidates on the same temporal folds; nothing here sees the contest window or later."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.metrics import log_loss

from core.columns import Floats, Ints
from core.contract import BaselineName, Contract
from core.tasks import BinaryCosts
from monitoring.metrics import scores
from report.results import Candidate
from serving.artifact import Calibration
from steps.data.split import Fold, Windows
from steps.model.baselines import BASELINES
from steps.model.fit import Trees, calibrate, fit_trees
from steps.model.sample import Sample

CANDIDATES = (
    Trees(learning_rate=0.1, leaves=15, count=150),
    Trees(learning_rate=0.1, leaves=31, count=100),
)
TREES_STEP = 25
LEAVES_OF_ROWS = 50  # a leaf may hold so small a part of the rows
LEAST_LEAF_ROWS = 5


@dataclass(frozen=True)
class Selection:
    """The chosen trees, their calibration, and everything they were compared with."""

    trees: Trees
    calibration: Calibration
    leaderboard: tuple[Candidate, ...]


@dataclass(frozen=True)
class _Tried:
    """A candidate with its best number of trees, and its margins for each fold's validation rows."""

    trees: Trees
    log_loss: float
    margins: tuple[Floats, ...]


def candidates_for(rows: int) -> tuple[Trees, ...]:
    """The usual candidates, with smaller leaves where the rows to learn from are few."""
    least = max(LEAST_LEAF_ROWS, rows // LEAVES_OF_ROWS)
    return tuple(replace(one, min_leaf_rows=min(one.min_leaf_rows, least)) for one in CANDIDATES)


def select(sample: Sample, windows: Windows, contract: Contract, candidates: Sequence[Trees]) -> Selection:
    """Compare baselines and candidates on the folds; the one with the least log-loss is calibrated."""
    folds = windows.folds
    labels = [sample.label[fold.valid] for fold in folds]
    tried = [
        _best_count(trees, [_staged_margins(sample, fold, trees) for fold in folds], labels)
        for trees in candidates
    ]
    best = min(tried, key=lambda one: one.log_loss)
    leaderboard = (
        *(
            Candidate(name, "baseline", _fold_means(_on_folds(name, sample, folds), labels, contract.costs))
            for name in contract.baselines
        ),
        *(
            Candidate(
                one.trees.name,
                "candidate",
                _fold_means([_uncalibrated(margin) for margin in one.margins], labels, contract.costs),
                chosen=one is best,
            )
            for one in tried
        ),
    )
    calibration = calibrate(np.concatenate(best.margins), np.concatenate(labels))
    return Selection(best.trees, calibration, leaderboard)


def _staged_margins(sample: Sample, fold: Fold, trees: Trees) -> list[Floats]:
    """Margins of the fold's validation rows after every few trees, and after all."""
    model = fit_trees(sample.features[fold.train], sample.label[fold.train], trees)
    staged = model.staged_decision_function(sample.features[fold.valid])
    return [
        margin.ravel()
        for number, margin in enumerate(staged, 1)
        if number % TREES_STEP == 0 or number == trees.count
    ]


def _best_count(trees: Trees, staged: Sequence[Sequence[Floats]], labels: Sequence[Ints]) -> _Tried:
    """The number of trees with the least log-loss, as a mean over the folds."""
    stages = list(zip(*staged, strict=True))  # stages x folds
    losses = [
        np.mean([log_loss(label, _uncalibrated(margin)) for label, margin in zip(labels, stage, strict=True)])
        for stage in stages
    ]
    best = int(np.argmin(losses))
    count = min((best + 1) * TREES_STEP, trees.count)
    return _Tried(replace(trees, count=count), float(losses[best]), stages[best])


def _on_folds(name: BaselineName, sample: Sample, folds: Sequence[Fold]) -> list[Floats]:
    return [BASELINES[name](sample, fold.train, fold.valid) for fold in folds]


def _fold_means(answers: Sequence[Floats], labels: Sequence[Ints], costs: BinaryCosts) -> dict[str, float]:
    found = [scores(label, answer, costs) for label, answer in zip(labels, answers, strict=True)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def _uncalibrated(margin: Floats) -> Floats:
    return Calibration().probability(margin)

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fivestage.artifact.calibration import Calibration
from fivestage.common.columns import Floats
from fivestage.data.splits import Fold, TemporalSplit
from fivestage.training import selection as room
from fivestage.training.boosting import BoostingParams
from fivestage.training.sample import TrainingSample
from fivestage.training.selection import (
    LEAVES_OF_ROWS,
    TREES_STEP,
    Selection,
    cross_validate_candidate,
    select,
)
from fivestage.training.task_trainer import trainer_of
from problem import PROBLEM

LEARNER = trainer_of(PROBLEM.contract)
ROWS, CUT = 3000, 2400  # what comes from the cut on is the contest window and later
FOLDS = (
    Fold(np.arange(1200), np.arange(1200, 1800), 0, 0),
    Fold(np.arange(1800), np.arange(1800, CUT), 0, 0),
)
WINDOWS = TemporalSplit(np.arange(CUT), FOLDS, np.arange(CUT, 2700), np.arange(2700, ROWS), 0, 0)
MILD = BoostingParams(learning_rate=0.1, leaves=4, count=60, min_leaf_rows=20)
WILD = BoostingParams(learning_rate=0.5, leaves=31, count=60, min_leaf_rows=2, l2=0.0)


def sample(signal: float) -> TrainingSample:
    random = np.random.default_rng(0)
    features = random.normal(size=(ROWS, 4))
    margin = signal * (features[:, 0] + np.sin(3 * features[:, 1])) - 1
    label = (random.random(ROWS) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    keys = pd.DataFrame({"group": np.arange(ROWS) % 5})
    return TrainingSample(features, ("a", "b", "c", "d"), {}, keys, label)


def selected(seen: TrainingSample, *candidates: BoostingParams) -> Selection:
    contract = PROBLEM.contract
    tried = [cross_validate_candidate(seen, WINDOWS, contract, trees) for trees in candidates]
    return select(seen, WINDOWS, contract, tried)


def chosen(seen: TrainingSample) -> Selection:
    return selected(seen, WILD, MILD)


def test_only_the_folds_are_looked_at() -> None:
    seen = sample(1.5)
    features, label = seen.features.copy(), seen.label.copy()
    features[CUT:], label[CUT:] = np.nan, 1 - label[CUT:]
    assert chosen(replace(seen, features=features, label=label)) == chosen(seen)
    label[FOLDS[-1].valid] = 1 - label[FOLDS[-1].valid]
    assert chosen(replace(seen, label=label)) != chosen(seen)


def test_the_candidate_with_the_least_log_loss_is_chosen_with_its_own_number_of_trees() -> None:
    found = chosen(sample(1.5))
    assert (found.trees.leaves, found.trees.learning_rate) == (MILD.leaves, MILD.learning_rate)
    losses = {entry.name: entry.metrics["log_loss"] for entry in found.leaderboard}
    assert losses[MILD.name] < losses[WILD.name]
    assert losses[MILD.name] < losses["prior"]


def test_whoever_is_tried_first_the_same_one_wins() -> None:
    seen = sample(1.5)
    one, other = selected(seen, WILD, MILD), selected(seen, MILD, WILD)
    assert (one.trees, one.calibration) == (other.trees, other.calibration)
    assert sorted(map(repr, one.leaderboard)) == sorted(map(repr, other.leaderboard))


def test_few_rows_get_smaller_leaves() -> None:
    coarse = replace(MILD, min_leaf_rows=100)
    found = cross_validate_candidate(sample(1.5), WINDOWS, PROBLEM.contract, coarse)
    assert found.trees.min_leaf_rows == len(FOLDS[0].train) // LEAVES_OF_ROWS


def test_the_leaderboard_has_all_that_was_tried_and_one_choice() -> None:
    found = chosen(sample(1.5))
    assert [(entry.name, entry.kind, entry.chosen) for entry in found.leaderboard] == [
        *((name, "baseline", False) for name in PROBLEM.contract.baselines),
        (WILD.name, "candidate", False),
        (MILD.name, "candidate", True),
    ]


def test_noise_needs_few_trees_and_too_sure_ones_are_flattened() -> None:
    noise = selected(sample(0.0), WILD)
    assert noise.trees.count == TREES_STEP
    assert isinstance(noise.calibration, Calibration)
    assert 0 < noise.calibration.slope < 0.9
    signal = selected(sample(3.0), MILD)
    assert signal.trees.count > TREES_STEP


def staged(*slopes: float) -> list[Floats]:
    """Margins after each stage: the label's sign, more or less sure."""
    signs = np.array([1.0, -1.0, 1.0, 1.0])
    return [slope * signs for slope in slopes]


@pytest.mark.parametrize(
    ("slopes", "count"),
    [
        ((0.1, 2.0, 1.0), 2 * TREES_STEP),
        ((3.0, 2.0, 1.0), TREES_STEP),
        ((0.1, 0.2, 3.0), 60),  # the last stage ends before a whole step
    ],
)
def test_the_number_of_trees_is_that_of_the_best_stage(slopes: tuple[float, ...], count: int) -> None:
    label = np.array([1, 0, 1, 1])
    found = room._best_count(MILD, [staged(*slopes), staged(*slopes)], [label, label], LEARNER)
    assert found.trees == replace(MILD, count=count)
    best = max(slopes)
    expected = -np.log(Calibration().forecast(np.array([best]))[0])
    assert found.loss == pytest.approx(expected)
    assert all(np.array_equal(margin, staged(best)[0]) for margin in found.margins)


def test_the_mean_over_folds_decides_and_not_one_fold() -> None:
    label = np.array([1, 0, 1, 1])
    found = room._best_count(MILD, [staged(1.0, 1.1), staged(3.0, 0.1)], [label, label], LEARNER)
    assert found.trees.count == TREES_STEP

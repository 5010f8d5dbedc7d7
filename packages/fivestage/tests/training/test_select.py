from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fivestage.artifact.calibration import Calibration
from fivestage.common.columns import Floats
from fivestage.data.splits import Fold, TemporalSplit
from fivestage.training import selection
from fivestage.training.estimators import Estimator, with_settings
from fivestage.training.leaderboard import LeaderboardRow
from fivestage.training.sample import TrainingSample
from fivestage.training.selection import TREES_STEP, Selection, select
from fivestage.training.task_trainer import trainer_of
from tests.synthetic import boosting, synthetic_problem

CONTRACT = synthetic_problem("binary").contract
TRAINER = trainer_of(CONTRACT)
ROWS, CUT = 3000, 2400  # rows from the cut on are the holdout window and later
FOLDS = (
    Fold(np.arange(1200), np.arange(1200, 1800), 0, 0),
    Fold(np.arange(1800), np.arange(1800, CUT), 0, 0),
)
WINDOWS = TemporalSplit(np.arange(CUT), FOLDS, np.arange(CUT, 2700), np.arange(2700, ROWS), 0, 0)
MILD = boosting("binary", learning_rate=0.1, max_leaf_nodes=4, max_iter=60)
WILD = boosting("binary", learning_rate=0.5, max_leaf_nodes=31, max_iter=60, min_samples_leaf=2)


def sample(signal: float) -> TrainingSample:
    random = np.random.default_rng(0)
    features = random.normal(size=(ROWS, 4))
    margin = signal * (features[:, 0] + np.sin(3 * features[:, 1])) - 1
    label = (random.random(ROWS) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    keys = pd.DataFrame({"group": np.arange(ROWS) % 5})
    return TrainingSample(features, ("a", "b", "c", "d"), {}, keys, label, WINDOWS, CONTRACT)


def selected(seen: TrainingSample, **candidates: Estimator) -> Selection:
    return select(seen, candidates)


def chosen(seen: TrainingSample) -> Selection:
    return selected(seen, wild=WILD, mild=MILD)


def test_only_the_folds_are_looked_at() -> None:
    seen = sample(1.5)
    features, label = seen.features.copy(), seen.label.copy()
    features[CUT:], label[CUT:] = np.nan, 1 - label[CUT:]
    assert chosen(replace(seen, features=features, label=label)) == chosen(seen)
    label[FOLDS[-1].valid] = 1 - label[FOLDS[-1].valid]
    assert chosen(replace(seen, label=label)) != chosen(seen)


def test_the_candidate_with_the_least_log_loss_is_chosen_with_its_own_number_of_trees() -> None:
    found = chosen(sample(1.5))
    assert found.candidate == "mild"
    losses = {entry.name: entry.metrics["log_loss"] for entry in found.leaderboard}
    assert losses["mild"] < losses["wild"]
    assert losses["mild"] < losses["prior"]


def test_whoever_is_tried_first_the_same_one_wins() -> None:
    seen = sample(1.5)
    one, other = selected(seen, wild=WILD, mild=MILD), selected(seen, mild=MILD, wild=WILD)
    assert (one.candidate, one.settings, one.calibration) == (
        other.candidate,
        other.settings,
        other.calibration,
    )
    assert sorted(map(repr, one.leaderboard)) == sorted(map(repr, other.leaderboard))


def test_what_is_kept_is_fitted_on_no_fold_again() -> None:
    """In a retraining, only the rows are new: candidate, settings and calibration are kept."""
    before = chosen(sample(1.5))
    assert select(sample(2.0), {"wild": WILD, "mild": MILD}, before) is before


def test_what_is_kept_is_calibrated_anew_where_candidate_features_or_code_have_changed() -> None:
    before, seen = chosen(sample(1.5)), sample(1.5)
    slower = with_settings(MILD, {"learning_rate": 0.05})
    renamed = replace(seen, names=tuple(f"{name} of now" for name in seen.names))
    for one, mild, code in ((seen, slower, ""), (renamed, MILD, ""), (seen, MILD, "another")):
        again = select(one, {"wild": WILD, "mild": mild}, before, code)
        assert (again.candidate, again.settings) == (before.candidate, before.settings)
        assert [entry.name for entry in again.leaderboard if entry.kind == "candidate"] == ["mild"]
        assert again.made_of != before.made_of
    assert isinstance(again.calibration, Calibration)
    assert isinstance(before.calibration, Calibration)
    assert again.calibration.slope == pytest.approx(before.calibration.slope, abs=1e-6)


def test_the_leaderboard_has_all_that_was_tried_and_one_choice() -> None:
    found = chosen(sample(1.5))
    assert [(entry.name, entry.kind, entry.chosen) for entry in found.leaderboard] == [
        *((name, "baseline", False) for name in CONTRACT.baselines),
        ("wild", "candidate", False),
        ("mild", "candidate", True),
    ]


def test_a_line_of_the_leaderboard_has_the_scores_and_marks_the_choice() -> None:
    metrics = {"log_loss": 0.51234, "roc_auc": 0.7, "savings_share": 0.25}
    assert LeaderboardRow("mine", "candidate", metrics, chosen=True).line == (
        "* mine: log loss 0.5123, savings share 0.25"
    )
    assert LeaderboardRow("prior", "baseline", {"rmse": 12.0, "savings_share": 0.0}).line == (
        "  prior: rmse 12, savings share 0"
    )


def test_noise_needs_few_trees_and_too_sure_ones_are_flattened() -> None:
    noise = selected(sample(0.0), wild=WILD)
    assert noise.settings == {"max_iter": TREES_STEP}
    assert isinstance(noise.calibration, Calibration)
    assert 0 < noise.calibration.slope < 0.9
    signal = selected(sample(3.0), mild=MILD)
    assert signal.settings.get("max_iter", 60) > TREES_STEP


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_models_that_stop_early_choose_their_number_of_trees_themselves(task: str) -> None:
    early = boosting(task, max_iter=60, learning_rate=0.3, early_stopping=True, n_iter_no_change=10)
    seen = replace(sample(1.5), contract=synthetic_problem(task).contract)
    if task == "regression":
        seen = replace(seen, label=10 * seen.features[:, 0] + seen.label)
    assert select(seen, {"early": early}).settings == {}


def test_where_models_stop_early_on_some_folds_only_all_trees_count() -> None:
    label = np.array([1, 0, 1, 1])
    found = selection._best_count("mild", MILD, [staged(2.0), staged(3.0, 0.1)], [label, label], TRAINER)
    assert found.settings == {}
    assert [margins[0] for margins in found.margins] == [2.0, 0.1]


def staged(*slopes: float) -> list[Floats]:
    """Return margins after each stage: the right sign for every label, with the given confidence."""
    signs = np.array([1.0, -1.0, 1.0, 1.0])
    return [slope * signs for slope in slopes]


@pytest.mark.parametrize(
    ("slopes", "settings"),
    [
        ((0.1, 2.0, 1.0), {"max_iter": 2 * TREES_STEP}),
        ((3.0, 2.0, 1.0), {"max_iter": TREES_STEP}),
        ((0.1, 0.2, 3.0), {}),  # all trees: the candidate's own setting stays
    ],
)
def test_the_number_of_trees_is_that_of_the_best_stage(
    slopes: tuple[float, ...], settings: dict[str, int]
) -> None:
    label = np.array([1, 0, 1, 1])
    found = selection._best_count("mild", MILD, [staged(*slopes), staged(*slopes)], [label, label], TRAINER)
    assert found.settings == settings
    best = max(slopes)
    expected = -np.log(Calibration().forecast(np.array([best]))[0])
    assert found.loss == pytest.approx(expected)
    assert all(np.array_equal(margin, staged(best)[0]) for margin in found.margins)


def test_the_mean_over_folds_decides_and_not_one_fold() -> None:
    label = np.array([1, 0, 1, 1])
    found = selection._best_count("mild", MILD, [staged(1.0, 1.1), staged(3.0, 0.1)], [label, label], TRAINER)
    assert found.settings == {"max_iter": TREES_STEP}

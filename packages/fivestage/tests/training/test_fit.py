from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fivestage.artifact.calibration import Calibration
from fivestage.artifact.scorer import Scorer
from fivestage.common.columns import Floats, Ints
from fivestage.features.offline import feature_matrix, learn_categories
from fivestage.training.conversion import LIGHTGBM_ZERO, trees_of
from fivestage.training.estimators import Estimator, fit_classifier, fit_regressor
from fivestage.training.task_trainer import a_few_trees, trainer_of
from tests.synthetic import boosting, synthetic_problem

TRAINER = trainer_of(synthetic_problem("binary").contract)
SETTINGS = {"learning_rate": 0.2, "max_leaf_nodes": 8, "max_iter": 30, "min_samples_leaf": 10}
SMALL = boosting("binary", **SETTINGS)


def scorer_of(model: Estimator, calibration: Calibration) -> Scorer:
    trees = trees_of([model])
    assert trees is not None
    return Scorer(trees, calibration)


def problem(rows: int = 800, seed: int = 0) -> tuple[Floats, Ints]:
    """Draw a label that depends on the first feature and on the absence of the second; the third is noise."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, 3))
    absent = random.random(rows) < 0.3
    features[absent, 1] = np.nan
    probability = 1 / (1 + np.exp(-(2 * features[:, 0] + 1.5 * absent - 1)))
    return features, (random.random(rows) < probability).astype(np.int64)


def test_text_is_numbered_by_how_frequent_it_is() -> None:
    seen = pd.DataFrame({"text": ["b", "a", "a", None, "c", "c", "c"], "number": np.arange(7.0)})
    assert learn_categories(seen, np.arange(7)) == {"text": {"c": 0.0, "a": 1.0, "b": 2.0}}


def test_what_training_never_saw_is_missing() -> None:
    rows_to_score = pd.DataFrame({"number": [5.0, np.nan], "text": ["new", "b"]})
    found = feature_matrix(rows_to_score, {"text": {"a": 0.0, "b": 1.0}})
    assert np.array_equal(found, [[5, np.nan], [np.nan, 1]], equal_nan=True)


def test_the_same_rows_grow_the_same_trees() -> None:
    features, label = problem()
    first, again, opposite = (
        trees_of([fit_classifier(SMALL, features, truth)]) for truth in (label, label, 1 - label)
    )
    assert first
    assert again
    assert opposite
    assert np.array_equal(first.value, again.value)
    assert np.array_equal(first.threshold, again.threshold)
    assert not np.array_equal(first.value, opposite.value)


def test_trees_are_as_many_as_asked_for() -> None:
    features, label = problem()
    model = fit_classifier(SMALL, features, label)
    assert model.n_iter_ == SMALL.max_iter
    assert max(tree[0].get_n_leaf_nodes() for tree in model._predictors) <= SMALL.max_leaf_nodes


@pytest.mark.parametrize("slope", [0.4, 1.0, 1.7])
def test_temperature_scaling_recovers_a_known_slope(slope: float) -> None:
    random = np.random.default_rng(0)
    margin = random.normal(scale=2, size=40_000)
    label = (random.random(margin.size) < 1 / (1 + np.exp(-slope * margin))).astype(np.int64)
    found = TRAINER.calibrate(margin, label)
    assert isinstance(found, Calibration)
    assert found.slope == pytest.approx(slope, rel=0.04)


def test_calibration_has_no_offset_and_keeps_the_order() -> None:
    random = np.random.default_rng(1)
    margin = np.sort(random.normal(size=2000))
    found = TRAINER.calibrate(margin, (random.random(2000) < 0.9 / (1 + np.exp(-margin))).astype(np.int64))
    assert found.forecast(np.zeros(1)) == 0.5
    assert (np.diff(found.forecast(margin)) >= 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 0.9), st.floats(0.3, 3))
def test_converted_trees_answer_as_scikit_learns_do(seed: int, missing: float, slope: float) -> None:
    features, label = problem(400, seed)
    random = np.random.default_rng(seed)
    trees = fit_classifier(SMALL, features, label)
    rows_to_score = np.vstack([features, random.normal(scale=5, size=(200, 3)), np.full((1, 3), np.nan)])
    rows_to_score[random.random(rows_to_score.shape) < missing] = np.nan
    calibration = Calibration(slope)
    expected = calibration.forecast(trees.decision_function(rows_to_score))
    converted = scorer_of(trees, calibration)
    assert np.abs(converted.forecast(rows_to_score) - expected).max() < 1e-9
    assert converted.forecast_one(rows_to_score[0].tolist()) == pytest.approx(expected[0], abs=1e-9)


def test_a_missing_value_is_no_zero() -> None:
    features, label = problem()
    scorer = scorer_of(fit_classifier(SMALL, features, label), Calibration())
    present, absent = np.zeros((1, 3)), np.array([[0, np.nan, 0]])
    assert scorer.forecast(absent)[0] > scorer.forecast(present)[0] + 0.1


def test_a_column_without_a_value_so_far_is_no_hindrance() -> None:
    """A column may be recorded only from some year on; no tree splits on it, whatever its later values."""
    features = np.random.default_rng(0).normal(size=(400, 2))
    features[:, 1] = np.nan
    label = (features[:, 0] > 0).astype(np.int64)
    number = boosting("regression", **SETTINGS)
    for model in (
        fit_classifier(SMALL, features, label),
        fit_regressor(number, features, features[:, 0]),
    ):
        later = features.copy()
        later[:, 1] = np.linspace(-9, 9, 400)
        np.testing.assert_array_equal(model.predict(features), model.predict(later))


def test_a_few_trees_learn_only_the_rows_they_are_given() -> None:
    features, label = problem()
    train, later = np.arange(500), np.arange(500, 800)
    found = a_few_trees(TRAINER)(features, label, train, later)
    spoiled = label.copy()
    spoiled[later] = 1 - spoiled[later]
    assert np.array_equal(a_few_trees(TRAINER)(features, spoiled, train, later), found)
    assert found[label[later] == 1].mean() > found[label[later] == 0].mean() + 0.2


def test_lightgbm_takes_for_zero_what_it_rounds_to_it() -> None:
    """A split between negative numbers and zero lies at -1e-35, which LightGBM itself rounds to zero."""
    library: Any = pytest.importorskip("lightgbm")
    model = library.LGBMRegressor(n_estimators=3, num_leaves=3, min_child_samples=5, verbose=-1)
    features = np.repeat([-1.0, 0.0, 1.0], 60)[:, None]
    model.fit(features, np.repeat([5.0, 1.0, 2.0], 60))
    rows = np.array([[-LIGHTGBM_ZERO], [-2 * LIGHTGBM_ZERO], [0.0], [LIGHTGBM_ZERO], [-1.0], [1.0]])
    assert np.array_equal(scorer_of(model, Calibration()).margins(rows), model.predict(rows))

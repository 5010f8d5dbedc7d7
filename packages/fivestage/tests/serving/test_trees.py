"""The compiled trees answer as treelite and scikit-learn do, on splits, gaps and unseen categories."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import treelite
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)

from fivestage.artifact import compiled_trees, scorer
from fivestage.artifact.calibration import Calibration
from fivestage.artifact.compiled_trees import CompiledTrees
from fivestage.artifact.scorer import Parity, Scorer
from fivestage.artifact.trees import Trees, probes
from fivestage.common import native
from fivestage.common.columns import Floats
from fivestage.common.errors import UserError
from fivestage.training.treelite_trees import trees_from


def trained(leaves: int, seed: int = 0, rows: int = 3000) -> HistGradientBoostingClassifier:
    random = np.random.default_rng(seed)
    table = random.normal(size=(rows, 6))
    table[:, 0] = random.integers(0, 40, rows)
    table[:, 1] = random.integers(0, 5, rows)
    table[:, 2] = np.rint(table[:, 2])
    table[random.random(table.shape) < 0.1] = np.nan
    label = (
        (np.nan_to_num(table[:, 0]) % 3 == 0)
        ^ (np.nan_to_num(table[:, 3]) > 0.3)
        ^ (random.random(rows) < 0.2)
    )
    trees = HistGradientBoostingClassifier(
        max_iter=20, max_leaf_nodes=leaves, min_samples_leaf=5, categorical_features=[0, 1]
    )
    return trees.fit(table, label)


def ensemble(trees: object) -> Trees:
    return trees_from([treelite.sklearn.import_model(trees)])


def rows_for(trees: object, rows: int = 128) -> Floats:
    return probes(ensemble(trees), rows)


def scorer_of(trees: object) -> Scorer:
    return Scorer(ensemble(trees), Calibration())


def test_one_row_and_a_table_get_the_same_forecast_to_the_last_bit() -> None:
    scorer = scorer_of(trained(31))
    rows = rows_for(trained(31), 2000)
    assert scorer.forecast(rows).tolist() == [scorer.forecast_one(row) for row in rows.tolist()]


def test_a_score_beyond_all_others_has_a_probability() -> None:
    """The exponential overflowed."""
    assert [Calibration(1.0).forecast_one(margin) for margin in (-1000.0, 1000.0)] == [0.0, 1.0]


@pytest.mark.parametrize("leaves", [2, 7, 31, 80, 300])
def test_compiled_trees_answer_as_scikit_learn_does(leaves: int) -> None:
    trees = trained(leaves)
    scorer = scorer_of(trees)
    assert scorer.why_slow == ""
    rows = rows_for(trees, 2000)
    expected = trees.predict_proba(rows)[:, 1]
    assert np.allclose(scorer.forecast(rows), expected, rtol=0, atol=1e-12)
    assert np.allclose([scorer.forecast_one(row) for row in rows.tolist()], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_leaves_of_a_forest_hold_a_probability_for_each_class(classes: int) -> None:
    random = np.random.default_rng(0)
    table, label = random.normal(size=(300, 4)).astype(np.float32), random.integers(0, classes, 300)
    forest = RandomForestClassifier(9, max_depth=4, random_state=0).fit(table, label)
    trees = ensemble(forest)
    code = native.library(compiled_trees.SOURCE, "margins")
    assert code is not None
    rows, expected = table.astype(float), forest.predict_proba(table)
    for found in (trees.margins(rows), CompiledTrees(trees, code).margins(rows)):
        assert np.allclose(found, expected, rtol=0, atol=1e-12)


def test_older_boosting_rounds_its_features() -> None:
    random = np.random.default_rng(0)
    table, label = random.normal(size=(300, 4)), random.integers(0, 2, 300)
    boosted = GradientBoostingClassifier(n_estimators=9, random_state=0).fit(table, label)
    scorer = scorer_of(boosted)
    assert np.allclose(
        scorer.forecast(table.astype(np.float32).astype(float)),
        boosted.predict_proba(table)[:, 1],
        atol=1e-6,
    )


def test_trees_that_disagree_are_refused() -> None:
    trees = trained(31)
    rows = rows_for(trees)
    parity = Parity(rows, trees.decision_function(rows))
    scorer_of(trees).require_parity(parity)
    wrong = ensemble(trees)
    wrong.value[wrong.is_leaf()] += 0.001
    with pytest.raises(UserError, match="scores differ from those of its original model"):
        Scorer(wrong, Calibration()).require_parity(parity)


@pytest.mark.parametrize("harm", ["left", "loop", "feature", "threshold", "roots", "ends"])
def test_arrays_that_would_lead_the_c_code_astray_are_refused(harm: str) -> None:
    sound = ensemble(trained(31))
    name = "left" if harm == "loop" else harm
    values = getattr(sound, name).copy()
    place = int(np.flatnonzero(sound.category)[-1]) if len(values) == len(sound.left) else -1
    values[place] = 0 if harm == "loop" else 10**6
    with pytest.raises(ValueError, match="not trees"):
        replace(sound, **{name: values})


def test_trees_cannot_be_held_against_nothing() -> None:
    with pytest.raises(UserError, match="lacks the original model"):
        scorer_of(trained(31)).require_parity(Parity(np.empty((0, 6)), np.empty(0)))


def test_without_a_compiler_python_code_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = scorer_of(trained(31))
    monkeypatch.setattr(scorer, "library", lambda *_: None)
    slow = scorer_of(trained(31))
    assert slow.why_slow
    rows = rows_for(trained(31))
    assert np.allclose(fast.forecast(rows), slow.forecast(rows), rtol=0, atol=1e-12)


def test_a_service_starts_without_the_libraries_of_training() -> None:
    slow = {"treelite", "scipy", "pandas", "sklearn"}
    code = f"import tests.serving.prediction_app, sys; print(*({slow} & set(sys.modules)))"
    library = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=library, check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == ""

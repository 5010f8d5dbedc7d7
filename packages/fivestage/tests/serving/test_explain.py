"""Explanations are the Shapley values of the trees, by their definition."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.shapley import Explainer
from fivestage.artifact.tree_tables import CATEGORY, LEAF, Tree, UnsupportedError, probes
from fivestage.common.columns import Floats
from tests.serving.conftest import Running, Traffic
from tests.serving.test_trees import ensemble, trained


def expected(tree: Tree, row: Floats, held: frozenset[int], at: int = 0) -> float:
    """The mean of a tree over the training rows, with some features held."""
    if tree.kind[at] == LEAF:
        return float(tree.value[at])
    left, right = int(tree.left[at]), int(tree.right[at])
    feature = int(tree.feature[at])
    if feature in held:
        value = row[feature]
        goes = value in tree.matched[at] if tree.kind[at] == CATEGORY else value <= tree.threshold[at]
        if np.isnan(value):
            goes = tree.missing_left[at]
        return expected(tree, row, held, left if goes else right)
    share = tree.cover[left] / tree.cover[at]
    return float(share * expected(tree, row, held, left) + (1 - share) * expected(tree, row, held, right))


def by_definition(trees: list[Tree], row: Floats) -> list[float]:
    features, found = len(row), []
    for feature in range(features):
        others, total = [other for other in range(features) if other != feature], 0.0
        for size in range(features):
            weight = math.factorial(size) * math.factorial(features - 1 - size) / math.factorial(features)
            for chosen in combinations(others, size):
                held = frozenset(chosen)
                for tree in trees:
                    total += weight * (expected(tree, row, held | {feature}) - expected(tree, row, held))
        found.append(total)
    return found


def test_contributions_are_shapley_values() -> None:
    model = ensemble(trained(15))
    (output,) = model.outputs
    trees, base = output.trees, output.base
    explainer = Explainer(output, model.features)
    average = sum(expected(tree, np.zeros(6), frozenset()) for tree in trees)
    assert explainer.base == pytest.approx(base + average)
    rows = probes(model, 6)
    for row in rows:
        assert np.allclose(explainer.contributions(row), by_definition(trees, row), rtol=0, atol=1e-9)


def test_contributions_sum_to_the_margin() -> None:
    trees = trained(31)
    model = ensemble(trees)
    explainer, rows = Explainer(model.outputs[0], model.features), probes(model, 200)
    margins = trees.decision_function(rows)
    found = [explainer.base + explainer.contributions(row).sum() for row in rows]
    assert np.allclose(found, margins, rtol=0, atol=1e-9)


def test_reasons_on_request_add_up_to_the_probability(
    live: Running, artifact: Artifact, traffic: Traffic
) -> None:
    rows = [traffic.request(place) for place in range(3)]
    plain = live.client.post("/predict", json={"rows": rows}).json()["predictions"]
    told = live.client.post("/predict?explain=true", json={"rows": rows}).json()["predictions"]
    for one, other in zip(plain, told, strict=True):
        reasons = other.pop("reasons")
        assert one == other
        strongest = [reason["log_odds"] for reason in reasons["strongest"]]
        assert sorted(strongest, key=abs, reverse=True) == strongest
        assert {reason["feature"] for reason in reasons["strongest"]} <= set(artifact.features)
        odds = reasons["average"] + sum(strongest) + reasons["rest"]
        assert 1 / (1 + math.exp(-odds)) == pytest.approx(one["probability"], abs=1e-9)


def test_what_cannot_be_explained_is_refused(live: Running, traffic: Traffic) -> None:
    rows = [traffic.request(0)] * 11
    assert live.client.post("/predict?explain=true", json={"rows": rows}).status_code == 422
    assert live.client.post("/predict?explain=perhaps", json=rows[0]).status_code == 422


def test_a_model_without_counts_says_so() -> None:
    model = ensemble(trained(7))
    (output,) = model.outputs
    bare = [replace(tree, cover=np.full(len(tree.kind), np.nan)) for tree in output.trees]
    with pytest.raises(UnsupportedError, match="counts"):
        Explainer(replace(output, trees=bare), model.features)

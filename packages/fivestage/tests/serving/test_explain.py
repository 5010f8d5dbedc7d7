"""Explanations are the Shapley values of the trees, by their definition."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.shapley import Explainer
from fivestage.artifact.trees import Trees, UnsupportedError
from fivestage.common.columns import Floats
from tests.serving.conftest import Running, Traffic
from tests.serving.test_trees import ensemble, rows_for, trained


def expected(trees: Trees, row: Floats, held: frozenset[int], at: int) -> float:
    """The mean of a tree over the training rows, with some features held."""
    left = int(trees.left[at])
    if left == at:
        return float(trees.value[at, 0])
    feature = int(trees.feature[at])
    if feature in held:
        value = row[feature]
        if np.isnan(value):
            goes = trees.missing_left[at]
        elif trees.category[at]:
            goes = int(value) in np.flatnonzero(trees.matched[int(trees.threshold[at])])
        else:
            goes = value <= trees.threshold[at]
        return expected(trees, row, held, left + (not goes))
    share = trees.cover[left] / trees.cover[at]
    return float(
        share * expected(trees, row, held, left) + (1 - share) * expected(trees, row, held, left + 1)
    )


def by_definition(trees: Trees, row: Floats) -> list[float]:
    features, found = len(row), []
    for feature in range(features):
        others, total = [other for other in range(features) if other != feature], 0.0
        for size in range(features):
            weight = math.factorial(size) * math.factorial(features - 1 - size) / math.factorial(features)
            for chosen in combinations(others, size):
                held = frozenset(chosen)
                for root in trees.roots.tolist():
                    gained = expected(trees, row, held | {feature}, root) - expected(trees, row, held, root)
                    total += weight * gained
        found.append(total)
    return found


def test_contributions_are_shapley_values() -> None:
    fitted = trained(15)
    trees, explainer = ensemble(fitted), Explainer(ensemble(fitted), 0)
    average = sum(expected(trees, np.zeros(6), frozenset(), root) for root in trees.roots.tolist())
    assert explainer.base == pytest.approx(trees.bases[0, 0] + average)
    for row in rows_for(fitted, 6):
        assert np.allclose(explainer.contributions(row), by_definition(trees, row), rtol=0, atol=1e-9)


def test_contributions_sum_to_the_margin() -> None:
    fitted = trained(31)
    explainer, rows = Explainer(ensemble(fitted), 0), rows_for(fitted, 200)
    margins = fitted.decision_function(rows)
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
    trees = ensemble(trained(7))
    with pytest.raises(UnsupportedError, match="counts"):
        Explainer(replace(trees, cover=np.full(len(trees.cover), np.nan)), 0)

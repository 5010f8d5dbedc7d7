"""Scores of several classes and of numbers: as scikit-learn has them, and in money by hand."""

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st

from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import Contract
from fivestage.contract.cost_model import DECISION, HIGH, LOW, VALUE, cost_model_of
from fivestage.evaluation.metrics import Answers, evaluate, sample_of, scores
from fivestage.monitoring.performance import Performance, estimate, judge
from tests.contract.contracts import contract_of

CLASSES = 5


def classes(seed: int, size: int = 300) -> tuple[Ints, Floats, Ints]:
    """Labels drawn from their probabilities, and days."""
    draw = np.random.default_rng(seed)
    chance = draw.dirichlet(np.ones(CLASSES), size)
    label = np.array([draw.choice(CLASSES, p=row) for row in chance])
    label[:CLASSES] = np.arange(CLASSES)
    return label, chance, draw.integers(7, size=size)


def numbers(seed: int, size: int = 700, off: float = 0.0, wide: float = 1.0) -> tuple[Floats, Floats, Ints]:
    """Labels around known means, forecasts with the true 80% interval (`wide` times it), and days."""
    draw = np.random.default_rng(seed)
    mean, scale = draw.normal(20, 10, size), draw.uniform(1, 9, size)
    forecast = np.empty((size, 4))
    forecast[:, VALUE] = mean + off
    forecast[:, LOW], forecast[:, HIGH] = mean - 1.2816 * wide * scale, mean + 1.2816 * wide * scale
    forecast[:, DECISION] = mean + 0.6745 * scale
    return draw.normal(mean, scale), forecast, draw.integers(7, size=size)


@pytest.fixture(scope="module")
def multiclass() -> Contract:
    return contract_of("multiclass")


@pytest.fixture(scope="module")
def regression() -> Contract:
    return contract_of("regression")


@given(seed=st.integers(0, 1000))
def test_scores_of_classes_equal_those_of_scikit_learn(seed: int) -> None:
    contract = contract_of("multiclass")
    label, chance, day = classes(seed, 60)
    sample = sample_of(label, chance, day, contract.costs, None)
    for weight in (np.ones(sample.days), *sample.resamples(2)):
        of_row = weight[sample.of_day]
        got = {name: values[0] for name, values in sample.scores(weight[None]).items()}
        came = np.unique(label)  # of the others nobody can say how well they are ranked
        if set(came) != set(label[of_row > 0]):
            assert np.isnan(got["roc_auc"])
            continue
        area = sk.roc_auc_score(np.eye(CLASSES)[label][:, came], chance[:, came], sample_weight=of_row)
        assert got["roc_auc"] == pytest.approx(area)
        assert got["log_loss"] == pytest.approx(sk.log_loss(label, chance, sample_weight=of_row))
        accuracy = sk.accuracy_score(label, chance.argmax(axis=1), sample_weight=of_row)
        assert got["accuracy"] == pytest.approx(accuracy)


def test_money_of_classes_by_hand(multiclass: Contract) -> None:
    label, sure = np.array([0, 4]), np.eye(CLASSES)[[0, 0]]
    got = scores(label, sure, multiclass.costs)
    assert got["cost_per_1000"] == (0 + 400) / 2 * 1000
    assert got["savings_share"] == pytest.approx((140 - 400) / (140 - 80))  # rebooking both costs 60 + 80


def test_probabilities_in_place_of_labels_give_expected_scores(multiclass: Contract) -> None:
    _, chance, _ = classes(1, 4000)
    draw = np.random.default_rng(2)
    expected = scores(chance, chance, multiclass.costs)
    drawn = [
        scores((draw.random((4000, 1)) > chance.cumsum(axis=1)).sum(axis=1), chance, multiclass.costs)
        for _ in range(20)
    ]
    for name in ("log_loss", "cost_per_1000", "roc_auc", "accuracy", "brier"):
        assert expected[name] == pytest.approx(np.mean([one[name] for one in drawn]), rel=0.02), name


@given(seed=st.integers(0, 1000))
def test_scores_of_numbers_equal_those_of_scikit_learn(seed: int) -> None:
    contract = contract_of("regression")
    label, forecast, day = numbers(seed, 80)
    sample = sample_of(label, forecast, day, contract.costs, None)
    for weight in (np.ones(sample.days), *sample.resamples(2)):
        of_row = weight[sample.of_day]
        got = {name: values[0] for name, values in sample.scores(weight[None]).items()}
        asked = {"y_true": label, "y_pred": forecast[:, VALUE], "sample_weight": of_row}
        assert got["mae"] == pytest.approx(sk.mean_absolute_error(**asked))
        assert got["rmse"] == pytest.approx(sk.root_mean_squared_error(**asked))
        assert got["r2"] == pytest.approx(sk.r2_score(**asked))
        pinball = sk.mean_pinball_loss(label, forecast[:, DECISION], alpha=0.75, sample_weight=of_row)
        assert got["cost_per_1000"] == pytest.approx(4 * pinball * 1000)  # over 1, under 3


def test_true_intervals_hold_their_share(regression: Contract) -> None:
    label, forecast, day = numbers(3, 20_000)
    found = evaluate(label, forecast, day, regression.costs)
    assert found["coverage"].value == pytest.approx(0.8, abs=0.02)
    low, high = found["coverage"].low, found["coverage"].high
    assert low < found["coverage"].value < high


@pytest.mark.parametrize(
    ("zeros", "wide", "faulty"), [(0.5, 1.0, False), (0.5, 0.4, True), (0.0, 2.5, True), (0.0, 1.0, False)]
)
def test_where_many_numbers_are_zero_true_intervals_are_no_fault(
    regression: Contract, zeros: float, wide: float, *, faulty: bool
) -> None:
    """They hold more than their share whatever they do, as their lower end is the zero itself, or nearly."""
    label, forecast, day = numbers(3, 20_000, wide=wide)
    idle = np.arange(label.size) < zeros * label.size
    label[idle], forecast[idle, VALUE], forecast[idle, LOW] = 0, 0.001, -0.004
    forecast[idle, HIGH] = 5
    found = judged(regression, label, forecast, day)
    assert found.scored is not None
    assert (found.scored["coverage"].value > 0.85) == (zeros * wide == 0.5 or wide > 1)
    assert ("coverage of the intervals" in found.sentence) == faulty


def test_intervals_of_numbers_with_a_long_tail_may_not_hold_too_much_either(regression: Contract) -> None:
    draw = np.random.default_rng(0)
    label, day = draw.lognormal(0, 3, 5_000), np.arange(5_000) % 7
    forecast = np.tile(np.quantile(label, [0.5, 0.005, 0.995, 0.75]), (5_000, 1))
    assert "ends excluded" in judged(regression, label, forecast, day).sentence


def judged(contract: Contract, label: Any, forecast: Floats, day: Ints) -> Performance:
    money = cost_model_of(contract.costs)
    answers = Answers(forecast, money.decide(forecast), expected_cost=np.full(len(label), 5.0))
    return judge(label, np.ones(len(label), dtype=bool), answers, day, label, contract)


def test_a_period_of_right_forecasts_is_good(multiclass: Contract, regression: Contract) -> None:
    for contract, rows in ((multiclass, classes(4, 3000)), (regression, numbers(4, 3000))):
        found = judged(contract, *rows)
        assert not found.bad, found.sentence
        assert found.judged[-1].beyond_chance == 0  # it loses nothing against one decision for all


def test_numbers_that_are_off_are_bad_and_so_are_narrow_intervals(regression: Contract) -> None:
    off = judged(regression, *numbers(5, 3000, off=9))
    assert off.bad
    assert "minutes off the outcomes" in off.sentence
    narrow = judged(regression, *numbers(5, 3000, wide=0.5))
    assert narrow.bad
    assert "coverage of the intervals" in narrow.sentence


def test_a_class_that_comes_more_often_than_told_is_bad(multiclass: Contract) -> None:
    label, chance, day = classes(6, 3000)
    skewed = chance * np.array([4, 1, 1, 1, 1])
    found = judged(multiclass, label, skewed / skewed.sum(axis=1, keepdims=True), day)
    assert found.bad
    assert "off the rate" in found.sentence


def test_before_labels_numbers_have_what_their_intervals_promise(regression: Contract) -> None:
    _, forecast, day = numbers(7)
    answers = Answers(forecast, forecast[:, DECISION], np.full(len(forecast), 4.0))
    assert estimate(answers, day, regression)["cost_per_1000"].value == 4000


def test_what_does_not_pair_up_is_refused(multiclass: Contract, regression: Contract) -> None:
    with pytest.raises(ValueError, match="do not match"):
        scores(np.zeros(3), np.zeros((2, CLASSES)), multiclass.costs)
    with pytest.raises(ValueError, match="not one of the 5 classes"):
        scores(np.array([0, 5]), np.full((2, CLASSES), 0.2), multiclass.costs)
    with pytest.raises(ValueError, match="do not match"):
        scores(np.zeros(3), np.zeros((3, 2)), regression.costs)
    with pytest.raises(ValueError, match="not a finite number"):
        scores(np.array([np.nan]), np.zeros((1, 4)), regression.costs)

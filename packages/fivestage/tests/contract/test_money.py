"""Decisions are the cheapest that the forecasts allow, for random costs and forecasts of every task."""

import numpy as np
from hypothesis import given, reject
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from fivestage.common.columns import Floats
from fivestage.contract.cost_model import (
    DECISION,
    BinaryCostModel,
    MulticlassCostModel,
    RegressionCostModel,
    cost_model_of,
)
from fivestage.contract.tasks import BinaryCosts, MulticlassCosts, RegressionCosts

PRICE = st.integers(0, 100).map(float)
TWO = st.lists(PRICE, min_size=2, max_size=2, unique=True).map(sorted)  # the smaller one first
CHANCE = st.floats(0, 1)


@given(TWO, TWO, arrays(float, 20, elements=CHANCE))
def test_acting_or_waiting_costs_no_more_than_the_other(
    positive: list[float], negative: list[float], chance: Floats
) -> None:
    (a, c), (d, b) = positive, negative
    costs = BinaryCosts(currency="EUR", act_positive=a, act_negative=b, wait_positive=c, wait_negative=d)
    money = cost_model_of(costs)
    chosen = money.price(chance, money.decide(chance))
    for act in (True, False):
        assert (chosen <= money.price(chance, np.full(chance.size, act)) + 1e-9).all()


@given(arrays(float, (3, 4), elements=PRICE), arrays(float, (20, 4), elements=st.floats(0.01, 1)))
def test_no_other_action_is_expected_to_cost_less(prices: Floats, weight: Floats) -> None:
    named = {f"a{i}": dict(zip("wxyz", row.tolist(), strict=True)) for i, row in enumerate(prices)}
    try:
        money = cost_model_of(MulticlassCosts(currency="EUR", actions=named))
    except ValidationError:
        reject()
    chance = weight / weight.sum(axis=1, keepdims=True)
    chosen = money.price(chance, money.decide(chance))
    for action in range(3):
        assert (chosen <= money.price(chance, np.full(20, action)) + 1e-9).all()
    truth = weight.argmax(axis=1)
    sure = np.eye(4)[truth]
    assert np.allclose(money.price(sure, money.decide(sure)), money.oracle_cost(truth))
    assert np.allclose(money.price(truth, money.decide(sure)), money.oracle_cost(truth))
    assert money.best_constant_decision(truth) == money.best_constant_decision(sure)


@given(arrays(float, 30, elements=st.floats(-50, 50)), st.floats(0.1, 10), st.floats(0.1, 10), st.data())
def test_the_quantile_of_the_costs_is_the_cheapest_number_for_all(
    came: Floats, over: float, under: float, data: st.DataObject
) -> None:
    money = cost_model_of(RegressionCosts(currency="EUR", over=over, under=under))
    best = money.price(came, np.full(30, money.best_constant_decision(came))).sum()
    other = data.draw(st.floats(-60, 60))
    assert best <= money.price(came, np.full(30, other)).sum() + 1e-6
    assert not money.oracle_cost(came).any()


def test_a_unit_too_much_and_a_unit_too_little_have_their_prices() -> None:
    money = cost_model_of(RegressionCosts(currency="EUR", over=1, under=3))
    forecast = np.zeros((2, 4))
    forecast[:, DECISION] = 10
    assert money.decide(forecast).tolist() == [10, 10]
    assert money.price(np.array([8.0, 12.0]), money.decide(forecast)).tolist() == [2, 6]


@given(st.integers(0, 10_000))
def test_one_row_is_decided_as_many_are(seed: int) -> None:
    draw = np.random.default_rng(seed)
    binary = BinaryCostModel(
        BinaryCosts(currency="EUR", act_positive=450, act_negative=150, wait_positive=750, wait_negative=0)
    )
    chance = np.append(draw.random(20), binary.threshold)
    assert [binary.decide_one(one) for one in chance.tolist()] == binary.decide(chance).tolist()
    table = (draw.random((3, 3)) + 2 * (1 - np.eye(3))).tolist()  # each is cheapest for a class
    prices = {f"a{place}": dict(zip("xyz", row, strict=True)) for place, row in enumerate(table)}
    classes = MulticlassCostModel(MulticlassCosts(currency="EUR", actions=prices))
    chances = draw.dirichlet(np.ones(3), 20)
    assert [classes.decide_one(one) for one in chances.tolist()] == classes.decide(chances).tolist()
    number = RegressionCostModel(RegressionCosts(currency="EUR", over=1, under=draw.uniform(0.2, 5)))
    came, times = np.sort(draw.normal(size=20)), draw.integers(0, 4, 20).astype(float)
    times[0] = 1
    assert number.best_constant_decision_of_sorted(came, times) == number.best_constant_decision(
        np.repeat(came, times.astype(int))
    )

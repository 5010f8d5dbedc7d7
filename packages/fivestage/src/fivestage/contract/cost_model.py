"""From forecasts to decisions, and what those cost: the same for training, service and monitoring.

A forecast is, for each row: of `binary` its probability; of `multiclass` one probability a class (rows x
classes); of `regression` the expected value, the interval's low and high, and the decision (rows x 4). A
decision is whether to act, the place of an action among the contract's, or a number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fivestage.common.columns import Floats
from fivestage.contract.tasks import BinaryCosts, Costs, MulticlassCosts, RegressionCosts

Column = np.typing.NDArray[Any]
VALUE, LOW, HIGH, DECISION = range(4)  # of a number's forecast
CHANCES, CLASSES = 1, 2  # dimensions of labels, and of probabilities in their place


@dataclass(frozen=True)
class BinaryCostModel:
    """Act from the threshold on."""

    costs: BinaryCosts

    @cached_property
    def threshold(self) -> float:
        return self.costs.threshold

    def decide(self, forecast: Floats) -> Column:
        """The cheapest decision for each row, if the forecasts are right."""
        return np.asarray(forecast >= self.threshold)

    def decide_one(self, chance: float) -> bool:
        """The same for one row, without an array: the service decides a request a row."""
        return chance >= self.threshold

    def price(self, truth: Column, decision: Column) -> Floats:
        """What each row's decision costs; with probabilities for truths, what it may be expected to."""
        positive = np.asarray(truth, dtype=np.float64)
        acting = positive * self.costs.act_positive + (1 - positive) * self.costs.act_negative
        waiting = positive * self.costs.wait_positive + (1 - positive) * self.costs.wait_negative
        return np.where(np.asarray(decision, dtype=bool), acting, waiting)

    def best_constant_decision(self, truth: Column) -> Any:
        """The decision that would be cheapest if it were the same for all of these rows."""
        return truth.mean() >= self.threshold

    def oracle_cost(self, truth: Column) -> Floats:
        """What each row would cost if the truth were known beforehand."""
        positive = np.asarray(truth, dtype=np.float64)
        return positive * self.costs.act_positive + (1 - positive) * self.costs.wait_negative


@dataclass(frozen=True)
class MulticlassCostModel:
    """Take the action of the least expected cost; of equal ones, the first."""

    costs: MulticlassCosts

    @cached_property
    def prices(self) -> list[list[float]]:
        """Money, actions x classes."""
        return [list(prices.values()) for prices in self.costs.actions.values()]

    @cached_property
    def matrix(self) -> Floats:
        """The same as an array."""
        return np.array(self.prices)

    def decide(self, forecast: Floats) -> Column:
        return np.asarray(np.argmin(forecast @ self.matrix.T, axis=1))

    def decide_one(self, chances: Sequence[float]) -> int:
        """The same for one row, without an array: the service decides a request a row."""
        costs = [
            sum(chance * price for chance, price in zip(chances, prices, strict=True))
            for prices in self.prices
        ]
        return costs.index(min(costs))

    def price(self, truth: Column, decision: Column) -> Floats:
        chosen = self.matrix[np.broadcast_to(decision, len(truth))]
        if truth.ndim == CLASSES:
            return np.asarray((truth * chosen).sum(axis=1), dtype=np.float64)
        return np.asarray(chosen[np.arange(len(truth)), truth], dtype=np.float64)

    def best_constant_decision(self, truth: Column) -> Any:
        shares = truth.mean(axis=0) if truth.ndim == CLASSES else self._shares(truth)
        return np.argmin(self.matrix @ shares)

    def oracle_cost(self, truth: Column) -> Floats:
        best = self.matrix.min(axis=0)
        return np.asarray(truth @ best if truth.ndim == CLASSES else best[truth], dtype=np.float64)

    def _shares(self, truth: Column) -> Floats:
        return np.bincount(truth, minlength=self.matrix.shape[1]) / len(truth)


@dataclass(frozen=True)
class RegressionCostModel:
    """Plan with the quantile at which a unit more and a unit less cost the same."""

    costs: RegressionCosts

    def decide(self, forecast: Floats) -> Column:
        return np.asarray(forecast[:, DECISION])

    def price(self, truth: Column, decision: Column) -> Floats:
        above = np.asarray(decision - truth, dtype=np.float64)
        return np.where(above >= 0, self.costs.over * above, -self.costs.under * above)

    def best_constant_decision(self, truth: Column) -> Any:
        return np.quantile(truth, self.costs.level, method="inverted_cdf")

    def best_constant_decision_of_sorted(self, truth: Floats, weight: Floats) -> float:
        """The same for rows in ascending order, each of which counts so many times."""
        below = np.cumsum(weight)
        place = int(np.searchsorted(below, self.costs.level * below[-1]))
        return float(truth[min(place, len(below) - 1)])

    def oracle_cost(self, truth: Column) -> Floats:
        return np.zeros(len(truth))


CostModel = BinaryCostModel | MulticlassCostModel | RegressionCostModel

_COST_MODELS: Mapping[type[Costs], Callable[[Any], CostModel]] = {
    BinaryCosts: BinaryCostModel,
    MulticlassCosts: MulticlassCostModel,
    RegressionCosts: RegressionCostModel,
}


def cost_model_of(costs: Costs) -> CostModel:
    """The money of these costs."""
    return _COST_MODELS[type(costs)](costs)

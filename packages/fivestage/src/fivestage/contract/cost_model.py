"""Turn forecasts into decisions, and decisions into costs; used by training, serving and monitoring.

A forecast is, for each row: of a `binary` problem the probability; of `multiclass` the probability of each
class (rows x classes); of `regression` the expected value, the interval's low and high, and the decision
(rows x 4). A decision is whether to act, the index of an action in the contract, or a number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fivestage.common.columns import Floats
from fivestage.contract.tasks import BinaryCosts, Costs, MulticlassCosts, RegressionCosts

Column = np.typing.NDArray[Any]
VALUE, LOW, HIGH, DECISION = range(4)  # columns of a regression's forecast
MATRIX = 2  # dimensions of a truth given as class probabilities (rows x classes), not as class indices


@dataclass(frozen=True)
class BinaryCostModel:
    """Act if the probability reaches the threshold."""

    costs: BinaryCosts

    @cached_property
    def threshold(self) -> float:
        return self.costs.threshold

    def decide(self, forecast: Floats) -> Column:
        """The decision with the least expected cost for each row."""
        return np.asarray(forecast >= self.threshold)

    def decide_one(self, probability: float) -> bool:
        """The decision for a single row, without the overhead of numpy."""
        return probability >= self.threshold

    def price(self, truth: Column, decision: Column) -> Floats:
        """Cost of each row's decision; expected cost where `truth` holds probabilities."""
        positive = np.asarray(truth, dtype=np.float64)
        acting = positive * self.costs.act_positive + (1 - positive) * self.costs.act_negative
        waiting = positive * self.costs.wait_positive + (1 - positive) * self.costs.wait_negative
        return np.where(np.asarray(decision, dtype=bool), acting, waiting)

    def best_constant_decision(self, truth: Column) -> Any:
        """The cheapest decision if it had to be the same for all rows."""
        return truth.mean() >= self.threshold

    def oracle_cost(self, truth: Column) -> Floats:
        """Cost of each row if the truth were known at the decision."""
        positive = np.asarray(truth, dtype=np.float64)
        return positive * self.costs.act_positive + (1 - positive) * self.costs.wait_negative


@dataclass(frozen=True)
class MulticlassCostModel:
    """Take the action with the least expected cost; of equally cheap ones, the first."""

    costs: MulticlassCosts

    @cached_property
    def prices(self) -> list[list[float]]:
        """Cost of each action for each class (actions x classes)."""
        return [list(prices.values()) for prices in self.costs.actions.values()]

    @cached_property
    def matrix(self) -> Floats:
        """The prices as an array."""
        return np.array(self.prices)

    def decide(self, forecast: Floats) -> Column:
        return np.asarray(np.argmin(forecast @ self.matrix.T, axis=1))

    def decide_one(self, probabilities: Sequence[float]) -> int:
        """The decision for a single row, without the overhead of numpy."""
        costs = [
            sum(probability * price for probability, price in zip(probabilities, prices, strict=True))
            for prices in self.prices
        ]
        return costs.index(min(costs))

    def price(self, truth: Column, decision: Column) -> Floats:
        chosen = self.matrix[np.broadcast_to(decision, len(truth))]
        if truth.ndim == MATRIX:
            return np.asarray((truth * chosen).sum(axis=1), dtype=np.float64)
        return np.asarray(chosen[np.arange(len(truth)), truth], dtype=np.float64)

    def best_constant_decision(self, truth: Column) -> Any:
        shares = truth.mean(axis=0) if truth.ndim == MATRIX else self._shares(truth)
        return np.argmin(self.matrix @ shares)

    def oracle_cost(self, truth: Column) -> Floats:
        best = self.matrix.min(axis=0)
        return np.asarray(truth @ best if truth.ndim == MATRIX else best[truth], dtype=np.float64)

    def _shares(self, truth: Column) -> Floats:
        return np.bincount(truth, minlength=self.matrix.shape[1]) / len(truth)


@dataclass(frozen=True)
class RegressionCostModel:
    """Plan with the quantile of the label at which the expected cost is least."""

    costs: RegressionCosts

    def decide(self, forecast: Floats) -> Column:
        return np.asarray(forecast[:, DECISION])

    def price(self, truth: Column, decision: Column) -> Floats:
        above = np.asarray(decision - truth, dtype=np.float64)
        return np.where(above >= 0, self.costs.over * above, -self.costs.under * above)

    def best_constant_decision(self, truth: Column) -> Any:
        return np.quantile(truth, self.costs.level, method="inverted_cdf")

    def best_constant_decision_of_sorted(self, truth: Floats, weight: Floats) -> float:
        """The best constant decision for truths in ascending order, each with a weight."""
        cumulative = np.cumsum(weight)
        index = int(np.searchsorted(cumulative, self.costs.level * cumulative[-1]))
        return float(truth[min(index, len(cumulative) - 1)])

    def oracle_cost(self, truth: Column) -> Floats:
        return np.zeros(len(truth))


CostModel = BinaryCostModel | MulticlassCostModel | RegressionCostModel

_COST_MODELS: Mapping[type[Costs], Callable[[Any], CostModel]] = {
    BinaryCosts: BinaryCostModel,
    MulticlassCosts: MulticlassCostModel,
    RegressionCosts: RegressionCostModel,
}


def cost_model_of(costs: Costs) -> CostModel:
    """The cost model for these costs."""
    return _COST_MODELS[type(costs)](costs)

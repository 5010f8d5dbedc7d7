"""Scores of forecast numbers; `fivestage.contract.cost_model` says which columns a forecast has."""

import numpy as np

from fivestage.contract.cost_model import DECISION, HIGH, LOW, VALUE, RegressionCostModel, cost_model_of
from fivestage.contract.tasks import RegressionCosts
from fivestage.evaluation.daily import DECISIONS, NAN, Column, DailySample, Floats

COLUMNS = DECISION + 1
OFTEN = 0.01  # of the rows: a number that comes so often can lie on the edge of many intervals
EDGE = 0.01  # of the label's standard deviation, around such a number


class RegressionDailySample(DailySample):
    """Expected values, intervals and decisions; `bias` and errors are in the label's unit.

    `coverage` is of closed intervals, `open_coverage` without the frequent numbers on their edges: a quantile
    has at most its share below it and at least that up to it, which differ where a number is frequent.
    """

    def __init__(
        self, label: Column, forecast: Column, day: Column, costs: RegressionCosts, decision: Column | None
    ) -> None:
        truth, told = np.asarray(label, dtype=np.float64), np.asarray(forecast, dtype=np.float64)
        if told.shape != (truth.size, COLUMNS) or truth.size == 0:
            raise ValueError(
                f"labels of shape {truth.shape} and forecasts of shape {told.shape} do not pair up"
            )
        if not (np.isfinite(truth).all() and np.isfinite(told).all()):
            raise ValueError("a label or a forecast is no finite number")
        super().__init__(day, truth.size)
        money = cost_model_of(costs)
        decision = money.decide(told) if decision is None else decision
        excess = told[:, VALUE] - truth
        _, place, times = np.unique(truth, return_inverse=True, return_counts=True)
        edge = np.where(times[place] >= OFTEN * truth.size, EDGE * truth.std(), 0)
        per_row = {
            "rows": np.ones(truth.size),
            "label": truth,
            "square": truth**2,
            "excess": excess,
            "absolute": np.abs(excess),
            "squared": excess**2,
            "covered": ((truth >= told[:, LOW]) & (truth <= told[:, HIGH])).astype(np.float64),
            "within": ((truth > told[:, LOW] + edge) & (truth < told[:, HIGH] - edge)).astype(np.float64),
            "width": told[:, HIGH] - told[:, LOW],
            "cost": money.price(truth, decision),
        }
        self.sums = {name: self.by_day(value) for name, value in per_row.items()}
        self._costs, order = costs, np.argsort(truth, kind="stable")
        self._ascending, self._day_of_ascending = truth[order], self.of_day[order]

    def scores(self, weight: Floats) -> dict[str, float]:
        total = {name: float(weight @ by_day) for name, by_day in self.sums.items()}
        rows = total["rows"]
        spread = total["square"] - total["label"] ** 2 / rows
        alone = self._alone(weight)
        return {
            "mae": total["absolute"] / rows,
            "rmse": (total["squared"] / rows) ** 0.5,
            "r2": 1 - total["squared"] / spread if spread > 0 else NAN,
            "bias": total["excess"] / rows,
            "coverage": total["covered"] / rows,
            "open_coverage": total["within"] / rows,
            "width": total["width"] / rows,
            "cost_per_1000": total["cost"] / rows * DECISIONS,
            "savings_share": (alone - total["cost"]) / alone if alone > 0 else NAN,
            "mean": total["label"] / rows,
            "rows": rows,
        }

    def _alone(self, weight: Floats) -> float:
        """What the one number would cost that is cheapest for all rows."""
        of_row = weight[self._day_of_ascending]
        money = RegressionCostModel(self._costs)
        best = np.asarray(money.best_constant_decision_of_sorted(self._ascending, of_row))
        return float(of_row @ money.price(self._ascending, best))

"""Metrics of regression forecasts, whose columns `fivestage.contract.cost_model` describes."""

import numpy as np

from fivestage.contract.cost_model import DECISION, HIGH, LOW, VALUE, RegressionCostModel, cost_model_of
from fivestage.contract.tasks import RegressionCosts
from fivestage.evaluation.daily import DECISIONS, NAN, Column, DailySample, Floats

COLUMNS = DECISION + 1
FREQUENT = 0.01  # share of the rows from which a repeated label can lie on the edge of many intervals
EDGE = 0.01  # width of such an edge, in standard deviations of the label


class RegressionDailySample(DailySample):
    """Labels, expected values, intervals and decisions; `bias` and errors are in the label's unit.

    `coverage` counts labels on the edges of their intervals, `open_coverage` leaves out those of frequent
    values. At most the nominal share of labels lies below a quantile and at least that share at or below it;
    the two differ where a value is frequent.
    """

    def __init__(
        self, label: Column, forecast: Column, day: Column, costs: RegressionCosts, decision: Column | None
    ) -> None:
        truth, forecast = np.asarray(label, dtype=np.float64), np.asarray(forecast, dtype=np.float64)
        if forecast.shape != (truth.size, COLUMNS) or truth.size == 0:
            raise ValueError(
                f"labels of shape {truth.shape} and forecasts of shape {forecast.shape} "
                "are empty or do not match"
            )
        if not (np.isfinite(truth).all() and np.isfinite(forecast).all()):
            raise ValueError("a label or a forecast is not a finite number")
        super().__init__(day, truth.size)
        cost_model = cost_model_of(costs)
        decision = cost_model.decide(forecast) if decision is None else decision
        excess, low, high = forecast[:, VALUE] - truth, forecast[:, LOW], forecast[:, HIGH]
        _, index, counts = np.unique(truth, return_inverse=True, return_counts=True)
        edge = np.where(counts[index] >= FREQUENT * truth.size, EDGE * truth.std(), 0)
        per_row = {
            "rows": np.ones(truth.size),
            "label": truth,
            "square": truth**2,
            "excess": excess,
            "absolute": np.abs(excess),
            "squared": excess**2,
            "covered": ((truth >= low) & (truth <= high)).astype(np.float64),
            "within": ((truth > low + edge) & (truth < high - edge)).astype(np.float64),
            "width": high - low,
            "cost": cost_model.price(truth, decision),
        }
        self.sums = {name: self.by_day(value) for name, value in per_row.items()}
        self._costs, order = costs, np.argsort(truth, kind="stable")
        self._ascending, self._day_of_ascending = truth[order], self.of_day[order]

    def scores(self, weights: Floats) -> dict[str, Floats]:
        total = {name: weights @ by_day for name, by_day in self.sums.items()}
        rows = total["rows"]
        spread = total["square"] - total["label"] ** 2 / rows
        best_constant = np.array([self._best_constant_cost(weight) for weight in weights])
        saved = best_constant - total["cost"]
        return {
            "mae": total["absolute"] / rows,
            "rmse": (total["squared"] / rows) ** 0.5,
            "r2": 1 - total["squared"] / np.where(spread > 0, spread, NAN),
            "bias": total["excess"] / rows,
            "coverage": total["covered"] / rows,
            "open_coverage": total["within"] / rows,
            "width": total["width"] / rows,
            "cost_per_1000": total["cost"] / rows * DECISIONS,
            "savings_share": saved / np.where(best_constant > 0, best_constant, NAN),
            "mean": total["label"] / rows,
            "rows": rows,
        }

    def _best_constant_cost(self, weight: Floats) -> float:
        """Return the total cost of the best constant decision."""
        of_row = weight[self._day_of_ascending]
        cost_model = RegressionCostModel(self._costs)
        best = np.asarray(cost_model.best_constant_decision_of_sorted(self._ascending, of_row))
        return float(of_row @ cost_model.price(self._ascending, best))

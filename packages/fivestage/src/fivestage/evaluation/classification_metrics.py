"""Metrics for probabilities of one outcome, and for probabilities of several classes."""

import numpy as np
from numpy.typing import NDArray

from fivestage.contract.cost_model import cost_model_of
from fivestage.contract.tasks import Costs, MulticlassCosts
from fivestage.evaluation.daily import DECISIONS, NAN, SMALLEST, Column, DailySample, Floats, Interval, sums

BINS = 10


class Ranking:
    """Rows in descending order of probability, for areas under curves with any weights of the days.

    scikit-learn's functions would sort the rows again for each resample.
    """

    def __init__(self, truth: Floats, probability: Floats, of_day: Column) -> None:
        order = np.argsort(-probability, kind="stable")
        self._day_of_sorted = of_day[order]
        self._positive_of_sorted = truth[order]
        descending = probability[order]
        self._last_of_ties = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))

    def areas(self, weight: Floats) -> Interval:
        """Return the area under the ROC curve and the average precision; NaN if a class has no rows."""
        of_row = weight[self._day_of_sorted]
        selected = np.cumsum(of_row)[self._last_of_ties]
        true = np.cumsum(of_row * self._positive_of_sorted)[self._last_of_ties]
        positives, negatives = true[-1], selected[-1] - true[-1]
        if positives == 0 or negatives == 0:
            return NAN, NAN
        false = selected - true
        true_here = np.diff(true, prepend=0.0)
        false_before = np.append(0.0, false[:-1])
        outranked = negatives - (false + false_before) / 2
        precision = true / np.maximum(selected, 1)
        return (
            float(true_here @ outranked / (positives * negatives)),
            float(true_here @ precision / positives),
        )


class ClassificationDailySample(DailySample):
    """Labels, probabilities and decisions of one outcome, or of several classes, each against the rest.

    Of several classes, `calibration_error` is the mean over all, `roc_auc` the mean over those that occur,
    and `bias` that of the class with the largest bias over all days.
    """

    def __init__(
        self,
        label: Column,
        probability: Column,
        day: Column,
        costs: Costs,
        decision: Column | None,
    ) -> None:
        truth, probabilities = _checked(label, probability)
        rows, self.binary = len(truth), truth.ndim == 1
        super().__init__(day, rows)
        cost_model = cost_model_of(costs)
        decision = cost_model.decide(probabilities) if decision is None else decision
        constants = [
            cost_model.price(truth, np.full(rows, one))
            for one in (range(len(costs.actions)) if isinstance(costs, MulticlassCosts) else (False, True))
        ]
        columns = truth.reshape(rows, -1), probabilities.reshape(rows, -1)
        clipped = np.clip(columns[1], SMALLEST, 1 - SMALLEST if self.binary else 1)
        either = [np.column_stack([1 - one, one]) if self.binary else one for one in (columns[0], clipped)]
        per_row = {
            "rows": np.ones(rows),
            "log_loss": -(either[0] * np.log(either[1])).sum(axis=1),
            "brier": ((columns[1] - columns[0]) ** 2 + columns[0] * (1 - columns[0])).sum(axis=1),
            "cost": cost_model.price(truth, decision),
            "constant": np.column_stack(constants),
            "oracle": cost_model.oracle_cost(truth),
            "excess": columns[1] - columns[0],
        }
        if self.binary:
            per_row |= {"acted": np.asarray(decision, dtype=np.float64), "positives": truth}
        else:
            per_row["correct"] = truth[np.arange(rows), probabilities.argmax(axis=1)]
        self.sums = {name: self.by_day(value) for name, value in per_row.items()}
        pairs = list(zip(columns[0].T, columns[1].T, strict=True))
        self.excess = np.stack([bin_excess(self, *pair) for pair in pairs], axis=1)
        rankings = [Ranking(*pair, self.of_day) for pair in pairs]
        self.rankings = [one for one in rankings if not np.isnan(one.areas(np.ones(self.days))[0])]
        self.most_biased = int(np.abs(self.sums["excess"].sum(axis=0)).argmax())

    def scores(self, weight: Floats) -> dict[str, float]:
        total = {name: weight @ by_day for name, by_day in self.sums.items()}
        rows, cost = float(total["rows"]), float(total["cost"])
        areas = [one.areas(weight) for one in self.rankings] or [(NAN, NAN)]
        bins = np.abs(np.tensordot(weight, self.excess, axes=1)).sum(axis=1) / rows
        best_constant = float(total["constant"].min())
        achievable = best_constant - float(total["oracle"])
        metrics = {
            "roc_auc": float(np.mean([roc_auc for roc_auc, _ in areas])),
            "log_loss": float(total["log_loss"]) / rows,
            "brier": float(total["brier"]) / rows,
            "calibration_error": float(bins.mean()),
            "bias": float(total["excess"][self.most_biased]) / rows,
            "cost_per_1000": cost / rows * DECISIONS,
            "savings_share": (best_constant - cost) / achievable if achievable > 0 else NAN,
            "rows": rows,
        }
        if not self.binary:
            return metrics | {"accuracy": float(total["correct"]) / rows}
        shares = {"action_rate": "acted", "rate": "positives"}
        return (
            metrics | {"pr_auc": areas[0][1]} | {name: float(total[of]) / rows for name, of in shares.items()}
        )


def bin_excess(sample: DailySample, truth: Floats, probabilities: Floats) -> Floats:
    """Sum the probabilities minus the labels, days x bins of equal mass; equal probabilities share a bin."""
    edges = np.quantile(probabilities, np.arange(1, BINS) / BINS)
    bins: NDArray[np.int64] = np.searchsorted(edges, probabilities, side="left").astype(np.int64)
    cell = sample.of_day * BINS + bins
    return sums(cell, probabilities - truth, sample.days * BINS).reshape(sample.days, BINS)


def _checked(label: Column, probability: Column) -> tuple[Floats, Floats]:
    """Return labels and probabilities: one per row, or rows x classes."""
    truth, probabilities = np.asarray(label), np.asarray(probability, dtype=np.float64)
    if truth.size == 0 or truth.shape not in {probabilities.shape, probabilities.shape[:1]}:
        raise ValueError(
            f"labels of shape {truth.shape} and probabilities of shape {probabilities.shape} "
            "are empty or do not match"
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("a probability lies outside 0 to 1")
    if truth.shape == probabilities.shape:
        if not ((truth >= 0) & (truth <= 1)).all():
            raise ValueError("a label lies outside 0 to 1")
        return truth.astype(np.float64), probabilities
    classes = probabilities.shape[1]
    if not ((truth >= 0) & (truth < classes)).all():
        raise ValueError(f"a label is not one of the {classes} classes")
    return np.eye(classes)[truth.astype(np.int64)], probabilities

"""Metrics for probabilities of one outcome, and for probabilities of several classes."""

import numpy as np
from numpy.typing import NDArray

from fivestage.contract.cost_model import cost_model_of
from fivestage.contract.tasks import BinaryCosts, MulticlassCosts
from fivestage.evaluation.daily import (
    DECISIONS,
    NAN,
    SMALLEST,
    Bools,
    Column,
    DailySample,
    Floats,
    Interval,
    sums,
)

BINS = 10


class Ranking:
    """Rows in descending order of probability, for areas under curves with any weights of the days."""

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


class BinaryDailySample(DailySample):
    """Labels, probabilities and decisions of one outcome."""

    def __init__(
        self, label: Column, probability: Column, day: Column, costs: BinaryCosts, act: Bools | None
    ) -> None:
        truth, probabilities = _checked(label, probability)
        super().__init__(day, truth.size)
        cost_model = cost_model_of(costs)
        act = cost_model.decide(probabilities) if act is None else act
        clipped = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
        always_act = cost_model.price(truth, np.ones(truth.size, dtype=bool))
        always_wait = cost_model.price(truth, np.zeros(truth.size, dtype=bool))
        per_row = {
            "rows": np.ones(truth.size),
            "positives": truth,
            "probability": probabilities,
            "log_loss": -truth * np.log(clipped) - (1 - truth) * np.log(1 - clipped),
            "brier": truth * (1 - probabilities) ** 2 + (1 - truth) * probabilities**2,
            "acted": act.astype(np.float64),
            "cost": np.where(act, always_act, always_wait),
            "always_act": always_act,
            "always_wait": always_wait,
            "oracle": cost_model.oracle_cost(truth),
        }
        self.sums = {name: self.by_day(value) for name, value in per_row.items()}
        self.excess = bin_excess(self, truth, probabilities)
        self.ranking = Ranking(truth, probabilities, self.of_day)

    def scores(self, weight: Floats) -> dict[str, float]:
        total = {name: float(weight @ by_day) for name, by_day in self.sums.items()}
        rows = total["rows"]
        roc_auc, pr_auc = self.ranking.areas(weight)
        best_constant = min(total["always_act"], total["always_wait"])
        achievable = best_constant - total["oracle"]
        return {
            "roc_auc": roc_auc,
            "pr_auc": pr_auc,
            "log_loss": total["log_loss"] / rows,
            "brier": total["brier"] / rows,
            "calibration_error": float(np.abs(weight @ self.excess).sum()) / rows,
            "bias": (total["probability"] - total["positives"]) / rows,
            "cost_per_1000": total["cost"] / rows * DECISIONS,
            "savings_share": (best_constant - total["cost"]) / achievable if achievable > 0 else NAN,
            "action_rate": total["acted"] / rows,
            "rate": total["positives"] / rows,
            "rows": rows,
        }


class MulticlassDailySample(DailySample):
    """Labels, probabilities and decisions of several classes, ranked and calibrated one against the rest.

    `calibration_error` is the mean over all classes, `roc_auc` the mean over the classes that occur, and
    `bias` that of the class with the largest bias over all days.
    """

    def __init__(
        self, label: Column, probability: Column, day: Column, costs: MulticlassCosts, action: Column | None
    ) -> None:
        self.truth, probabilities = _checked_classes(label, probability)
        rows, classes = probabilities.shape
        super().__init__(day, rows)
        cost_model = cost_model_of(costs)
        action = cost_model.decide(probabilities) if action is None else action
        likeliest = probabilities.argmax(axis=1)
        clipped = np.clip(probabilities, SMALLEST, 1)
        self.per_row = {
            "rows": np.ones(rows),
            "log_loss": -(self.truth * np.log(clipped)).sum(axis=1),
            "brier": ((probabilities - self.truth) ** 2).sum(axis=1)
            + (self.truth * (1 - self.truth)).sum(axis=1),
            "correct": self.truth[np.arange(rows), likeliest],
            "cost": cost_model.price(self.truth, action),
            "oracle": cost_model.oracle_cost(self.truth),
        }
        constant = [cost_model.price(self.truth, np.full(rows, one)) for one in range(len(costs.actions))]
        self.sums = {name: self.by_day(value) for name, value in self.per_row.items()} | {
            "constant": self.by_day(np.column_stack(constant)),
            "excess": self.by_day(probabilities - self.truth),
        }
        each = range(classes)
        self.excess = np.stack(
            [bin_excess(self, self.truth[:, one], probabilities[:, one]) for one in each], axis=1
        )
        self.rankings = [Ranking(self.truth[:, one], probabilities[:, one], self.of_day) for one in each]
        roc_auc = [ranking.areas(np.ones(self.days))[0] for ranking in self.rankings]
        self.ranked_classes = np.flatnonzero(~np.isnan(roc_auc))
        self.most_biased = int(np.abs(self.sums["excess"].sum(axis=0)).argmax())

    def scores(self, weight: Floats) -> dict[str, float]:
        total = {name: weight @ by_day for name, by_day in self.sums.items()}
        rows = float(total["rows"])
        excess = np.abs(np.tensordot(weight, self.excess, axes=1)).sum(axis=1) / rows
        best_constant, cost = float(total["constant"].min()), float(total["cost"])
        achievable = best_constant - float(total["oracle"])
        areas = [self.rankings[one].areas(weight)[0] for one in self.ranked_classes]
        return {
            "roc_auc": float(np.mean(areas)) if areas else NAN,
            "accuracy": float(total["correct"]) / rows,
            "log_loss": float(total["log_loss"]) / rows,
            "brier": float(total["brier"]) / rows,
            "calibration_error": float(excess.mean()),
            "bias": float(total["excess"][self.most_biased]) / rows,
            "cost_per_1000": cost / rows * DECISIONS,
            "savings_share": (best_constant - cost) / achievable if achievable > 0 else NAN,
            "rows": rows,
        }


def bin_excess(sample: DailySample, truth: Floats, probabilities: Floats) -> Floats:
    """Sum the probabilities minus the labels, days x bins of equal mass; equal probabilities share a bin."""
    edges = np.quantile(probabilities, np.arange(1, BINS) / BINS)
    bins: NDArray[np.int64] = np.searchsorted(edges, probabilities, side="left").astype(np.int64)
    cell = sample.of_day * BINS + bins
    return sums(cell, probabilities - truth, sample.days * BINS).reshape(sample.days, BINS)


def _checked(label: Column, probability: Column) -> tuple[Floats, Floats]:
    truth = np.asarray(label, dtype=np.float64)
    probabilities = np.asarray(probability, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != probabilities.shape or truth.size == 0:
        raise ValueError(
            f"labels of shape {truth.shape} and probabilities of shape {probabilities.shape} "
            "are empty or do not match"
        )
    if not ((truth >= 0) & (truth <= 1)).all():
        raise ValueError("a label lies outside 0 to 1")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("a probability lies outside 0 to 1")
    return truth, probabilities


def _checked_classes(label: Column, probability: Column) -> tuple[Floats, Floats]:
    """Return the labels as rows x classes, and the probabilities."""
    probabilities = np.asarray(probability, dtype=np.float64)
    truth = np.asarray(label)
    if truth.shape == probabilities.shape:
        return truth.astype(np.float64), probabilities
    if probabilities.ndim == 1 or truth.shape != probabilities.shape[:1] or truth.size == 0:
        raise ValueError(
            f"labels of shape {truth.shape} and probabilities of shape {probabilities.shape} "
            "are empty or do not match"
        )
    classes = probabilities.shape[1]
    if not ((truth >= 0) & (truth < classes)).all():
        raise ValueError(f"a label is not one of the {classes} classes")
    return np.eye(classes)[truth.astype(np.int64)], probabilities

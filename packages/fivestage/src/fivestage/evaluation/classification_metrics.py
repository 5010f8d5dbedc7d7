"""Scores of probabilities: of one outcome, and of several classes."""

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
    """Rows in descending order of a probability, for areas under curves of any weights of the days."""

    def __init__(self, truth: Floats, chance: Floats, of_day: Column) -> None:
        order = np.argsort(-chance, kind="stable")
        self._day_of_sorted = of_day[order]
        self._positive_of_sorted = truth[order]
        descending = chance[order]
        self._last_of_ties = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))

    def areas(self, weight: Floats) -> Interval:
        """Area under the ROC curve and average precision; NaN without both classes."""
        of_row = weight[self._day_of_sorted]
        seen = np.cumsum(of_row)[self._last_of_ties]
        found = np.cumsum(of_row * self._positive_of_sorted)[self._last_of_ties]
        positives, negatives = found[-1], seen[-1] - found[-1]
        if positives == 0 or negatives == 0:
            return NAN, NAN
        false = seen - found
        found_here = np.diff(found, prepend=0.0)
        false_before = np.append(0.0, false[:-1])
        outranked = negatives - (false + false_before) / 2
        precision = found / np.maximum(seen, 1)
        return (
            float(found_here @ outranked / (positives * negatives)),
            float(found_here @ precision / positives),
        )


class BinaryDailySample(DailySample):
    """Probabilities of one outcome."""

    def __init__(
        self, label: Column, probability: Column, day: Column, costs: BinaryCosts, act: Bools | None
    ) -> None:
        truth, chance = _checked(label, probability)
        super().__init__(day, truth.size)
        money = cost_model_of(costs)
        act = money.decide(chance) if act is None else act
        clipped = np.clip(chance, SMALLEST, 1 - SMALLEST)
        acting = money.price(truth, np.ones(truth.size, dtype=bool))
        waiting = money.price(truth, np.zeros(truth.size, dtype=bool))
        per_row = {
            "rows": np.ones(truth.size),
            "positives": truth,
            "probability": chance,
            "log_loss": -truth * np.log(clipped) - (1 - truth) * np.log(1 - clipped),
            "brier": truth * (1 - chance) ** 2 + (1 - truth) * chance**2,
            "acted": act.astype(np.float64),
            "cost": np.where(act, acting, waiting),
            "acting": acting,
            "waiting": waiting,
            "perfect": money.oracle_cost(truth),
        }
        self.sums = {name: self.by_day(value) for name, value in per_row.items()}
        self.excess = bin_excess(self, truth, chance)
        self.ranking = Ranking(truth, chance, self.of_day)

    def scores(self, weight: Floats) -> dict[str, float]:
        total = {name: float(weight @ by_day) for name, by_day in self.sums.items()}
        rows = total["rows"]
        roc_auc, pr_auc = self.ranking.areas(weight)
        best_constant = min(total["acting"], total["waiting"])
        possible = best_constant - total["perfect"]
        return {
            "roc_auc": roc_auc,
            "pr_auc": pr_auc,
            "log_loss": total["log_loss"] / rows,
            "brier": total["brier"] / rows,
            "calibration_error": float(np.abs(weight @ self.excess).sum()) / rows,
            "bias": (total["probability"] - total["positives"]) / rows,
            "cost_per_1000": total["cost"] / rows * DECISIONS,
            "savings_share": (best_constant - total["cost"]) / possible if possible > 0 else NAN,
            "action_rate": total["acted"] / rows,
            "rate": total["positives"] / rows,
            "rows": rows,
        }


class MulticlassDailySample(DailySample):
    """Probabilities of several classes; ranking and calibration are those of each class against the rest.

    `calibration_error` is a mean over the classes, `roc_auc` over those that came, `bias` that of the class
    which is furthest off over all days.
    """

    def __init__(
        self, label: Column, probability: Column, day: Column, costs: MulticlassCosts, action: Column | None
    ) -> None:
        self.truth, chance = _checked_classes(label, probability)
        rows, classes = chance.shape
        super().__init__(day, rows)
        money = cost_model_of(costs)
        action = money.decide(chance) if action is None else action
        likeliest = chance.argmax(axis=1)
        clipped = np.clip(chance, SMALLEST, 1)
        self.per_row = {
            "rows": np.ones(rows),
            "log_loss": -(self.truth * np.log(clipped)).sum(axis=1),
            "brier": ((chance - self.truth) ** 2).sum(axis=1) + (self.truth * (1 - self.truth)).sum(axis=1),
            "right": self.truth[np.arange(rows), likeliest],
            "cost": money.price(self.truth, action),
            "perfect": money.oracle_cost(self.truth),
        }
        alone = [money.price(self.truth, np.full(rows, one)) for one in range(len(costs.actions))]
        self.sums = {name: self.by_day(value) for name, value in self.per_row.items()} | {
            "alone": self.by_day(np.column_stack(alone)),
            "excess": self.by_day(chance - self.truth),
        }
        each = range(classes)
        self.excess = np.stack([bin_excess(self, self.truth[:, one], chance[:, one]) for one in each], axis=1)
        self.rankings = [Ranking(self.truth[:, one], chance[:, one], self.of_day) for one in each]
        self.came = np.flatnonzero(~np.isnan([one.areas(np.ones(self.days))[0] for one in self.rankings]))
        self.furthest = int(np.abs(self.sums["excess"].sum(axis=0)).argmax())

    def scores(self, weight: Floats) -> dict[str, float]:
        total = {name: weight @ by_day for name, by_day in self.sums.items()}
        rows = float(total["rows"])
        excess = np.abs(np.tensordot(weight, self.excess, axes=1)).sum(axis=1) / rows
        best, cost = float(total["alone"].min()), float(total["cost"])
        possible = best - float(total["perfect"])
        areas = [self.rankings[one].areas(weight)[0] for one in self.came]
        return {
            "roc_auc": float(np.mean(areas)) if areas else NAN,
            "accuracy": float(total["right"]) / rows,
            "log_loss": float(total["log_loss"]) / rows,
            "brier": float(total["brier"]) / rows,
            "calibration_error": float(excess.mean()),
            "bias": float(total["excess"][self.furthest]) / rows,
            "cost_per_1000": cost / rows * DECISIONS,
            "savings_share": (best - cost) / possible if possible > 0 else NAN,
            "rows": rows,
        }


def bin_excess(sample: DailySample, truth: Floats, chance: Floats) -> Floats:
    """What the probabilities exceed the truth by, days x bins of equal mass; equal ones share a bin."""
    edges = np.quantile(chance, np.arange(1, BINS) / BINS)
    bins: NDArray[np.int64] = np.searchsorted(edges, chance, side="left").astype(np.int64)
    cell = sample.of_day * BINS + bins
    return sums(cell, chance - truth, sample.days * BINS).reshape(sample.days, BINS)


def _checked(label: Column, probability: Column) -> tuple[Floats, Floats]:
    truth = np.asarray(label, dtype=np.float64)
    chance = np.asarray(probability, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != chance.shape or truth.size == 0:
        raise ValueError(
            f"labels of shape {truth.shape} and probabilities of shape {chance.shape} do not pair up"
        )
    if not ((truth >= 0) & (truth <= 1)).all():
        raise ValueError("a label lies outside 0 to 1")
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError("a probability lies outside 0 to 1")
    return truth, chance


def _checked_classes(label: Column, probability: Column) -> tuple[Floats, Floats]:
    """The labels as rows x classes, and the probabilities."""
    chance = np.asarray(probability, dtype=np.float64)
    truth = np.asarray(label)
    if truth.shape == chance.shape:
        return truth.astype(np.float64), chance
    if chance.ndim == 1 or truth.shape != chance.shape[:1] or truth.size == 0:
        raise ValueError(
            f"labels of shape {truth.shape} and probabilities of shape {chance.shape} do not pair up"
        )
    classes = chance.shape[1]
    if not ((truth >= 0) & (truth < classes)).all():
        raise ValueError(f"a label is none of the {classes} classes")
    return np.eye(classes)[truth.astype(np.int64)], chance

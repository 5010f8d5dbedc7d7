"""Metrics for probabilities of one outcome, and for probabilities of several classes."""

import numpy as np
from numpy.typing import NDArray

from fivestage.contract.cost_model import cost_model_of
from fivestage.contract.tasks import Costs, MulticlassCosts
from fivestage.evaluation.daily import DECISIONS, NAN, SMALLEST, Column, DailySample, Floats, sums

BINS = 10
BATCH_NUMBERS = 2**17  # per array: as many as fit into the processor's cache


class Ranking:
    """Rows ranked by probability, for areas under curves of many resamples of the days at once.

    scikit-learn's functions would sort the rows again for each resample. Both areas are sums over the ranks
    that hold a positive row, so numbers of rows are accumulated by day up to these ranks alone.
    """

    def __init__(self, truth: Floats, probability: Floats, of_day: Column, days: int) -> None:
        order = np.argsort(-probability, kind="stable")
        descending = probability[order]
        rank = np.append(0, np.cumsum(descending[1:] != descending[:-1]))  # ties share one
        self._truth, self._day, self._days = truth[order], of_day[order], days
        counted = np.bincount(rank, self._truth) > 0
        self._tied = counted[rank]
        # Of the first counted rank at or after each row's.
        self._place: NDArray[np.int64] = (np.cumsum(counted) - counted)[rank]
        self._places = int(np.count_nonzero(counted))

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the areas under the ROC curve and the average precisions; NaN where a class has no rows.

        Args:
            weights: How often each day is drawn (resamples, days).
        """
        of_resample = weights.T
        true = sums(self._day, self._truth, self._days)
        positives, negatives = true @ of_resample, sums(self._day, 1 - self._truth, self._days) @ of_resample
        roc_auc, precision = np.zeros(len(weights)), np.zeros(len(weights))
        seen = np.zeros((3, self._days))  # rows of all ranks before, by day
        step = max(1, BATCH_NUMBERS // len(weights))
        for first in range(0, self._places, step):
            size = min(step, self._places - first)
            rows = slice(*np.searchsorted(self._place, (first, first + size)))
            cell, truth = (self._place[rows] - first) * self._days + self._day[rows], self._truth[rows]
            here, true, false, tied = (
                sums(cell, value, size * self._days).reshape(size, self._days)
                for value in (np.ones(truth.size), truth, 1 - truth, (1 - truth) * self._tied[rows])
            )
            until = seen[:, None] + np.cumsum([here, true, false], axis=1)
            seen = until[:, -1]
            selected, true_selected, outranking = (
                by_day @ of_resample for by_day in (until[0], until[1], until[2] - tied / 2)
            )
            found = true @ of_resample
            roc_auc += (found * (negatives - outranking)).sum(axis=0)
            precision += (found * true_selected / np.maximum(selected, 1)).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            positives[(positives == 0) | (negatives == 0)] = NAN
            return roc_auc / (positives * negatives), precision / positives


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
        self.rankings = [Ranking(*pair, self.of_day, self.days) for pair in pairs if 0 < pair[0].sum() < rows]
        self.most_biased = int(np.abs(self.sums["excess"].sum(axis=0)).argmax())

    def scores(self, weights: Floats) -> dict[str, Floats]:
        total = {name: weights @ by_day for name, by_day in self.sums.items()}
        rows, cost = total["rows"], total["cost"]
        undefined = np.full(len(weights), NAN)
        areas = [one.areas(weights) for one in self.rankings] or [(undefined, undefined)]
        bins = np.abs(np.tensordot(weights, self.excess, axes=1)).sum(axis=2) / rows[:, None]
        best_constant = total["constant"].min(axis=1)
        achievable = best_constant - total["oracle"]
        metrics = {
            "roc_auc": np.mean([roc_auc for roc_auc, _ in areas], axis=0),
            "log_loss": total["log_loss"] / rows,
            "brier": total["brier"] / rows,
            "calibration_error": bins.mean(axis=1),
            "bias": total["excess"].reshape(len(weights), -1)[:, self.most_biased] / rows,
            "cost_per_1000": cost / rows * DECISIONS,
            "savings_share": (best_constant - cost) / np.where(achievable > 0, achievable, NAN),
            "rows": rows,
        }
        if not self.binary:
            return metrics | {"accuracy": total["correct"] / rows}
        shares = {"action_rate": "acted", "rate": "positives"}
        return metrics | {"pr_auc": areas[0][1]} | {name: total[of] / rows for name, of in shares.items()}


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

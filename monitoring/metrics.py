"""Scores of probabilities against labels, in statistics and money, with intervals that resample days."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.tasks import BinaryCosts

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Column = NDArray[Any]
Interval = tuple[float, float]

BINS = 10
SEED = 0
SMALLEST = 1e-15
DECISIONS = 1000
NAN = float("nan")


@dataclass(frozen=True)
class Difference:
    """A mean difference of costs per 1,000 decisions, and its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Scored:
    """Scores of one set of rows, and the interval of each."""

    scores: dict[str, float]
    intervals: dict[str, Interval]


@dataclass(frozen=True)
class _Sums:
    """Sums by day; each field is an array with the days first, or one draw's weighted totals."""

    rows: Floats
    positives: Floats
    probability: Floats
    log_loss: Floats
    brier: Floats
    acted: Floats
    cost: Floats
    cost_acting: Floats
    cost_waiting: Floats
    cost_perfect: Floats
    bin_excess: Floats


class _Sample:
    """Rows sorted once, so that a resample is a vector of weights, one a day."""

    def __init__(
        self, label: Column, probability: Column, day: Column, costs: BinaryCosts, threshold: float | None
    ) -> None:
        truth, chance = _checked(label, probability)
        days, of_day = np.unique(np.asarray(day), return_inverse=True)
        if of_day.shape != truth.shape:
            raise ValueError(f"{truth.size} labels, but {of_day.size} days")
        self.days = days.size
        act = chance >= (costs.threshold if threshold is None else threshold)
        clipped = np.clip(chance, SMALLEST, 1 - SMALLEST)
        acting = expected_costs(truth, np.ones(truth.size, dtype=bool), costs)
        waiting = expected_costs(truth, np.zeros(truth.size, dtype=bool), costs)
        per_row = {
            "rows": np.ones(truth.size),
            "positives": truth,
            "probability": chance,
            "log_loss": -truth * np.log(clipped) - (1 - truth) * np.log(1 - clipped),
            "brier": truth * (1 - chance) ** 2 + (1 - truth) * chance**2,
            "acted": act.astype(np.float64),
            "cost": np.where(act, acting, waiting),
            "cost_acting": acting,
            "cost_waiting": waiting,
            "cost_perfect": truth * costs.act_positive + (1 - truth) * costs.wait_negative,
        }
        by_day = {name: sums(of_day, value, self.days) for name, value in per_row.items()}
        cell = of_day * BINS + _equal_mass_bins(chance)
        excess = sums(cell, chance - truth, self.days * BINS).reshape(self.days, BINS)
        self.sums = _Sums(**by_day, bin_excess=excess)

        order = np.argsort(-chance, kind="stable")
        self.day_of_sorted = of_day[order]
        self.positive_of_sorted = truth[order]
        descending = chance[order]
        self.last_of_ties = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))

    def resamples(self, draws: int) -> Iterator[Floats]:
        """Weights of the days, for each draw of as many days with replacement."""
        generator = np.random.default_rng(SEED)
        for _ in range(draws):
            drawn = generator.integers(self.days, size=self.days)
            yield np.bincount(drawn, minlength=self.days).astype(np.float64)

    def scores(self, weight: Floats) -> dict[str, float]:
        total = _Sums(**{name: weight @ by_day for name, by_day in vars(self.sums).items()})
        rows = float(total.rows)
        roc_auc, pr_auc = self._ranking(weight)
        best_constant = float(min(total.cost_acting, total.cost_waiting))
        possible = best_constant - float(total.cost_perfect)
        return {
            "roc_auc": roc_auc,
            "pr_auc": pr_auc,
            "log_loss": float(total.log_loss) / rows,
            "brier": float(total.brier) / rows,
            "calibration_error": float(np.abs(total.bin_excess).sum()) / rows,
            "bias": float(total.probability - total.positives) / rows,
            "cost_per_1000": float(total.cost) / rows * DECISIONS,
            "savings_share": (best_constant - float(total.cost)) / possible if possible > 0 else NAN,
            "action_rate": float(total.acted) / rows,
            "rate": float(total.positives) / rows,
            "rows": rows,
        }

    def _ranking(self, weight: Floats) -> Interval:
        """Area under the ROC curve and average precision; NaN without both classes."""
        of_row = weight[self.day_of_sorted]
        seen = np.cumsum(of_row)[self.last_of_ties]
        found = np.cumsum(of_row * self.positive_of_sorted)[self.last_of_ties]
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


def scores(
    label: Column, probability: Column, costs: BinaryCosts, threshold: float | None = None
) -> dict[str, float]:
    """How good the probabilities are, and what deciding by them costs.

    `calibration_error` takes ten bins of equal mass; `bias` is the mean probability minus the rate;
    `savings_share` is what is saved of all that could be saved against the best constant decision. We act
    from `threshold` on, by default the costs' own. Without both classes the two areas are NaN, and without
    possible savings their share is. With probabilities for labels, the scores are expectations.

    Raises:
        ValueError: for no rows, or labels or probabilities outside 0 to 1.
    """
    one_day = np.zeros(len(label), dtype=np.int64)
    return _Sample(label, probability, one_day, costs, threshold).scores(np.ones(1))


def evaluate(
    label: Column,
    probability: Column,
    day: Column,
    costs: BinaryCosts,
    *,
    threshold: float | None = None,
    draws: int = 200,
    confidence: float = 0.95,
) -> Scored:
    """`scores`, and the interval of each: percentiles over resampled days, as a day's rows move together.

    The same rows give the same intervals. Bins of the calibration error stay where the whole sample puts
    them; as a sum of absolute values it grows with noise, so its interval lies above the truth. An interval
    is NaN where any resample has no such score.

    Raises:
        ValueError: as in `scores`.
    """
    sample = _Sample(label, probability, day, costs, threshold)
    drawn = [sample.scores(weight) for weight in sample.resamples(draws)]
    return Scored(
        sample.scores(np.ones(sample.days)),
        {
            name: percentiles(np.array([draw[name] for draw in drawn]), confidence, sample.days)
            for name in drawn[0]
        },
    )


def by_slice(
    value: Column,
    label: Column,
    probability: Column,
    day: Column,
    costs: BinaryCosts,
    *,
    threshold: float | None = None,
    min_rows: int = 1,
) -> dict[str, Scored]:
    """Scores and intervals for each level of `value` with `min_rows` rows, the most frequent first."""
    levels, of_level, counts = np.unique(
        np.asarray(value).astype(str), return_inverse=True, return_counts=True
    )
    slices = {}
    for level in np.argsort(-counts, kind="stable"):
        if counts[level] < min_rows:
            break
        here = of_level == level
        slices[str(levels[level])] = evaluate(
            label[here], probability[here], day[here], costs, threshold=threshold
        )
    return slices


def expected_costs(label: Column, act: Column, costs: BinaryCosts) -> Floats:
    """What each row costs; a label between 0 and 1 is a probability, and the cost an expectation."""
    positive = np.asarray(label, dtype=np.float64)
    acting = positive * costs.act_positive + (1 - positive) * costs.act_negative
    waiting = positive * costs.wait_positive + (1 - positive) * costs.wait_negative
    return np.where(np.asarray(act, dtype=bool), acting, waiting)


def paired_difference(
    cost_a: Column, cost_b: Column, day: Column, *, draws: int = 2000, confidence: float = 0.95
) -> Difference:
    """What b saves against a per 1,000 decisions, with an interval from a paired bootstrap over days."""
    saved = np.asarray(cost_a, dtype=np.float64) - np.asarray(cost_b, dtype=np.float64)
    _, of_day = np.unique(np.asarray(day), return_inverse=True)
    if not saved.size == of_day.size > 0:
        raise ValueError(f"{saved.size} pairs of costs, {of_day.size} days")
    days = int(of_day.max()) + 1
    drawn = day_means(sums(of_day, saved, days), sums(of_day, np.ones(saved.size), days), draws)
    low, high = percentiles(drawn * DECISIONS, confidence, days)
    return Difference(float(saved.mean()) * DECISIONS, low, high)


def sums(group: Column, value: Column, groups: int) -> Floats:
    """The sum of the values in each of `groups` groups, which are numbered from 0."""
    return np.bincount(group, value, groups).astype(np.float64)


def day_means(total: Floats, rows: Floats, draws: int) -> Floats:
    """Means of resamples of days, from each day's sum and number of rows."""
    days = rows.size
    weight = np.random.default_rng(SEED).multinomial(days, np.full(days, 1 / days), size=draws)
    return np.asarray((weight @ total) / (weight @ rows), dtype=np.float64)


def percentiles(drawn: Floats, confidence: float, days: int) -> Interval:
    """The interval of a statistic from its values on resamples of so many days.

    Percentiles alone are too narrow for few days (a week's 95% hold 88% of the time), so they are taken
    further out, where Student's t would be: the "expanded percentiles" of Hesterberg (2015), What Teachers
    Should Know About the Bootstrap. They need 1,000 draws for a week. One day has no interval: NaN.
    """
    if days == 1:
        return NAN, NAN
    normal, freedom = NormalDist(), days - 1
    z = normal.inv_cdf((1 + confidence) / 2)
    student = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    tail = normal.cdf(-student * (days / freedom) ** 0.5)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


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


def _equal_mass_bins(chance: Floats) -> NDArray[np.int64]:
    """The bin of each row; equal probabilities share one."""
    edges = np.quantile(chance, np.arange(1, BINS) / BINS)
    return np.searchsorted(edges, chance, side="left").astype(np.int64)

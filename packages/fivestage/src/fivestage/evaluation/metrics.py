"""Scores of forecasts against labels, in statistics and money, with intervals that resample days."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fivestage.contract.tasks import BinaryCosts, Costs, MulticlassCosts, RegressionCosts
from fivestage.evaluation.classification_metrics import BinaryDailySample, MulticlassDailySample
from fivestage.evaluation.daily import (
    DECISIONS,
    Column,
    DailySample,
    Floats,
    Interval,
    day_means,
    percentiles,
    sums,
)
from fivestage.evaluation.regression_metrics import RegressionDailySample


@dataclass(frozen=True)
class Difference:
    """A mean difference of costs per 1,000 decisions, its interval, and its standard error."""

    mean: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True)
class Answers:
    """What was answered to rows, see `fivestage.contract.cost_model`, and what was decided by it."""

    forecast: Column
    decision: Column
    expected_cost: Column | None = None  # of each row, where the forecasts alone do not tell it


@dataclass(frozen=True)
class Scored:
    """Scores of one set of rows, and the interval of each."""

    scores: dict[str, float]
    intervals: dict[str, Interval]


_SAMPLES: Mapping[type[Costs], Callable[..., DailySample]] = {
    BinaryCosts: BinaryDailySample,
    MulticlassCosts: MulticlassDailySample,
    RegressionCosts: RegressionDailySample,
}


def sample_of(
    label: Column, forecast: Column, day: Column, costs: Costs, decision: Column | None
) -> DailySample:
    """The rows of a task, which its costs tell."""
    return _SAMPLES[type(costs)](label, forecast, day, costs, decision)


def scores(label: Column, forecast: Column, costs: Costs, decision: Column | None = None) -> dict[str, float]:
    """How good the forecasts are, and what deciding by them costs.

    `calibration_error` takes ten bins of equal mass; `bias` is the mean forecast minus the mean label;
    `savings_share` is what is saved of all that could be saved against the best constant decision. Decisions
    are those given, by default the cheapest by the costs. Without both classes the two areas are NaN, and
    without achievable savings their share is. With probabilities for labels, the scores are expectations.

    Raises:
        ValueError: for no rows, or labels or forecasts that are none.
    """
    one_day = np.zeros(len(label), dtype=np.int64)
    return sample_of(label, forecast, one_day, costs, decision).scores(np.ones(1))


def evaluate(
    label: Column,
    forecast: Column,
    day: Column,
    costs: Costs,
    *,
    decision: Column | None = None,
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
    sample = sample_of(label, forecast, day, costs, decision)
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
    forecast: Column,
    day: Column,
    costs: Costs,
    *,
    decision: Column | None = None,
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
            label[here],
            forecast[here],
            day[here],
            costs,
            decision=None if decision is None else decision[here],
        )
    return slices


def paired_difference(
    cost_a: Column, cost_b: Column, day: Column, *, draws: int = 2000, confidence: float = 0.95
) -> Difference:
    """What b saves against a per 1,000 decisions, with an interval from a paired bootstrap over days."""
    saved = np.asarray(cost_a, dtype=np.float64) - np.asarray(cost_b, dtype=np.float64)
    _, of_day = np.unique(np.asarray(day), return_inverse=True)
    if not saved.size == of_day.size > 0:
        raise ValueError(f"{saved.size} pairs of costs, {of_day.size} days")
    days = int(of_day.max()) + 1
    return difference_of_days(
        sums(of_day, saved, days), sums(of_day, np.ones(saved.size), days), draws=draws, confidence=confidence
    )


def difference_of_days(
    saved: Floats, rows: Floats, *, draws: int = 2000, confidence: float = 0.95
) -> Difference:
    """The saving per 1,000 decisions, from each day's sum of savings and its number of decisions."""
    drawn = day_means(saved, rows, draws)
    low, high = percentiles(drawn * DECISIONS, confidence, rows.size)
    standard_error = float(drawn.std()) * DECISIONS
    return Difference(float(saved.sum() / rows.sum()) * DECISIONS, low, high, standard_error)

"""Metrics of forecasts against labels, statistical and monetary, with bootstrap intervals over days."""

from dataclasses import dataclass

import numpy as np

from fivestage.contract.tasks import Costs, RegressionCosts
from fivestage.evaluation.classification_metrics import ClassificationDailySample
from fivestage.evaluation.daily import (
    DECISIONS,
    NAN,
    Column,
    DailySample,
    Floats,
    day_means,
    percentiles,
    sums,
)
from fivestage.evaluation.regression_metrics import RegressionDailySample

DRAWS = 2000  # resamples of days for the interval of a difference


@dataclass(frozen=True)
class Difference:
    """A mean cost difference per 1,000 decisions, with its interval and standard error."""

    mean: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True)
class Answers:
    """A model's forecasts and decisions for rows (see `fivestage.contract.cost_model`)."""

    forecast: Column
    decision: Column
    expected_cost: Column | None = None  # of each row's decision; None if the forecasts determine it


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float
    low: float = NAN  # the interval's lower end; NaN where there is none
    high: float = NAN  # its upper end, likewise


Metrics = dict[str, Estimate]  # of a set of rows, by name


@dataclass(frozen=True)
class Slice:
    """Metrics of the rows in which a column has a given value."""

    column: str
    value: str
    rows: int
    metrics: Metrics

    @classmethod
    def of(cls, column: str, value: str, metrics: Metrics) -> "Slice":
        """Return a slice with all its metrics."""
        return cls(column, value, int(metrics["rows"].value), metrics)


@dataclass(frozen=True)
class CalibrationPoint:
    """One bin of the reliability diagram."""

    predicted: float  # the mean prediction
    observed: float  # the mean outcome
    rows: int  # rows in the bin
    of: str = ""  # the label, or the class


@dataclass(frozen=True)
class CostPoint:
    """The cost of an alternative decision rule."""

    threshold: float  # probability threshold; for regression, the shift of the planned value
    cost_per_1000: float  # currency units per 1,000 decisions


def sample_of(
    label: Column, forecast: Column, day: Column, costs: Costs, decision: Column | None
) -> DailySample:
    """Group rows by day for the metrics of their task, which the type of the costs determines."""
    if isinstance(costs, RegressionCosts):
        return RegressionDailySample(label, forecast, day, costs, decision)
    return ClassificationDailySample(label, forecast, day, costs, decision)


def scores(label: Column, forecast: Column, costs: Costs, decision: Column | None = None) -> dict[str, float]:
    """Compute the metrics of forecasts, and the cost of deciding by them.

    `calibration_error` uses ten bins of equal mass; `bias` is the mean forecast minus the mean label;
    `savings_share` is the share of the achievable savings, relative to the best constant decision. Without
    `decision`, the cheapest decisions are taken. The areas under curves are NaN if all labels are equal, and
    the savings' share is NaN if nothing can be saved. If labels are probabilities, metrics are expectations.

    Raises:
        ValueError: if there are no rows, or labels or forecasts that cannot be scored.
    """
    one_day = np.zeros(len(label), dtype=np.int64)
    found = sample_of(label, forecast, one_day, costs, decision).scores(np.ones((1, 1)))
    return {name: float(value[0]) for name, value in found.items()}


def evaluate(
    label: Column,
    forecast: Column,
    day: Column,
    costs: Costs,
    *,
    decision: Column | None = None,
    draws: int = 200,
    confidence: float = 0.95,
) -> Metrics:
    """Compute `scores` with intervals: percentiles over resampled days, as rows of a day are not independent.

    The same rows always give the same intervals. The bins of the calibration error are those of the whole
    sample; as a sum of absolute values, the error grows with noise, so its interval is biased upwards. An
    interval is NaN if a metric is undefined in any resample.

    Raises:
        ValueError: as in `scores`.
    """
    sample = sample_of(label, forecast, day, costs, decision)
    found = sample.scores(np.vstack([np.ones(sample.days), sample.resamples(draws)]))
    return {
        name: Estimate(float(values[0]), *percentiles(values[1:], confidence, sample.days))
        for name, values in found.items()
    }


def by_slice(
    value: Column,
    label: Column,
    forecast: Column,
    day: Column,
    costs: Costs,
    *,
    decision: Column | None = None,
    min_rows: int = 1,
) -> dict[str, Metrics]:
    """Compute metrics and intervals for each level of `value` with `min_rows` rows, most frequent first."""
    levels, of_level, counts = np.unique(
        np.asarray(value).astype(str), return_inverse=True, return_counts=True
    )
    slices = {}
    for level in np.argsort(-counts, kind="stable"):
        if counts[level] < min_rows:
            break
        here = of_level == level
        decided = None if decision is None else decision[here]
        slices[str(levels[level])] = evaluate(label[here], forecast[here], day[here], costs, decision=decided)
    return slices


def paired_difference(cost_a: Column, cost_b: Column, day: Column, *, confidence: float = 0.95) -> Difference:
    """Return the saving of b over a per 1,000 decisions, with a paired bootstrap interval over days."""
    saved = np.asarray(cost_a, dtype=np.float64) - np.asarray(cost_b, dtype=np.float64)
    _, of_day = np.unique(np.asarray(day), return_inverse=True)
    if not saved.size == of_day.size > 0:
        raise ValueError(f"{saved.size} pairs of costs, but days for {of_day.size} rows")
    days = int(of_day.max()) + 1
    rows = sums(of_day, np.ones(saved.size), days)
    return difference_of_days(sums(of_day, saved, days), rows, confidence=confidence)


def difference_of_days(saved: Floats, rows: Floats, *, confidence: float = 0.95) -> Difference:
    """Return the saving per 1,000 decisions from each day's total saving and number of decisions."""
    means = day_means(saved, rows, DRAWS)
    low, high = percentiles(means * DECISIONS, confidence, rows.size)
    standard_error = float(means.std()) * DECISIONS
    return Difference(float(saved.sum() / rows.sum()) * DECISIONS, low, high, standard_error)

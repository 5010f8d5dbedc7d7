"""Does the label still mean what the model learnt? Residuals of the label, by day, against every input.

The label minus the forecast has a mean of zero whatever it is multiplied with, as long as what the model
learnt still holds. Two statistics share the false alarms, each with its own calibrated limit, so that another
rate is told from another meaning:

| statistic | formula, over the days of a window | what moved |
|---|---|---|
| label bias | sum of residuals / rows; the same of sure rows, by weights | its rate |
| label by input | sum of weighted residuals x input / weights, of the score and each input | its meaning |

A bad day moves the rows most that the model is least sure of. So a row weighs by the inverse square of its
spread: the sure rows of a bad day are like those of others.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fivestage.contract.cost_model import HIGH, LOW, VALUE
from fivestage.evaluation.daily import SMALLEST, Column, Floats, sums
from fivestage.monitoring.daily_statistics import LEAST_SHARE, DailyStatistic, Statistic, Window
from fivestage.monitoring.drift import Finding, findings_of
from fivestage.monitoring.drift_limits import calibrate, compare_days, whole
from fivestage.monitoring.residuals import Design, design_of

LABEL, SURE_ROWS, SCORE_INPUT = "label", "label of sure rows", "the score"
SMALLEST_VARIANCE = 0.03  # added to that of a label, so that no sure row counts for all
SMALLEST_WIDTH = 0.2  # of the usual width, added to that of an interval, for the same reason
MAX_WIDTHS = 5.0  # widths of an interval that one row counts for
OTHERWISE = "the label goes another way with it than the model learnt: {now:+.3f}, was {then:+.3f}"
RATE = Statistic("label bias", LEAST_SHARE, jackknifed=True, words="{label}: {now:+.1%}, was {then:+.1%}")
MEANING = Statistic("label by input", LEAST_SHARE, jackknifed=True, words=OTHERWISE)


@dataclass(frozen=True)
class LabelResiduals:
    """How labels lie off predictions: each row's residual, score and spread, and the words for it."""

    of: Callable[[Column, Floats], tuple[Floats, Floats, Floats]]
    words: str


def label_statistics(
    window: Window, label: Column, forecast: Floats, design: Design, kind: LabelResiduals
) -> list[DailyStatistic]:
    """Both statistics of a window whose frame holds the inputs, by day."""
    residual, score, spread = kind.of(label, forecast)
    weight, words = 1 / spread**2, f"{kind.words} off the predictions"
    inputs, names = [score, *design.matrix(window)[:, 1:].T], (SCORE_INPUT, *design.names.tolist())

    def by_day(columns: Iterable[Floats]) -> Floats:
        return np.column_stack([sums(window.of_day, column, window.days) for column in columns])

    rate = by_day([residual, weight * residual]), by_day([np.ones(len(residual)), weight])
    meaning = by_day(weight * residual * one for one in inputs), by_day([weight] * len(inputs))
    return [
        DailyStatistic(RATE, (LABEL, SURE_ROWS), (words, f"of sure rows, {words}"), *rate),
        DailyStatistic(MEANING, names, ("",) * len(names), *meaning),
    ]


def detect_label_drift(
    windows: tuple[Window, Window],
    label: tuple[Column, Column],
    forecast: tuple[Floats, Floats],
    false_alarm: float,
    kind: LabelResiduals,
) -> list[Finding]:
    """The findings of labels, furthest first; the frames of reference and current window hold the inputs.

    The model must not have learnt from a row of the reference: its residuals there are too small.
    """
    reference, current = windows
    design = replace(design_of(reference), zeros=())
    was, now = (
        label_statistics(window, truth, predicted, design, kind)
        for window, truth, predicted in zip(windows, label, forecast, strict=True)
    )
    limits = calibrate(was, current.days, false_alarm)
    found = compare_days(now, was, whole(now), whole(was))
    return findings_of(now, was, found, limits, (reference.first, current.first))


def _of_probabilities(truth: Column, probability: Floats) -> tuple[Floats, Floats, Floats]:
    """The label minus the probability, the log-odds, the variance: by that a bad day moves probabilities."""
    chance = np.clip(np.asarray(probability, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    residual = np.asarray(truth, dtype=np.float64) - chance
    return residual, np.log(chance / (1 - chance)), chance * (1 - chance) + SMALLEST_VARIANCE


def _of_numbers(truth: Column, forecast: Floats) -> tuple[Floats, Floats, Floats]:
    """The label minus the value, the value, both in widths of the interval, and the width."""
    low, high = forecast[:, LOW], forecast[:, HIGH]
    width = np.maximum(high - low, SMALLEST)
    value, usual = forecast[:, VALUE], np.median(width)
    residual = np.clip((truth - value) / width, -MAX_WIDTHS, MAX_WIDTHS)
    return residual, value / usual, width / usual + SMALLEST_WIDTH


OF_PROBABILITIES = LabelResiduals(_of_probabilities, "the rate lies")
OF_NUMBERS = LabelResiduals(_of_numbers, "in widths of an interval, outcomes lie")


def label_findings(
    windows: tuple[Window, Window],
    labels: Sequence[Column],
    predictions: Sequence[Floats],
    task: str,
    false_alarm: float,
) -> list[Finding]:
    """The findings of labels; each of several classes by itself, with its part of the false alarms."""
    then, now = predictions
    if task == "regression":
        return detect_label_drift(windows, (labels[0], labels[1]), (then, now), false_alarm, OF_NUMBERS)
    classes = [1] if then.shape[1] == 1 else list(range(then.shape[1]))
    found: list[Finding] = []
    for place, one in enumerate(classes):
        truth = [(label == one).astype(np.float64) for label in labels]
        predicted = (then[:, place], now[:, place])
        share = false_alarm / len(classes)
        some = detect_label_drift(windows, (truth[0], truth[1]), predicted, share, OF_PROBABILITIES)
        several = len(classes) > 1
        found += [replace(one, column=f"class {place}: {one.column}") for one in some] if several else some
    return sorted(found, key=lambda finding: -finding.exceedance)

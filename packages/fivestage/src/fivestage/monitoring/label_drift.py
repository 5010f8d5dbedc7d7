"""Does the label still mean what the model learnt? Residuals of the label, by day, against every input.

The label minus the forecast has a mean of zero whatever it is multiplied with, as long as what the model
learnt still holds. Two statistics share the false alarms, each with its own calibrated limit, so that another
rate is told from another meaning; of several classes, each has items of its own:

| statistic | formula, over the days of a window | what moved |
|---|---|---|
| label bias | sum of residuals / rows; the same of sure rows, by weights | its rate |
| label by input | sum of weighted residuals x input / weights, of the score and each input | its meaning |

A bad day moves the rows most that the model is least sure of. So a row weighs by the inverse square of its
spread: the sure rows of a bad day are like those of others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from fivestage.contract.cost_model import HIGH, LOW, VALUE
from fivestage.evaluation.daily import SMALLEST, Column, Floats, sums
from fivestage.monitoring.daily_statistics import LEAST_SHARE, DailyStatistic, Item, Statistic, Window
from fivestage.monitoring.drift import Finding, calibrate, findings_of
from fivestage.monitoring.residuals import Design, design_of

LABEL, SURE_ROWS, SCORE_INPUT = "label", "label of sure rows", "the score"
SMALLEST_VARIANCE = 0.03  # added to that of a label, so that no sure row counts for all
SMALLEST_WIDTH = 0.2  # of the usual width, added to that of an interval, for the same reason
MAX_WIDTHS = 5.0  # widths of an interval that one row counts for
OTHERWISE = "the label goes another way with it than the model learnt: {now:+.3f}, was {then:+.3f}"
RATE = Statistic("label bias", LEAST_SHARE, jackknifed=True, words="{label}: {now:+.1%}, was {then:+.1%}")
MEANING = Statistic("label by input", LEAST_SHARE, jackknifed=True, words=OTHERWISE)


def label_findings(
    windows: tuple[Window, Window],
    labels: Sequence[Column],
    forecasts: Sequence[Floats],
    task: str,
    false_alarm: float,
) -> list[Finding]:
    """The findings of labels, by inputs of a reference that the model has not learnt from and of now."""
    reference, current = windows
    design = replace(design_of(reference), zeros=())
    was, now = (
        label_statistics(window, label, forecast, design, task)
        for window, label, forecast in zip(windows, labels, forecasts, strict=True)
    )
    limits = calibrate(was, current.days, false_alarm)
    return findings_of(now, was, limits, (reference.first, current.first))


def label_statistics(
    window: Window, label: Column, forecast: Floats, design: Design, task: str
) -> list[DailyStatistic]:
    """Both statistics of a window whose frame holds the inputs, by day."""
    words = "in widths of an interval, outcomes lie" if task == "regression" else "the rate lies"
    words += " off the predictions"
    inputs, names = design.matrix(window)[:, 1:].T, (SCORE_INPUT, *design.names.tolist())
    rate: list[Item] = []
    meaning: list[Item] = []

    def by_day(values: Floats) -> Floats:
        return sums(window.of_day, values, window.days)

    for prefix, residual, score, spread in label_residuals(label, forecast, task):
        weight = 1 / spread**2
        weighted, weights = weight * residual, by_day(weight)
        rate += [
            (prefix + LABEL, words, by_day(residual), window.rows),
            (prefix + SURE_ROWS, f"of sure rows, {words}", by_day(weighted), weights),
        ]
        meaning += [
            (prefix + name, "", by_day(weighted * one), weights)
            for name, one in zip(names, (score, *inputs), strict=True)
        ]
    return [DailyStatistic.of(RATE, rate), DailyStatistic.of(MEANING, meaning)]


def label_residuals(
    label: Column, forecast: Floats, task: str
) -> Iterator[tuple[str, Floats, Floats, Floats]]:
    """Of each class what its columns' names begin with, and each row's residual, score and spread."""
    truth = np.asarray(label, dtype=np.float64)
    if task == "regression":  # in widths of the interval
        value, width = forecast[:, VALUE], np.maximum(forecast[:, HIGH] - forecast[:, LOW], SMALLEST)
        residual, usual = np.clip((truth - value) / width, -MAX_WIDTHS, MAX_WIDTHS), np.median(width)
        yield "", residual, value / usual, width / usual + SMALLEST_WIDTH
        return
    chances = np.clip(forecast.reshape(len(truth), -1), SMALLEST, 1 - SMALLEST).T
    for place, chance in enumerate(chances):
        prefix, level = (f"class {place}: ", place) if len(chances) > 1 else ("", 1)
        spread = chance * (1 - chance) + SMALLEST_VARIANCE  # by so much a bad day moves a probability
        yield prefix, (truth == level) - chance, np.log(chance / (1 - chance)), spread

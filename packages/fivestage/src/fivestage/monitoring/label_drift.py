"""Label drift: residuals of the label by day, and their association with every input.

While the relation that the model learnt holds, the label minus the forecast has a mean of zero, also if
weighted by any input. Two statistics with separately calibrated limits share the false alarms, to distinguish
a change of the label's rate from a change of its relation to the inputs. Each class has its own items:

| statistic | formula, over the days of a window or, for ranks, of each of its days | what moved |
|---|---|---|
| label bias | sum of residuals / rows; the same with weights, for confident rows | the rate |
| label by input | the same with weights x an input or the score / weights x its size | the relation |

A bad day moves together all rows about which the model is not confident, so rows are weighted by the inverse
cube of their spread: of weeks with a rate 10 points higher, that detects 99%, the inverse square 97%. Windows
of at least `RANKED_DAYS` days are compared by the ranks of their days among the reference's, not by the sums:
a stormy day hardly affects ranks.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from fivestage.contract.cost_model import HIGH, LOW, VALUE
from fivestage.evaluation.daily import SMALLEST, Column, Floats, sums
from fivestage.monitoring.daily_statistics import (
    LEAST_SHARE,
    CodedColumn,
    DailyStatistic,
    Item,
    Statistic,
    Window,
)
from fivestage.monitoring.drift import Finding, calibrate, findings_of
from fivestage.monitoring.residuals import design_matrix, design_names

LABEL, CONFIDENT_ROWS, SCORE_INPUT = "label", "label of confident rows", "the score"
SMALLEST_VARIANCE = 0.01  # added to that of a label, so that no single confident row dominates
SMALLEST_WIDTH = 0.2  # share of the median width, added to an interval's width for the same reason
MAX_WIDTHS = 5.0  # limit of a residual, in widths of the interval
CHANGED = "its relation to the label has changed: mean error weighted by it {now:+.3f}, was {then:+.3f}"
BIAS = "{label} by {now:+.1%}, was {then:+.1%}"
RATE = Statistic("label bias", LEAST_SHARE, jackknifed=True, ranked=True, words=BIAS)
MEANING = Statistic("label by input", LEAST_SHARE, jackknifed=True, ranked=True, words=CHANGED)


def label_findings(
    windows: tuple[Window, Window],
    labels: Sequence[Column],
    forecasts: Sequence[Floats],
    task: str,
    false_alarm: float,
) -> list[Finding]:
    """Return the findings for labels; the model must not have been trained on the reference window.

    Only days with labelled rows count: where labels arrive late, the last days of each period have none.
    """
    reference, current = windows
    usual_days, days = (int(np.count_nonzero(window.rows)) for window in windows)
    if usual_days < 2 * days:  # too few for `calibrate`
        return []
    columns = [CodedColumn(reference, str(name)) for name in reference.frame]
    inputs = columns, [CodedColumn(current, one.name, one.reference) for one in columns]
    was, now = (
        label_statistics(*given, task) for given in zip(windows, labels, forecasts, inputs, strict=True)
    )
    limits = calibrate(was, days, false_alarm)
    return findings_of(now, was, limits, (reference.first, current.first))


def label_statistics(
    window: Window, label: Column, forecast: Floats, columns: Sequence[CodedColumn], task: str
) -> list[DailyStatistic]:
    """Compute both statistics by day for a window with these columns of inputs."""
    in_widths = task == "regression"
    words = "outcomes differ" if in_widths else "the rate differs"
    words += f" from the predictions{', in widths of the interval,' if in_widths else ''}"
    inputs, names = design_matrix(columns, 0, len(label))[:, 1:].T, [SCORE_INPUT, *design_names(columns)]
    rate: list[Item] = []
    relation: list[Item] = []

    def by_day(values: Floats) -> Floats:
        return sums(window.of_day, values, window.days)

    for prefix, residual, score, spread in label_residuals(label, forecast, task):
        weight = 1 / spread**3
        weighted, weights = weight * residual, by_day(weight)
        rate += [
            (prefix + LABEL, words, by_day(residual), window.rows),
            (prefix + CONFIDENT_ROWS, f"among confident rows, {words}", by_day(weighted), weights),
        ]
        relation += [
            (prefix + name, "", by_day(weighted * one), by_day(weight * np.abs(one)))
            for name, one in zip(names, (score, *inputs), strict=True)
        ]
    return [DailyStatistic.of(RATE, rate), DailyStatistic.of(MEANING, relation)]


def label_residuals(
    label: Column, forecast: Floats, task: str
) -> Iterator[tuple[str, Floats, Floats, Floats]]:
    """Yield for each class the prefix of its item names, and each row's residual, score and spread."""
    truth = np.asarray(label, dtype=np.float64)
    if task == "regression":  # in widths of the interval
        value, width = forecast[:, VALUE], np.maximum(forecast[:, HIGH] - forecast[:, LOW], SMALLEST)
        residual, usual = np.clip((truth - value) / width, -MAX_WIDTHS, MAX_WIDTHS), np.median(width)
        yield "", residual, value / usual, width / usual + SMALLEST_WIDTH
        return
    probabilities = np.clip(forecast.reshape(len(truth), -1), SMALLEST, 1 - SMALLEST).T
    for place, probability in enumerate(probabilities):
        prefix, level = (f"class {place}: ", place) if len(probabilities) > 1 else ("", 1)
        spread = probability * (1 - probability) + SMALLEST_VARIANCE  # as far as a bad day moves it
        yield prefix, (truth == level) - probability, np.log(probability / (1 - probability)), spread

"""Does the label still mean what the model learnt? Residuals of the label, by day, against every input.

The label minus the forecast has a mean of zero whatever it is multiplied with, as long as what the model
learnt still holds. Two statistics share the false alarms, each with its own calibrated limit:

| statistic | formula, over the days of a window | what moved |
|---|---|---|
| label bias | sum of residuals / rows; weighted, of sure rows; times the score; surprise | its rate |
| label by input | sum of weighted residuals x input / weights, of each input | its meaning |

A bad day moves the rows most that the model is least sure of. So inputs weigh a row by the inverse square of
its spread: the sure rows of a bad day are like those of others. The label bias has a limit of its own, so
that a higher rate alone is seen as often as a plain rule on the bias sees it, at the stated false alarms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fivestage.contract.cost_model import HIGH, LOW, VALUE
from fivestage.evaluation.daily import SMALLEST, Column, Floats, sums
from fivestage.monitoring.daily_statistics import DailyStatistic, Window
from fivestage.monitoring.drift import Finding, findings_of
from fivestage.monitoring.drift_limits import calibrate, compare_days
from fivestage.monitoring.residuals import Design, design_of

BIAS, BY_INPUT = "label bias", "label by input"
LABEL = "label"
LEAST = 0.01  # of a rate, or of an interval's width
STABLE_WINDOWS = 8  # two statistics rest on less luck than nine
LEAST_LIMIT = 2.0  # standard deviations: one bias needs less than a maximum over many columns
LEAST_SPREAD = {"probability": 0.03, "number": 0.2}  # of a row, so that no row counts for all
MAX_WIDTHS = 5.0  # widths of an interval that one row counts for
SCORES = ("the score", "the surprise")  # items beside the inputs
SURE_ROWS = "label of sure rows"


@dataclass(frozen=True)
class LabelResiduals:
    """How labels lie off forecasts: each row's residual, score, surprise and spread, and the words for it."""

    of: Callable[[Column, Floats], tuple[Floats, Floats, Floats, Floats]]
    words: str


def label_statistics(
    window: Window, label: Column, forecast: Floats, design: Design, kind: LabelResiduals
) -> list[DailyStatistic]:
    """Both statistics of a window whose frame holds the inputs, by day."""
    residual, score, surprise, spread = kind.of(label, forecast)
    weight = 1 / spread**2
    inputs = design.matrix(window.frame)[:, 1:]

    def by_day(columns: list[Floats]) -> Floats:
        found = [sums(window.of_day, column, window.days) for column in columns]
        return np.column_stack([np.zeros((window.days, 0)), *found])

    rows = by_day([np.ones(len(residual))])
    weights = by_day([weight])
    weighted = weight * residual
    of_scores = by_day([residual, weighted, residual * score, surprise])
    of_inputs = by_day([weighted * column for column in inputs.T])
    return [
        DailyStatistic(
            BIAS,
            (LABEL, SURE_ROWS, *SCORES),
            of_scores,
            np.hstack([rows, weights, rows, rows]),
            LEAST,
            jackknifed=True,
            labels=(
                f"{kind.words} off the predictions",
                f"of sure rows, {kind.words} off the predictions",
                "the label goes another way with the score than the model learnt",
                "the label surprises otherwise than the model expected",
            ),
            words="{label}: {now:+.1%}, was {then:+.1%}",
        ),
        DailyStatistic(
            BY_INPUT,
            tuple(design.names.tolist()),
            of_inputs,
            np.repeat(weights, inputs.shape[1], axis=1),
            LEAST,
            jackknifed=True,
            words="the label goes another way with it than the model learnt: {now:+.3f}, was {then:+.3f}",
        ),
    ]


def detect_label_drift(
    windows: tuple[Window, Window],
    label: tuple[Column, Column],
    forecast: tuple[Floats, Floats],
    false_alarm: float,
    kind: LabelResiduals,
    seed: int = 0,
) -> list[Finding]:
    """The findings of labels, furthest first.

    Args:
        windows: the reference and the current window; the frames hold the inputs. The reference must hold no
            row that the model has learnt from: its residuals there are too small.
        label: of both windows' rows.
        forecast: of both windows' rows, see `fivestage.contract.cost_model`.
        false_alarm: chance that anything alarms where nothing changed but the days.
        kind: how labels lie off forecasts.
        seed: of the mock windows.

    Raises:
        ValueError: where the reference is shorter than two current windows.
    """
    reference, current = windows
    design = design_of(reference.frame, tuple(str(name) for name in reference.frame))
    was, now = (
        label_statistics(window, truth, told, design, kind)
        for window, truth, told in zip(windows, label, forecast, strict=True)
    )
    thresholds = calibrate(was, current.days, false_alarm, seed, LEAST_LIMIT, STABLE_WINDOWS)
    days = [np.ones((1, window.days)) for window in (current, reference)]
    found = compare_days(now, was, days[0], days[1])
    return findings_of(now, was, found, thresholds, (reference.first, current.first))


def _of_probabilities(truth: Column, probability: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The label minus the probability, the log-odds, the log-loss beyond its expectation, the variance.

    A day that moves all log-odds by as much moves probabilities in proportion to their variance.
    """
    chance = np.clip(np.asarray(probability, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    residual = np.asarray(truth, dtype=np.float64) - chance
    odds = np.log(chance / (1 - chance))
    return residual, odds, -residual * odds, chance * (1 - chance) + LEAST_SPREAD["probability"]


def _of_numbers(truth: Column, forecast: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The label minus the value, the value, both in widths of the interval; whether inside; the width."""
    low, high = forecast[:, LOW], forecast[:, HIGH]
    width = np.maximum(high - low, SMALLEST)
    inside = ((truth >= low) & (truth <= high)).astype(np.float64)
    value = forecast[:, VALUE]
    usual = np.median(width)
    residual = np.clip((truth - value) / width, -MAX_WIDTHS, MAX_WIDTHS)
    return residual, value / usual, inside, width / usual + LEAST_SPREAD["number"]


OF_PROBABILITIES = LabelResiduals(_of_probabilities, "the rate lies")
OF_NUMBERS = LabelResiduals(_of_numbers, "in widths of an interval, outcomes lie")

"""Does the label still mean what the model learnt? Residuals of the label, by day, against every input.

The label minus the forecast has a mean of zero whatever it is multiplied with, as long as what the model
learnt still holds. Two statistics share the false alarms, each with its own calibrated limit:

| statistic | formula, over the days of a window | what moved |
|---|---|---|
| label bias | sum of residuals / rows; the same of sure rows, by weights | its rate |
| label by input | sum of weighted residuals x input / weights, of the score and each input | its meaning |

A bad day moves the rows most that the model is least sure of. So inputs weigh a row by the inverse square of
its spread: the sure rows of a bad day are like those of others. The label bias has a limit of its own, so
that a higher rate alone is seen as often as a plain rule on the bias sees it, at the stated false alarms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fivestage.contract.cost_model import HIGH, LOW, VALUE
from fivestage.evaluation.daily import SMALLEST, Column, Floats, side_by_side, sums
from fivestage.monitoring.daily_statistics import DailyStatistic, Statistic, Window
from fivestage.monitoring.drift import Finding, findings_of
from fivestage.monitoring.drift_limits import INDEPENDENT_SHARE, Limits, calibrate, compare_days, whole
from fivestage.monitoring.residuals import Design, design_of

BIAS, BY_INPUT = "label bias", "label by input"
LABEL = "label"
LEAST_LABEL = 0.02  # of a label's rate, or of an interval's width: the least limit of a difference
RATE = Statistic(BIAS, LEAST_LABEL, jackknifed=True, words="{label}: {now:+.1%}, was {then:+.1%}")
MEANING = Statistic(
    BY_INPUT,
    LEAST_LABEL,
    jackknifed=True,
    words="the label goes another way with it than the model learnt: {now:+.3f}, was {then:+.3f}",
)
LEAST_SPREAD = {"probability": 0.03, "number": 0.2}  # of a row, so that no row counts for all
MAX_WIDTHS = 5.0  # widths of an interval that one row counts for
SCORE_INPUT = "the score"  # compared like an input
SURE_ROWS = "label of sure rows"


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
    weight = 1 / spread**2
    inputs = [score, *design.matrix(window)[:, 1:].T]

    def by_day(columns: list[Floats]) -> Floats:
        found = (sums(window.of_day, column, window.days)[:, None] for column in columns)
        return side_by_side(found, window.days)

    weighted = weight * residual
    labels = (f"{kind.words} off the predictions", f"of sure rows, {kind.words} off the predictions")
    names = (SCORE_INPUT, *design.names.tolist())
    return [
        DailyStatistic(
            RATE,
            (LABEL, SURE_ROWS),
            labels,
            by_day([residual, weighted]),
            by_day([np.ones(len(residual)), weight]),
        ),
        DailyStatistic(
            MEANING,
            names,
            ("",) * len(names),
            by_day([weighted * column for column in inputs]),
            by_day([weight] * len(inputs)),
        ),
    ]


def label_limits(
    reference: Sequence[DailyStatistic], window_days: int, false_alarm: float, seed: int = 0
) -> Limits:
    """The limits of both statistics, see `calibrate`.

    The furthest of n days is itself luck: with an exponential tail, a limit that is b times as far has false
    alarms in gamma(1 + b) n^-b of days, twice what is stated for b from n, and what is stated for b from half
    of n. The tail of a sum of days is lighter, so that mocks of several days count in full. Inputs need
    other shares, as most of their many statistics hardly ever move by chance.
    """
    share = INDEPENDENT_SHARE if window_days == 1 else 1.0
    return calibrate(reference, window_days, false_alarm, seed, share)


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
    design = replace(design_of(reference), zeros=())
    was, now = (
        label_statistics(window, truth, predicted, design, kind)
        for window, truth, predicted in zip(windows, label, forecast, strict=True)
    )
    limits = label_limits(was, current.days, false_alarm, seed)
    found = compare_days(now, was, whole(now), whole(was))
    return findings_of(now, was, found, limits, (reference.first, current.first))


def _of_probabilities(truth: Column, probability: Floats) -> tuple[Floats, Floats, Floats]:
    """The label minus the probability, the log-odds, the variance.

    A day that moves all log-odds by as much moves probabilities in proportion to their variance.
    """
    chance = np.clip(np.asarray(probability, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    residual = np.asarray(truth, dtype=np.float64) - chance
    return residual, np.log(chance / (1 - chance)), chance * (1 - chance) + LEAST_SPREAD["probability"]


def _of_numbers(truth: Column, forecast: Floats) -> tuple[Floats, Floats, Floats]:
    """The label minus the value, the value, both in widths of the interval, and the width."""
    low, high = forecast[:, LOW], forecast[:, HIGH]
    width = np.maximum(high - low, SMALLEST)
    value, usual = forecast[:, VALUE], np.median(width)
    residual = np.clip((truth - value) / width, -MAX_WIDTHS, MAX_WIDTHS)
    return residual, value / usual, width / usual + LEAST_SPREAD["number"]


OF_PROBABILITIES = LabelResiduals(_of_probabilities, "the rate lies")
OF_NUMBERS = LabelResiduals(_of_numbers, "in widths of an interval, outcomes lie")


def label_findings(
    windows: tuple[Window, Window],
    labels: Sequence[Column],
    predictions: Sequence[Floats],
    task: str,
    false_alarm: float,
) -> list[Finding]:
    """The findings of labels; each of several classes by itself, with its part of the false alarms.

    Args:
        windows: the reference and the current window.
        labels: of both; the number of the class for several classes.
        predictions: of both (rows, columns).
        task: binary, multiclass or regression.
        false_alarm: chance that anything alarms where nothing changed but the days.
    """
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

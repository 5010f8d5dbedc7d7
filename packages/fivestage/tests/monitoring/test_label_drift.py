"""Labels against forecasts: silent as predicted, loud on another rate, another score, another meaning."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fivestage.evaluation.daily import Floats
from fivestage.monitoring.daily_statistics import DailyStatistic, Window
from fivestage.monitoring.drift import Finding, calibrate, compare_days
from fivestage.monitoring.label_drift import (
    MEANING,
    RATE,
    label_findings,
)
from tests.monitoring.test_drift import PERIOD, REFERENCE, ROWS, drifted, window


def labelled(seed: int, first: int, days: int) -> tuple[Window, Floats, Floats]:
    """A window, labels that come as the score says, and the score."""
    some = window(seed, first, days, rows=4 * ROWS)
    chance = some.frame["score"].to_numpy()
    label = (np.random.default_rng(seed).random(chance.size) < chance).astype(np.float64)
    return some, label, chance


def found(change: str) -> list[Finding]:
    reference, label, chance = labelled(0, 0, REFERENCE)
    current, label_now, chance_now = labelled(10, REFERENCE, PERIOD)
    draw = np.random.default_rng(1)
    label_now = {
        "nothing": label_now,
        "more of them": np.where(draw.random(label_now.size) < 0.3, 1.0, label_now),
        "another meaning": 1 - label_now,
        "no meaning": draw.permutation(label_now),
    }[change]
    pairs = (label, label_now), (chance, chance_now)
    return label_findings((reference, current), *pairs, "binary", 0.01)


def test_labels_as_predicted_are_silent() -> None:
    assert drifted(found("nothing")) == set()


def test_another_rate_is_told_from_another_concept() -> None:
    moved = {one.column: one for one in found("more of them") if one.drifted}
    assert moved["label"].statistic == RATE.name
    assert moved["label"].sentence.startswith("the rate differs from the predictions by +")
    for change in ("another meaning", "no meaning"):
        assert MEANING.name in {one.statistic for one in found(change) if one.drifted}


def test_a_higher_rate_with_unchanged_inputs_is_seen_as_by_a_plain_rule_on_the_bias() -> None:
    """Ten points more are seen in nearly every week."""
    draw, rows, seen, false = np.random.default_rng(4), 480, 0, 0
    trials = 12

    def days(first: int, number: int, more: float) -> tuple[Window, Floats, Floats]:
        day = np.repeat(np.arange(first, first + number), rows)
        chance = draw.choice([0.1, 0.3, 0.6], day.size)
        odds = np.log(chance / (1 - chance)) + draw.normal(0, 0.3, number)[day - first]
        label = draw.random(day.size) < np.minimum(1 / (1 + np.exp(-odds)) + more, 1)
        frame = pd.DataFrame({"x": chance, "y": draw.normal(size=day.size)})
        return Window(frame, day, first, number), label.astype(np.float64), chance

    for _ in range(trials):
        usual, label, chance = days(0, REFERENCE, 0)
        for more in (0.0, 0.1):
            now, label_now, chance_now = days(REFERENCE, PERIOD, more)
            pairs = (label, label_now), (chance, chance_now)
            alarm = bool(drifted(label_findings((usual, now), *pairs, "binary", 0.01)))
            seen += alarm and more > 0
            false += alarm and more == 0
    assert seen == trials
    assert false <= 1


def test_a_level_whose_labels_stopped_is_seen() -> None:
    """Its mean error was taken over all rows, and so stayed below the minimum limit."""
    draw, rows, levels = np.random.default_rng(6), 500, np.array(list("abcdefgh"))

    def days(first: int, number: int) -> tuple[Window, Floats, Floats]:
        day = np.repeat(np.arange(first, first + number), rows)
        chance = draw.choice([0.1, 0.2, 0.3], day.size)
        frame = pd.DataFrame({"x": draw.normal(size=day.size), "level": draw.choice(levels, day.size)})
        return Window(frame, day, first, number), (draw.random(day.size) < chance).astype(np.float64), chance

    usual, label, chance = days(0, REFERENCE)
    now, label_now, chance_now = days(REFERENCE, PERIOD)
    stopped = np.where(now.frame["level"] == "c", 0.0, label_now)
    silent, loud = (
        drifted(label_findings((usual, now), (label, given), (chance, chance_now), "binary", 0.01))
        for given in (label_now, stopped)
    )
    assert silent == set()
    assert "level" in loud


def test_labels_that_arrive_days_later_alarm_falsely_as_often_as_stated() -> None:
    """At the end of each week, in the reference too, the labels of its last days had not arrived."""
    draw, alarms, trials = np.random.default_rng(9), 0, 40
    for delay in (2, 3, 5) * trials:
        day = np.repeat(np.arange(REFERENCE + PERIOD), 20)
        odds, inputs = draw.choice([-1.5, -0.5], day.size), draw.normal(size=(day.size, 8))
        chance = 1 / (1 + np.exp(-odds))
        label = draw.random(day.size) < 1 / (1 + np.exp(-odds - draw.normal(0, 0.5, day[-1] + 1)[day]))
        arrived, usual = day % PERIOD < PERIOD - delay, day < REFERENCE
        parts = arrived & usual, arrived & ~usual
        reference, current = (
            Window(pd.DataFrame(inputs[part]), day[part], first, days - delay)
            for part, first, days in zip(parts, (0, REFERENCE), (REFERENCE, PERIOD), strict=True)
        )
        labels, chances = ([values[part] for part in parts] for values in (label.astype(np.float64), chance))
        alarms += bool(drifted(label_findings((reference, current), labels, chances, "binary", 0.01)))
    assert alarms <= 3  # 1.2 are expected; more than 3 happen once in 30 times


@pytest.mark.parametrize(("days", "ranked"), [(1, False), (PERIOD, False), (PERIOD, True)])
def test_labels_alarm_falsely_as_often_as_stated(days: int, *, ranked: bool) -> None:
    """Of days with exponential tails, which the limits are extended by."""
    draw, others, alarms = np.random.default_rng(6), 40 * PERIOD, []
    weight = np.repeat(np.eye(others // days), days, axis=1)

    def statistics(number: int) -> list[DailyStatistic]:
        return [
            DailyStatistic(
                replace(kind, ranked=ranked),
                tuple(map(str, range(items))),
                ("",) * items,
                draw.laplace(0, 0.1, (number, items)),
                np.ones((number, items)),
            )
            for kind, items in ((RATE, 2), (MEANING, 20))
        ]

    for _ in range(100):
        usual, now = statistics(REFERENCE), statistics(others)
        limits = calibrate(usual, days, 0.01)
        found = compare_days(now, usual, weight, np.ones((len(weight), REFERENCE)))
        alarms += np.any([(found[kind] >= limits[kind]).any(axis=1) for kind in found], axis=0).tolist()
    assert np.mean(alarms) <= 0.011


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_classes_and_numbers_have_their_own_residuals(task: str) -> None:
    draw, rows = np.random.default_rng(5), 60

    def days(first: int, number: int, off: float) -> tuple[Window, Floats, Floats]:
        day = np.repeat(np.arange(first, first + number), rows)
        x = draw.normal(size=day.size)
        if task == "regression":
            forecast = np.column_stack([x, x - 1.28, x + 1.28, x])
            return (
                Window(pd.DataFrame({"x": x}), day, first, number),
                x + draw.normal(off, 1, x.size),
                forecast,
            )
        forecast = draw.dirichlet([2, 2, 2], day.size)
        label = (draw.random((day.size, 1)) > forecast.cumsum(axis=1)).sum(axis=1)
        label = np.where(draw.random(day.size) < off, 2, label)
        return Window(pd.DataFrame({"x": x}), day, first, number), label.astype(np.float64), forecast

    usual = days(0, REFERENCE, 0.0)
    for off, alarm in ((0.0, False), (0.4, True)):
        now = days(REFERENCE, PERIOD, off)
        pairs = zip(usual, now, strict=True)
        windows, labels, forecasts = (tuple(pair) for pair in pairs)
        moved = drifted(label_findings(windows, labels, forecasts, task, 0.01))  # type: ignore[arg-type]
        assert bool(moved) == alarm
    if task == "multiclass":
        assert "class 2: label" in moved

"""Each probe passes on the data as they are, and fires on a leak planted in them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fivestage.common.columns import Floats, Ints, Row
from fivestage.data.splits import cut
from fivestage.evaluation.gates import Probe
from fivestage.features.definitions import Reference
from fivestage.features.offline import build_features, feature_matrix, learn_categories
from fivestage.features.stores import LoggedEvent
from fivestage.training.leakage_measures import measure_of
from fivestage.training.leakage_probes import (
    Build,
    Learn,
    future_is_unseen,
    shuffled_labels_give_chance,
    target_is_not_rebuilt,
    windows_do_not_overlap,
)
from fivestage.training.task_trainer import a_few_trees, trainer_of
from problem import PROBLEM
from problem import features as shipped
from tests.conftest import Slice

HOUR = 3600
LOOKBACK = PROBLEM.features.lookback_seconds
Events = Mapping[str, pd.DataFrame]


def builder(real: Slice) -> Build:
    """The features as the pipeline builds them."""
    return lambda rows, events: build_features(PROBLEM.features, rows, events, real.event_tables.reference)


def look_ahead(real: Slice, build: Build) -> Probe:
    return future_is_unseen(build, real.rows, real.event_tables.events, real.contract, LOOKBACK, moments=3)


def test_no_shipped_feature_sees_the_future(real: Slice) -> None:
    probe = look_ahead(real, builder(real))
    assert probe.passed
    assert probe.sentence.startswith("no feature of ")
    assert "of 0 rows" not in probe.sentence


def test_where_rows_are_days_apart_some_are_looked_at(real: Slice) -> None:
    sparse = real.rows.drop_duplicates("decision_at").iloc[::2_000]
    probe = future_is_unseen(
        builder(real), sparse, real.event_tables.events, real.contract, LOOKBACK, moments=3
    )
    assert probe.sentence.startswith("no feature of 3 rows ")


def test_weather_of_the_hour_that_is_not_over_is_found(real: Slice) -> None:
    def build(rows: pd.DataFrame, events: Events) -> pd.DataFrame:
        early = events["weather"].assign(hour=events["weather"]["hour"] - HOUR)
        return builder(real)(rows, {**events, "weather": early})

    probe = look_ahead(real, build)
    assert not probe.passed
    moved = probe.sentence.removesuffix(" changed when everything after the decision was scrambled").split(
        ", "
    )
    assert "temp" in moved
    assert set(moved) <= {*shipped.WEATHER, "pressure_change"}


def test_outcomes_counted_when_they_were_due_are_found(real: Slice, monkeypatch: pytest.MonkeyPatch) -> None:
    def landing_when_due(event: Row, reference: Reference) -> list[LoggedEvent]:
        due, late = event["scheduled_arrival"], event["landed_at"] - event["scheduled_arrival"]
        return shipped._ended(event, reference, due, (late >= shipped.LATE) * 1, late // 60)

    monkeypatch.setitem(shipped.EVENTS, "landing", landing_when_due)
    probe = look_ahead(real, builder(real))
    assert not probe.passed
    assert "origin_ended_4h_rate" in probe.sentence
    assert "origin_left_1h_rate" not in probe.sentence


def test_a_feature_taken_from_the_label_is_found_by_scrambling(real: Slice) -> None:
    def build(rows: pd.DataFrame, events: Events) -> pd.DataFrame:
        return builder(real)(rows, events).assign(hint=rows[real.contract.label.name])

    probe = look_ahead(real, build)
    assert not probe.passed
    assert probe.sentence == "hint changed when everything after the decision was scrambled"


def rebuilt(real: Slice, **planted: Any) -> Probe:
    features = real.features.assign(**planted)
    return target_is_not_rebuilt(features, label_of(real), measure_of(real.contract))


def label_of(real: Slice) -> Ints:
    label: Ints = real.rows[real.contract.label.name].to_numpy()
    return label


def test_no_shipped_feature_is_the_target(real: Slice) -> None:
    assert rebuilt(real).passed


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_copy_of_the_label_is_found_either_way_up(sign: float, real: Slice) -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, len(real.rows))
    probe = rebuilt(real, copy=sign * label_of(real) + noise)
    assert not probe.passed
    assert "single feature, copy, has ROC-AUC 0.9" in probe.sentence


def test_a_copy_of_the_label_in_words_is_found(real: Slice) -> None:
    probe = rebuilt(real, word=np.where(label_of(real) == 1, "bad", "good"))
    assert not probe.passed
    assert "word, has ROC-AUC 1.000" in probe.sentence


@pytest.mark.parametrize("present", [1.0, "N14228"])
def test_absence_that_is_the_label_is_found(present: Any, real: Slice) -> None:
    tail = pd.Series(present, index=real.rows.index).where(label_of(real) == 0)
    probe = rebuilt(real, tail=tail)
    assert not probe.passed
    assert "tail missing, has ROC-AUC 1.000" in probe.sentence


def shuffled(real: Slice, learn: Learn) -> Probe:
    numbers = feature_matrix(real.features, learn_categories(real.features.iloc[real.windows.train]))
    return shuffled_labels_give_chance(
        learn, numbers, label_of(real), real.windows, measure_of(real.contract)
    )


def encoding(real: Slice, *, honest: bool) -> Learn:
    """Predicts the rate of a flight number's rows, of those to learn from or of all."""
    flight, _ = pd.factorize(real.rows["carrier"] + real.rows["flight"].astype("str") + real.rows["dest"])

    def learn(features: Floats, label: Ints, train: Ints, rows: Ints) -> Floats:
        used = train if honest else np.arange(len(features))
        rate = pd.Series(label[used]).groupby(flight[used]).mean()
        found: Floats = pd.Series(flight[rows]).map(rate).fillna(label[used].mean()).to_numpy()
        return found

    return learn


def test_trees_find_nothing_in_shuffled_labels(real: Slice) -> None:
    assert shuffled(real, a_few_trees(trainer_of(real.contract))).passed


def test_a_target_encoding_learnt_on_all_rows_is_found(real: Slice) -> None:
    assert shuffled(real, encoding(real, honest=True)).passed
    assert not shuffled(real, encoding(real, honest=False)).passed


def test_windows_that_overlap_are_found(real: Slice) -> None:
    at, known = (real.rows[name].to_numpy() for name in ("decision_at", "known_at"))
    windows = real.windows
    assert windows_do_not_overlap(at, known, windows).passed
    fold = windows.folds[0]
    everything = np.arange(len(at))
    for spoilt in (
        replace(windows, train=everything),
        replace(windows, folds=(replace(fold, train=np.append(fold.train, fold.valid[:1])),)),
        replace(windows, folds=(replace(fold, valid=windows.holdout),)),
        replace(windows, after=windows.holdout),
    ):
        assert not windows_do_not_overlap(at, known, spoilt).passed


def test_a_cut_that_forgets_when_labels_are_known_is_found(real: Slice) -> None:
    at, known = (real.rows[name].to_numpy() for name in ("decision_at", "known_at"))
    careless = cut(at, at, real.contract.split, real.windows.as_of)
    probe = windows_do_not_overlap(at, known, careless)
    assert not probe.passed
    assert "gap between windows is -" in probe.sentence

"""Each probe passes on sound data, and fails if a leak is planted in them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fivestage.common.columns import Floats, Ints, Row
from fivestage.data.splits import windows_at
from fivestage.evaluation.gates import Probe
from fivestage.features.definitions import FeatureDefinitions, Reference
from fivestage.features.offline import build_features, feature_matrix, learn_categories
from fivestage.features.stores import LoggedEvent
from fivestage.training.leakage_probes import (
    Build,
    Learn,
    data_probes,
    future_is_unseen,
    measure_of,
    shuffled_labels_give_chance,
    target_is_not_rebuilt,
    windows_do_not_overlap,
)
from fivestage.training.task_trainer import a_few_trees, trainer_of
from tests.synthetic import FEATURES, Prepared, delivery_events, prepared

HOUR = 3600
Events = Mapping[str, pd.DataFrame]


@pytest.fixture(scope="module")
def data() -> Prepared:
    return prepared("binary")


def builder(data: Prepared, definitions: FeatureDefinitions = FEATURES) -> Build:
    """The features as the pipeline builds them."""
    return lambda rows, events: build_features(definitions, rows, events, data.event_tables.reference)


def look_ahead(data: Prepared, build: Build) -> Probe:
    lookback = FEATURES.lookback_seconds
    return future_is_unseen(build, data.rows, data.event_tables.events, data.contract, lookback, moments=3)


def test_no_feature_sees_the_future(data: Prepared) -> None:
    probe = look_ahead(data, builder(data))
    assert probe.passed
    assert probe.sentence.startswith("no feature of ")
    assert "of 0 rows" not in probe.sentence


def test_where_rows_are_days_apart_some_are_looked_at(data: Prepared) -> None:
    sparse = replace(data, rows=data.rows.drop_duplicates("decision_at").iloc[::200])
    probe = look_ahead(sparse, builder(data))
    assert probe.sentence.startswith("no feature of 3 rows ")


def test_a_value_of_the_hour_that_is_not_over_is_found(data: Prepared) -> None:
    def build(rows: pd.DataFrame, events: Events) -> pd.DataFrame:
        early = events["traffic"].assign(hour=events["traffic"]["hour"] - HOUR)
        return builder(data)(rows, {**events, "traffic": early})

    probe = look_ahead(data, build)
    assert not probe.passed
    assert probe.sentence == "traffic changed when everything after the decision was scrambled"


def test_outcomes_counted_when_they_were_due_are_found(data: Prepared) -> None:
    def counted_when_due(event: Row, reference: Reference) -> list[LoggedEvent]:
        return delivery_events({**event, "ended_at": event["ended_at"] - 6 * HOUR}, reference)

    early = replace(FEATURES, events={**FEATURES.events, "delivery": counted_when_due})
    probe = look_ahead(data, builder(data, early))
    assert not probe.passed
    assert "late_14d" in probe.sentence
    assert "traffic" not in probe.sentence


def test_a_feature_taken_from_the_label_is_found_by_scrambling(data: Prepared) -> None:
    def build(rows: pd.DataFrame, events: Events) -> pd.DataFrame:
        return builder(data)(rows, events).assign(hint=rows[data.contract.label.name])

    probe = look_ahead(data, build)
    assert not probe.passed
    assert probe.sentence == "hint changed when everything after the decision was scrambled"


def rebuilt(data: Prepared, **planted: Any) -> Probe:
    features = data.features.assign(**planted)
    return target_is_not_rebuilt(features, label_of(data), measure_of(data.contract))


def label_of(data: Prepared) -> Ints:
    label: Ints = data.rows[data.contract.label.name].to_numpy()
    return label


def test_no_feature_is_the_target(data: Prepared) -> None:
    assert rebuilt(data).passed


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_copy_of_the_label_is_found_either_way_up(sign: float, data: Prepared) -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, len(data.rows))
    probe = rebuilt(data, copy=sign * label_of(data) + noise)
    assert not probe.passed
    assert "single feature, copy, has ROC-AUC 0.9" in probe.sentence


def test_a_copy_of_the_label_in_words_is_found(data: Prepared) -> None:
    probe = rebuilt(data, word=np.where(label_of(data) == 1, "bad", "good"))
    assert not probe.passed
    assert "word, has ROC-AUC 1.000" in probe.sentence


@pytest.mark.parametrize("present", [1.0, "van 3"])
def test_absence_that_is_the_label_is_found(present: Any, data: Prepared) -> None:
    van = pd.Series(present, index=data.rows.index).where(label_of(data) == 0)
    probe = rebuilt(data, van=van)
    assert not probe.passed
    assert "van missing, has ROC-AUC 1.000" in probe.sentence


def test_a_leak_is_found_where_the_classes_of_rows_alternate(data: Prepared) -> None:
    """Two rows per match, the winner first: every second row has the same label."""
    label = np.tile([1, 0], 500)
    probe = target_is_not_rebuilt(pd.DataFrame({"goals": 2.0 * label}), label, measure_of(data.contract))
    assert not probe.passed
    assert "goals, has ROC-AUC 1.000" in probe.sentence


def test_a_probe_that_cannot_be_computed_is_not_applicable(data: Prepared) -> None:
    label, measure = np.zeros(len(data.rows), dtype=np.int64), measure_of(data.contract)
    learn = a_few_trees(trainer_of(data.contract))
    for probe in (
        target_is_not_rebuilt(data.features, label, measure),
        shuffled_labels_give_chance(learn, data.features, label, data.windows, measure),
    ):
        assert not probe.applicable
        assert probe.sentence == "not applicable: all rows tested on have the same label"


def shuffled(data: Prepared, learn: Learn) -> Probe:
    numbers = feature_matrix(data.features, learn_categories(data.features, data.windows.train))
    return shuffled_labels_give_chance(
        learn, numbers, label_of(data), data.windows, measure_of(data.contract)
    )


def encoding(data: Prepared, *, honest: bool) -> Learn:
    """Predict the mean label of a customer's week, from the training rows only or from all rows."""
    week = (data.rows["decision_at"] // (7 * 24 * HOUR)).astype(str)
    group, _ = pd.factorize(data.rows["customer"] + week)

    def learn(features: Floats, label: Ints, train: Ints, rows: Ints) -> Floats:
        used = train if honest else np.arange(len(features))
        rate = pd.Series(label[used]).groupby(group[used]).mean()
        found: Floats = pd.Series(group[rows]).map(rate).fillna(label[used].mean()).to_numpy()
        return found

    return learn


def test_a_training_of_sound_data_passes_each_probe(data: Prepared) -> None:
    found = data_probes(data.contract, data.rows, data.features, data.windows)
    assert [one.name for one in found if one.passed] == [
        "target is not rebuilt",
        "shuffled labels give chance",
        "windows do not overlap",
    ]


def test_trees_find_nothing_in_shuffled_labels(data: Prepared) -> None:
    assert shuffled(data, a_few_trees(trainer_of(data.contract))).passed


def test_a_target_encoding_learnt_on_all_rows_is_found(data: Prepared) -> None:
    assert shuffled(data, encoding(data, honest=True)).passed
    assert not shuffled(data, encoding(data, honest=False)).passed


def test_windows_that_overlap_are_found(data: Prepared) -> None:
    at, known = (data.rows[name].to_numpy() for name in ("decision_at", "known_at"))
    windows = data.windows
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


def test_a_cut_that_forgets_when_labels_are_known_is_found(data: Prepared) -> None:
    at, known = (data.rows[name].to_numpy() for name in ("decision_at", "known_at"))
    careless = windows_at(data.rows.assign(known_at=at), data.contract.split, data.windows.as_of)
    probe = windows_do_not_overlap(at, known, careless)
    assert not probe.passed
    assert "gap between windows is -" in probe.sentence

"""Tests of problem/: tables fulfil the contract, labels come after decisions, features see no future data."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import ProblemSlice
from fivestage.data.event_tables import EventTables
from fivestage.features.offline import build_features
from fivestage.features.problem import Tables
from fivestage.training.leakage_probes import future_is_unseen
from problem import PROBLEM, dataset

MOST_QUARANTINED = 0.01


def test_the_tables_keep_the_contract(tables: Tables, tmp_path: Path) -> None:
    contract = PROBLEM.contract
    rows, _, report = EventTables.ingest(tables, contract, tmp_path, PROBLEM.digest())
    assert len(rows) >= len(tables.rows) * (1 - MOST_QUARANTINED), report.quarantined
    assert len(set(rows[contract.label.name])) > 1


def test_a_label_is_known_after_its_decision(tables: Tables) -> None:
    late = tables.rows["known_at"] < tables.rows["decision_at"]
    assert not late.any(), tables.rows[late].head()


def test_every_window_has_rows(problem_slice: ProblemSlice) -> None:
    windows = problem_slice.windows
    assert min(len(windows.train), len(windows.holdout), len(windows.after)) > 0
    assert all(len(fold.valid) for fold in windows.folds)


def test_a_batch_is_read_as_the_training_data_is(tables: Tables) -> None:
    source = getattr(dataset, "DATA", "")
    batch = PROBLEM.read_batch(source, PROBLEM.contract) if source else None
    if batch is None:
        pytest.skip("batches of this problem have the contract's own columns")
    assert list(batch) == list(PROBLEM.contract.columns)
    assert len(batch) >= len(tables.rows)


SOME_ROWS = 5


def test_nothing_of_the_future_is_in_the_features(problem_slice: ProblemSlice) -> None:
    reference = problem_slice.events.reference

    def build(rows: pd.DataFrame, events: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        return build_features(PROBLEM.features, rows, events, reference)

    rows, events, lookback = (
        problem_slice.rows,
        problem_slice.events.events,
        PROBLEM.features.lookback_seconds,
    )
    probe = future_is_unseen(build, rows, events, PROBLEM.contract, lookback, moments=3)
    assert probe.passed, probe.sentence


def test_one_row_has_the_features_that_many_rows_have(problem_slice: ProblemSlice) -> None:
    """The service computes one row at a time, training all of them at once."""
    events = problem_slice.events
    texts = {name: "" for name, one in PROBLEM.contract.columns.items() if one.type == "category"}
    rows = problem_slice.rows.fillna(texts)  # as the service reads missing text
    history = PROBLEM.features.offline_store(events.events, events.reference).history()
    sets = tuple(PROBLEM.features.sets)
    for place in np.linspace(0, len(rows) - 1, SOME_ROWS).astype(int):
        row = rows.iloc[place].to_dict()
        computed = PROBLEM.features.compute(sets, row, int(row["decision_at"]), history, events.reference)
        for name, value in computed.items():
            expected = problem_slice.features[name].iloc[place]
            pd.testing.assert_series_equal(
                pd.Series([value]), pd.Series([expected]), check_dtype=False, rtol=0, atol=0, obj=name
            )


def test_what_monitoring_leaves_out_are_features(problem_slice: ProblemSlice) -> None:
    PROBLEM.contract.require_features(problem_slice.features.columns)


def test_no_feature_is_empty_throughout(problem_slice: ProblemSlice) -> None:
    train = problem_slice.features.iloc[problem_slice.windows.train]
    empty = [name for name in train if train[name].isna().all()]
    assert not empty, f"features without any value: {empty}"

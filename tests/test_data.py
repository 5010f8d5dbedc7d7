"""The raw tables as problem/dataset.py reads them: they keep the contract, and labels come later."""

from pathlib import Path

import pytest

from conftest import ProblemSlice
from fivestage.data.event_tables import ingest_tables
from fivestage.features.problem import Tables
from problem import PROBLEM, dataset

MOST_QUARANTINED = 0.01


def test_the_tables_keep_the_contract(tables: Tables, tmp_path: Path) -> None:
    contract = PROBLEM.contract
    rows, _, report = ingest_tables(tables, contract, tmp_path, PROBLEM.digest())
    assert len(rows) >= len(tables.rows) * (1 - MOST_QUARANTINED), report.quarantined
    assert rows[contract.label.name].nunique() > 1


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

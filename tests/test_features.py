"""The features of problem/features.py: nothing of the future is in them, alone or among many rows."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from conftest import ProblemSlice
from fivestage.features.offline import build_features
from fivestage.training.leakage_probes import future_is_unseen
from problem import PROBLEM

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
        found = PROBLEM.features.compute(sets, row, int(row["decision_at"]), history, events.reference)
        for name, value in found.items():
            expected = problem_slice.features[name].iloc[place]
            pd.testing.assert_series_equal(
                pd.Series([value]), pd.Series([expected]), check_dtype=False, rtol=0, atol=0, obj=name
            )


def test_no_feature_is_empty_throughout(problem_slice: ProblemSlice) -> None:
    train = problem_slice.features.iloc[problem_slice.windows.train]
    empty = [name for name in train if train[name].isna().all()]
    assert not empty, f"without a single value: {empty}"

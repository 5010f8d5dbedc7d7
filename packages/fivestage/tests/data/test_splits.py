"""Temporal splits never train on labels that were not known yet."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivestage.common.clock import DAY
from fivestage.common.columns import Ints
from fivestage.common.errors import UserError
from fivestage.contract.contract import iso
from fivestage.data.splits import TemporalSplit, windows_at
from tests.synthetic import prepared, synthetic_problem

SPLIT = synthetic_problem("binary").contract.split.model_copy(
    update={"holdout_days": 10, "folds": 2, "fold_days": 5}
)
AS_OF = 100 * DAY
HOUR = 3600
ROWS = st.lists(st.tuples(st.integers(60 * 24, 110 * 24), st.integers(0, 72)), max_size=60)


def daily(delay_hours: int = 5, start: int = 60, end: int = 110) -> tuple[Ints, Ints]:
    """When rows were decided, at noon of each day, and when their labels were known."""
    decided = np.arange(start, end, dtype=np.int64) * DAY + DAY // 2
    return decided, decided + delay_hours * HOUR


def cut(decided: Ints, known: Ints) -> TemporalSplit:
    return windows_at(pd.DataFrame({"decision_at": decided, "known_at": known}), SPLIT, AS_OF)


def test_windows_lie_where_the_contract_says() -> None:
    decided, known = daily()
    windows = cut(decided, known)
    assert (windows.holdout_start, windows.as_of) == (90 * DAY, AS_OF)
    assert [(fold.start, fold.end) for fold in windows.folds] == [(80 * DAY, 85 * DAY), (85 * DAY, 90 * DAY)]
    spans = {
        "train": (windows.train, 60, 90),
        "fold 1 train": (windows.folds[0].train, 60, 80),
        "fold 1 valid": (windows.folds[0].valid, 80, 85),
        "fold 2 train": (windows.folds[1].train, 60, 85),
        "fold 2 valid": (windows.folds[1].valid, 85, 90),
        "holdout": (windows.holdout, 90, 100),
        "after": (windows.after, 100, 110),
    }
    for name, (rows, start, end) in spans.items():
        assert (decided[rows] // DAY).tolist() == list(range(start, end)), name


def test_a_row_whose_label_came_too_late_is_not_learnt_from() -> None:
    decided, known = daily(delay_hours=13)  # known in the night
    windows = cut(decided, known)
    last = [decided[rows].max() // DAY for rows in (windows.train, windows.holdout)]
    assert last == [88, 98]
    assert [decided[fold.train].max() // DAY for fold in windows.folds] == [78, 83]
    assert [decided[fold.valid].max() // DAY for fold in windows.folds] == [84, 88]


def test_a_label_known_at_the_very_cut_is_too_late() -> None:
    decided, known = daily(delay_hours=12)
    windows = cut(decided, known)
    assert decided[windows.train].max() // DAY == 88
    assert decided[windows.holdout].max() // DAY == 98


def pairs_of(windows: TemporalSplit) -> list[tuple[Ints, Ints]]:
    """Pairs of training rows and the rows they are evaluated on."""
    folds = [
        pair for fold in windows.folds for pair in ((fold.train, fold.valid), (fold.valid, windows.holdout))
    ]
    return [*folds, (windows.train, windows.holdout)]


@given(ROWS)
def test_all_that_is_learnt_was_known_before_it_is_tested(rows: list[tuple[int, int]]) -> None:
    decided, known = daily()
    more = np.array(rows, dtype=np.int64).reshape(-1, 2) * HOUR
    decided, known = np.append(decided, more[:, 0]), np.append(known, more.sum(axis=1))
    windows = cut(decided, known)
    for earlier, later in pairs_of(windows):
        assert known[earlier].max() < decided[later].min()
        assert not set(earlier.tolist()) & set(later.tolist())
    assert (known[windows.holdout] < AS_OF).all()
    assert (decided[windows.after] >= AS_OF).all()
    first, second = windows.folds
    assert set(first.train.tolist()) < set(second.train.tolist()) < set(windows.train.tolist())


@pytest.mark.parametrize(
    ("start", "end", "window"),
    [(60, 90, "the holdout window"), (80, 110, "fold 1's training"), (88, 110, "fold 1's training")],
)
def test_a_window_without_rows_is_a_sentence(start: int, end: int, window: str) -> None:
    with pytest.raises(UserError, match=rf"{window} holds no rows: .* Lower split\.folds"):
        cut(*daily(start=start, end=end))


def test_a_gap_in_the_data_is_named_by_its_fold() -> None:
    decided, known = daily()
    kept = (decided < 85 * DAY) | (decided >= 90 * DAY)
    with pytest.raises(UserError, match="fold 2's validation holds no rows"):
        cut(decided[kept], known[kept])


def test_the_future_may_be_empty() -> None:
    assert len(cut(*daily(end=100)).after) == 0


def test_windows_of_a_problem_never_reach_its_test() -> None:
    one = prepared("binary")
    known, split = one.rows["known_at"].to_numpy(), one.contract.split
    assert known[one.windows.holdout].max() < split.test_start_at
    assert [iso(fold.start)[:10] for fold in one.windows.folds] == ["2024-03-09", "2024-03-23"]
    assert iso(one.windows.holdout_start)[:10] == "2024-04-06"

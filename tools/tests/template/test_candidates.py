"""The initial candidates of a project suit few and many rows, and the service supports them all."""

from runpy import run_path
from typing import Any

import pytest

from fivestage.common.settings import ROOT
from fivestage.training.selection import select
from tests.synthetic import TASKS, prepared

PROBLEMS = ROOT / "tools" / "template" / "problems"
TEXT = ("channel", "region")


def candidates(task: str, rows: int) -> dict[str, Any]:
    made: dict[str, Any] = run_path(str(PROBLEMS / task / "candidates.py"))["candidates"](rows, TEXT)
    return made


@pytest.mark.parametrize("task", TASKS)
def test_there_are_three_to_five_the_cheap_ones_first_and_larger_ones_for_larger_tables(task: str) -> None:
    few, many = candidates(task, 300), candidates(task, 100_000)
    assert 3 <= len(few) < len(many) <= 5
    assert next(iter(few)) in ("logistic regression", "ridge regression")
    small, large = few["boosting, 15 leaves at rate 0.1"], many["boosting, 15 leaves at rate 0.1"]
    assert (small.min_samples_leaf, large.min_samples_leaf) == (6, 100)


@pytest.mark.parametrize("task", TASKS)
def test_each_of_them_can_be_chosen_and_served(task: str) -> None:
    one = prepared(task)
    found = candidates(task, len(one.windows.train))
    selection = select(one.sample, found)
    tried = [row.name for row in selection.leaderboard if row.kind == "candidate"]
    assert tried == list(found)

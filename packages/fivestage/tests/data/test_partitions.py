"""Frames written by period are read back complete, in order, and only for the requested periods."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fivestage.data.partitions import Partitions


@pytest.fixture
def frames(tmp_path: Path) -> Partitions:
    return Partitions(str(tmp_path), seconds=10)


AT = np.array([25, 3, 12, 4, 29], dtype=np.int64)
FRAME = pd.DataFrame({"at": AT, "name": ["e", None, "c", "b", "f"]}).astype({"name": "str"})


def test_rows_go_to_their_periods_and_keep_their_order_there(frames: Partitions) -> None:
    assert frames.spread("rows", FRAME, AT, "one") == {0: 2, 1: 1, 2: 2}
    assert frames.periods("rows") == [0, 1, 2]
    whole = frames.read("rows", 0, 2)
    pd.testing.assert_frame_equal(whole, FRAME.iloc[[1, 3, 2, 0, 4]].reset_index(drop=True))
    assert frames.read("rows", 1, 2, ["at"])["at"].tolist() == [12, 25, 29]


def test_pieces_of_a_period_come_by_name_and_replace_their_like(frames: Partitions) -> None:
    for piece, number in (("b", 1), ("a", 2), ("b", 3)):
        frames.write("rows", 7, pd.DataFrame({"n": [number]}), piece)
    assert frames.read("rows", 7, 7)["n"].tolist() == [2, 3]


def test_what_is_not_there_is_empty(frames: Partitions) -> None:
    assert frames.periods("rows") == []
    assert frames.read("rows", 0, 9).empty


def test_a_cleared_frame_is_gone_and_others_stay(frames: Partitions) -> None:
    for name in ("cleaned/rows", "cleaned/more", "rows"):
        frames.write(name, 0, FRAME)
    frames.clear("cleaned")
    frames.clear("never there")
    assert [frames.periods(name) for name in ("cleaned/rows", "cleaned/more", "rows")] == [[], [], [0]]


def test_a_place_may_be_a_url() -> None:
    frames = Partitions("memory://store", seconds=10)
    frames.spread("rows", FRAME, AT, "one")
    assert frames.read("rows", 0, 2)["at"].tolist() == [3, 4, 12, 25, 29]
    frames.clear("rows")
    assert frames.periods("rows") == []

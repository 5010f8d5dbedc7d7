"""An operation gives the same results for single values and for a column of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fivestage.common.columns import Strings, clip, later, lookup

NUMBERS = st.lists(st.floats(allow_nan=False), min_size=1)
WORDS = st.lists(st.sampled_from(["", "a", "b", "c", "é"]), max_size=20)
TABLE = {"a": 1.0, "b": 2.5, "unasked": 9.0}


@given(WORDS)
def test_a_text_column_holds_its_values(words: list[str]) -> None:
    column = Strings.of(words)
    assert [column.values[code] for code in column.codes] == words
    assert column.values == tuple(dict.fromkeys(words))
    assert len(column) == len(words)


@given(WORDS)
def test_numbers_looked_up_one_by_one_or_by_the_column(words: list[str]) -> None:
    found = lookup(TABLE, Strings.of(words), -1)
    assert found.dtype == np.float64
    assert found.tolist() == [lookup(TABLE, word, -1) for word in words]
    assert found.tolist() == [TABLE.get(word, -1) for word in words]


@given(WORDS)
def test_texts_looked_up_one_by_one_or_by_the_column(words: list[str]) -> None:
    table = {"a": "north", "b": "south", "c": "north"}
    found = lookup(table, Strings.of(words), "elsewhere")
    assert [found.values[code] for code in found.codes] == [
        lookup(table, word, "elsewhere") for word in words
    ]
    assert len(set(found.values)) == len(found.values)  # codes of one value agree


@given(WORDS, st.data())
def test_compared_one_by_one_or_by_the_column(words: list[str], data: st.DataObject) -> None:
    column = Strings.of(words)
    others = data.draw(st.permutations(words))
    assert (column == "a").tolist() == [word == "a" for word in words]
    assert (column != "a").tolist() == [word != "a" for word in words]
    assert (column == Strings.of(others)).tolist() == [
        word == other for word, other in zip(words, others, strict=True)
    ]


def test_what_a_table_lacks_takes_the_default() -> None:
    assert lookup(TABLE, "c", 7) == 7
    assert lookup(TABLE, Strings.of(["a", "c"]), 7).tolist() == [1, 7]
    assert np.isnan(lookup(TABLE, Strings.of(["c"]), float("nan"))).all()
    assert lookup(TABLE, None, 7) == 7  # a missing text, online


@given(NUMBERS, st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_clipped_one_by_one_or_by_the_column(values: list[float], low: float, width: float) -> None:
    high = low + width
    clipped = clip(np.array(values), low, high)
    assert clipped.tolist() == [clip(value, low, high) for value in values]
    assert all(low <= value <= high for value in clipped)
    inside = [low <= value <= high for value in values]
    assert clipped[inside].tolist() == [value for value, kept in zip(values, inside, strict=True) if kept]


def test_what_is_missing_stays_missing_when_clipped() -> None:
    assert np.isnan(clip(float("nan"), 0, 1))
    assert np.isnan(clip(np.array([float("nan")]), 0, 1)).all()


@given(st.lists(st.tuples(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9)), min_size=1))
def test_the_later_one_by_one_or_by_the_column(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(moments) for moments in zip(*pairs, strict=True))
    found = later(first, second)
    assert found.tolist() == [later(*pair) for pair in pairs]
    assert ((found == first) | (found == second)).all()
    assert ((found >= first) & (found >= second)).all()

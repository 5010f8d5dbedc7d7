"""Columns that go together: rows of a day that are alike in one are alike in the other.

What is measured once and told of many rows, such as the hour's reading of a place, repeats in all its columns
at once. A default, a scrambled or a late column breaks that in a single day, however wild the day is.
"""

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.evaluation.daily import Floats, sums

TWINS = 2  # of a column: a fault must part it from both, so that it is not blamed for one of theirs
CANDIDATES = 6  # single columns, of which pairs are tried
LOOKED_AT = 8_000  # rows
DAYS = 8
ENOUGH_PAIRS = 100  # of a day; more tell no more
PRICE = 0.1  # of excess, that a second column must bring
LEAST_EXCESS = 0.8  # of what chance leaves open, by which twins are alike more often than any two rows

Code = NDArray[np.int32]  # the number of each row's value; -1 for none
Pair = tuple[int, ...]  # columns, one or two


def choose_twins(codes: Sequence[Code], day: NDArray[np.int64]) -> tuple[tuple[Pair, ...], ...]:
    """For each column the pair of others that says most of it, and another; from some rows of some days."""
    rows = _some(day)
    if not rows.size:
        return tuple(() for _ in codes)
    some, of_day = [_joint(code[rows]) for code in codes], _joint(day[rows])
    enough = ENOUGH_PAIRS * np.unique(of_day).size
    any_two = max(_alike(_joint(of_day)), 1)

    @cache
    def alike(columns: frozenset[int]) -> float:
        return _alike(_joint(of_day, *(some[column] for column in columns)))

    found = []
    for place in range(len(codes)):
        chance = alike(frozenset({place})) / any_two

        def excess(*others: int, place: int = place, chance: float = chance) -> float:
            pairs = alike(frozenset(others))
            if pairs < enough or chance == 1:
                return 0.0
            return (alike(frozenset({*others, place})) / pairs - chance) / (1 - chance)

        of_one = {other: excess(other) for other in range(len(codes)) if other != place}
        best = sorted(of_one, key=lambda other: -of_one[other])[:CANDIDATES]
        of_pairs: dict[Pair, float] = {(other,): of_one[other] for other in best}
        of_pairs |= {(one, other): excess(one, other) for one, other in combinations(best, 2)}
        chosen: list[Pair] = []
        for pair in sorted(of_pairs, key=lambda pair: PRICE * len(pair) - of_pairs[pair]):
            taken = {column for one in chosen for column in one}
            if of_pairs[pair] >= LEAST_EXCESS and len(chosen) < TWINS and not taken & set(pair):
                chosen.append(pair)
        found.append(tuple(chosen))
    return tuple(found)


def count_twins(
    codes: Sequence[Code], twins: Sequence[Sequence[Pair]], day: NDArray[np.int64], days: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Pairs of rows alike in each twin, and in the column too (days, TWINS x columns).

    The first two are of rows that have a value; the others of all rows, and of those of them that both have
    one or both have none. A day counts for a hundred pairs at most, so that none outweighs the others: a day
    on which all is alike has a hundred times the pairs of another.
    """
    found = np.zeros((4, days, TWINS, len(codes)))
    for place, chosen in enumerate(twins):
        there = codes[place] >= 0
        for number, pair in enumerate(chosen):
            known = np.all([codes[column] >= 0 for column in pair], axis=0)
            sorts = [(0, known & there, codes[place])]
            if not there.all():
                sorts.append((2, known, there.astype(np.int32)))
            for first, rows, code in sorts:
                joint = _joint(day[rows], *(codes[column][rows] for column in pair))
                pairs = _alike_by_day(joint, day[rows], days)
                both = _alike_by_day(_joint(joint, code[rows]), day[rows], days)
                counted = np.minimum(pairs, ENOUGH_PAIRS)
                found[first, :, number, place] = counted
                found[first + 1, :, number, place] = both * counted / np.maximum(pairs, 1)
            if there.all():
                found[2:, :, number, place] = found[0, :, number, place]
    pairs, both, rows_alike, gaps_alike = found.reshape(4, days, -1)
    return pairs, both, rows_alike, gaps_alike


def _some(day: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of some days, of each those that follow one another."""
    present = np.unique(day)
    chosen = present[np.linspace(0, present.size - 1, min(DAYS, present.size)).astype(np.int64)]
    each = LOOKED_AT // max(len(chosen), 1)
    return np.concatenate([np.flatnonzero(day == one)[:each] for one in chosen] or [np.empty(0, np.int64)])


def _joint(*codes: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """A number for each combination of values, from 0 on."""
    joint = codes[0].astype(np.int64)
    for code in codes[1:]:
        joint = joint * (int(code.max(initial=0)) + 2) + code + 1
    return np.asarray(pd.factorize(joint)[0], dtype=np.int64)


def _alike(joint: NDArray[np.int64]) -> float:
    times = np.bincount(joint).astype(np.float64)
    return float((times * (times - 1)).sum())


def _alike_by_day(joint: NDArray[np.int64], day: NDArray[np.int64], days: int) -> Floats:
    times = np.bincount(joint).astype(np.float64)
    of_cell = np.zeros(times.size, dtype=np.int64)
    of_cell[joint] = day
    return sums(of_cell, times * (times - 1), days)

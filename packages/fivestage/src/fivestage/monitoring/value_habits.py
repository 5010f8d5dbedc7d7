"""How values repeat, by day: what a histogram cannot see.

A frozen feed, a default, rounding: values repeat more than they did, or for longer. A change of unit, of
precision or of spelling: values that no other day had, or that none may have. A feed told twice: whole rows
repeat. Each is a sum by day, and what a reference day is held against is always the *other* days, so that a
day to come is on the same footing.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.evaluation.daily import Floats, side_by_side, sums
from fivestage.monitoring.constraints import ANY, Rule, rule_of
from fivestage.monitoring.covarying import choose_twins, count_twins
from fivestage.monitoring.distances import MARGIN, WindowCounts

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(6), np.uint64(2), np.uint64(0xFF51AFD7ED558CCD))


@dataclass(frozen=True)
class Known:
    """The values that a reference column has had, and how far its numbers reached."""

    values: pd.Index
    low: float
    high: float
    rule: Rule = ANY
    twins: tuple[tuple[int, ...], ...] = ()  # columns: rows alike in these are mostly alike in this one too


@dataclass(frozen=True)
class Values:
    """Sums by day (days, columns): `alike` is the chance that two values of a day are the same one."""

    alike: Floats
    alike_days: Floats  # 1 where a day has two values and more
    novel: Floats  # values that no other day of the reference has
    outside: Floats  # numbers beyond all other days' range and a margin, and text that no other day has
    known: Floats
    duplicates: Floats  # rows (days, 1) that are the same as an earlier one of their day
    twins: (
        Floats  # (days, TWINS x columns) pairs of rows of a day that are alike in a column's first twin, ...
    )
    both: Floats  # ... and those of them that are alike in the column too
    twin_rows: Floats  # the same of all rows, ...
    twin_gaps: Floats  # ... and those of them that both have a value or both have none
    against: Floats  # numbers that break the column's rule
    run: Floats  # the longest run of rows with one value, as a share of the day's


def count_values(
    window: WindowCounts, columns: tuple[str, ...], known: tuple[Known, ...] = ()
) -> tuple[Values, tuple[Known, ...]]:
    """The sums, and what to hold later windows against; without `known`, a day is held against the others."""
    day = np.asarray(window.day, dtype=np.int64) - window.first
    found, learnt, codes, rows = [], [], [], np.zeros(len(day), dtype=np.uint64)
    for place, name in enumerate(columns):
        values = window.frame[name]
        sums_of_column, of_column, code = _column(values, day, window.days, known[place] if known else None)
        found.append(sums_of_column)
        learnt.append(of_column)
        codes.append(code.astype(np.int32))
        golden, left, right, mix = _MIX
        bits = code.astype(np.int64).view(np.uint64)  # rows are only compared within their window
        rows = (rows ^ (bits + golden + (rows << left) + (rows >> right))) * mix
    again = pd.DataFrame({"day": day, "row": rows}).duplicated().to_numpy()
    alike, several, novel, outside, there, against = (
        side_by_side(part, window.days) for part in (zip(*found, strict=True) if found else [()] * 6)
    )
    duplicates = sums(day, again, window.days)[:, None]
    twins = tuple(one.twins for one in known) or choose_twins(codes, day)
    learnt = [replace(one, twins=chosen) for one, chosen in zip(learnt, twins, strict=True)]
    of_twins = count_twins(codes, twins, day, window.days)
    order = np.argsort(day, kind="stable")
    run = side_by_side([_longest_run(code[order], day[order], window.days) for code in codes], window.days)
    return Values(alike, several, novel, outside, there, duplicates, *of_twins, against, run), tuple(learnt)


def _column(
    values: pd.Series, day: NDArray[np.int64], days: int, known: Known | None
) -> tuple[tuple[Floats, ...], Known, NDArray[np.int64]]:
    code, distinct = pd.factorize(values)
    there = code >= 0
    width = max(len(distinct), 1)
    of_day, value, times = _cells(day[there], code[there], days, width)
    rows = sums(of_day, times, days)
    alike = sums(of_day, times * (times - 1.0), days) / np.maximum(rows * (rows - 1), 1)
    numeric = pd.api.types.is_numeric_dtype(values)
    index = pd.Index(distinct)
    if known is None:
        novel = np.bincount(value, minlength=width)[value] == 1
    else:
        same_kind = numeric == pd.api.types.is_numeric_dtype(known.values)
        found = known.values.get_indexer(index if same_kind else index.astype(str)) >= 0
        novel = ~found[value]
    if numeric:
        number: Floats = np.asarray(distinct, dtype=np.float64)
        lows, highs = _reach(number[value], of_day, days, known)
        beyond = (number[value] < lows[of_day]) | (number[value] > highs[of_day])
        rule = known.rule if known else rule_of(number, value, of_day, times)
        against = rule.broken_by(number)[value]
    else:
        number, beyond, rule, against = np.zeros(0), novel, ANY, np.zeros(len(value), dtype=np.bool_)
    outside = sums(of_day, times * beyond, days)
    finite = number[np.isfinite(number)]
    ends = (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)
    several = (rows > 1).astype(np.float64)
    new, strange = (sums(of_day, times * which, days) for which in (novel, against))
    return (alike, several, new, outside, rows, strange), Known(index, *ends, rule), code


def _longest_run(value: NDArray[np.int32], day: NDArray[np.int64], days: int) -> Floats:
    """How many rows the longest run of one value adds to its first, as a share of each day's."""
    starts = np.flatnonzero(np.diff(value, prepend=-2) | np.diff(day, prepend=-1))
    length = np.diff(np.append(starts, value.size)) * (value[starts] >= 0)
    longest = np.zeros(days)
    np.maximum.at(longest, day[starts], length)
    rows = np.bincount(day, minlength=days)
    return np.asarray(np.maximum(longest - 1, 0) / np.maximum(rows, 1), dtype=np.float64)


def _cells(
    day: NDArray[np.int64], value: NDArray[np.int64], days: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Each pair of a day and a value that occurs, and how often."""
    cell = day * width + value
    if days * width <= 4 * len(cell):
        counts = np.bincount(cell, minlength=days * width)
        found = np.flatnonzero(counts)
        times = counts[found]
    else:
        found, times = np.unique(cell, return_counts=True)
    return (*np.divmod(found, width), times)


def _reach(
    number: Floats, of_day: NDArray[np.int64], days: int, known: Known | None
) -> tuple[Floats, Floats]:
    """For each day, how far its numbers may go: as far as those of the other days, and a margin."""
    if known is not None:
        margin = MARGIN * (known.high - known.low)
        return np.full(days, known.low - margin), np.full(days, known.high + margin)
    low, high = np.full(days, np.inf), np.full(days, -np.inf)
    finite = np.isfinite(number)
    np.minimum.at(low, of_day[finite], number[finite])
    np.maximum.at(high, of_day[finite], number[finite])
    least, most = _of_others(low), -_of_others(-high)
    margins = MARGIN * np.where(np.isfinite(most - least), most - least, 0)
    return least - margins, most + margins


def _of_others(least: Floats) -> Floats:
    """The least of the other days, for each day."""
    ordered = np.append(np.sort(least), -np.inf if least.size == 1 else np.inf)
    of_others: Floats = np.where(np.arange(least.size) == least.argmin(), ordered[1], ordered[0])
    return of_others

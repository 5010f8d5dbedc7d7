"""What moved, day by day: the picture beside an alarm's sentence."""

from dataclasses import dataclass

import numpy as np

from fivestage.evaluation.daily import NAN, Floats
from fivestage.monitoring.daily_counts import Reference, Sums
from fivestage.monitoring.residuals import LEAST_RESIDUAL, ResidualModel


@dataclass(frozen=True)
class Trail:
    """One number a day, those of the reference and those of the period; NaN on days that have none.

    `low` and `high` are what nine in ten of the reference's days keep between.
    """

    what: str
    first: int  # day of the first number of the reference
    usual: tuple[float, ...]
    now: tuple[float, ...]
    low: float
    high: float


def trail(what: str, first: int, usual: Floats, now: Floats) -> Trail:
    """A trail of numbers, with the range of the usual ones."""
    known = usual[np.isfinite(usual)]
    low, high = np.quantile(known, [0.05, 0.95]) if known.size else (NAN, NAN)
    return Trail(what, first, tuple(usual.tolist()), tuple(now.tolist()), float(low), float(high))


def trail_of(kind: str, place: int, item: int, cell: int, reference: Reference, of_days: Sums) -> Trail:
    """How a column's day went in what moved most: a kind of `daily_counts`, and where in it.

    `item` is its place among the numbers of that kind, `cell` the cell of the histogram that moved most.
    """
    what, usual = _measured(kind, place, item, cell, reference, reference.sums)
    _, now = _measured(kind, place, item, cell, reference, of_days)
    return trail(what, reference.window.first, usual, now)


def _measured(
    kind: str, place: int, item: int, cell: int, reference: Reference, sums: Sums
) -> tuple[str, Floats]:
    counts, values, known = sums.counts, sums.values, sums.values.known[:, place]
    parts = {
        "missing": ("share missing", counts.missing[:, place], counts.rows),
        "gaps": ("share missing", counts.missing[:, place], counts.rows),
        "outside": ("share unlike any in the reference", values.outside[:, place], known),
        "novel": ("share that is new to its day", values.novel[:, place], known),
        "rule": ("share against its rule", values.against[:, place], known),
        "run": ("longest run of one value, of the rows", values.run[:, place], counts.days),
        "alike": ("pairs of values that are alike", values.alike[:, place], values.alike_days[:, place]),
    }
    if kind in parts:
        what, part, whole = parts[kind]
        return what, _of(part, whole)
    if kind in ("relation", "scatter"):
        return _related(kind, item, reference, sums)
    design, number = reference.design, reference.design.parts[place]
    if isinstance(number, ResidualModel):
        (raw,) = np.flatnonzero((design.place == place) & (design.kind == "raw"))
        return "mean", number.center + number.spread * _of(sums.residuals.total[:, raw], known)
    share = _of(counts.cells[:, counts.starts[place] + cell], known)
    return f"share of '{reference.binnings[place].labels[cell]}'", share


def _related(kind: str, item: int, reference: Reference, sums: Sums) -> tuple[str, Floats]:
    design, rows = reference.design, sums.counts.rows
    column = np.flatnonzero((design.kind == "score") | (design.kind == "level"))[item]
    if kind == "scatter":
        what = "spread around what the other columns say"
        return what, np.sqrt(_of(sums.residuals.squared[:, column], rows))
    then = reference.sums.whole
    spread = np.sqrt(then.residuals.squared[0, column] / max(then.counts.rows[0], 1)) + LEAST_RESIDUAL
    what = "off what the other columns say, in standard deviations"
    return what, _of(sums.residuals.residual[:, column], rows) / spread


def _of(part: Floats, whole: Floats) -> Floats:
    """A ratio by day; NaN where there is nothing to divide by."""
    return np.asarray(np.where(whole > 0, part / np.maximum(whole, 1), NAN), dtype=np.float64)

"""Which column is at fault, of all that look odd: the others are judged again without it."""

import numpy as np

from fivestage.evaluation.daily import Column, Floats
from fivestage.monitoring.daily_counts import Reference, of_kind, of_residuals
from fivestage.monitoring.residuals import Design, fit, residuals
from fivestage.monitoring.thresholds import Chance, Statistics

RELATED = ("relation", "scatter", "slope")
# Kinds that a fault in another column does not reach.
OWN = ("missing", "outside", "alike", "novel", "run", "rule")
BLAMED = 6  # rounds of looking for the column that broke the relations
SUSPECTS = 8  # in each


def blame(found: Statistics, reference: Reference, product: Floats, chances: dict[str, Chance]) -> None:
    """Clear the columns that look broken only because another column's values are.

    Columns that have an alarm of their own are taken out first, then one by one those without which the
    columns left agree best; these are judged by what they say of each other.
    """
    out = {
        int(column) for kind in OWN for column in np.flatnonzero(chances[kind].beyond(found[kind][0]) >= 1)
    }
    for column, known in enumerate(reference.known):
        if known.twins and column not in out and all(out & set(pair) for pair in known.twins):
            found["twins"][0, column] = 0
    out |= set(np.flatnonzero(chances["twins"].beyond(found["twins"][0]) >= 1).tolist())
    design = reference.design
    places = {kind: design.place[of_kind(kind, design)] for kind in RELATED if kind in found}
    if not places:
        return
    left = _judged_without(out, found, places, reference, product)
    for _ in range(BLAMED):
        furthest = _furthest(left, places, chances, out)
        if len(furthest) <= 1:
            break
        suspects = sorted(furthest, key=lambda column: -furthest[column])[:SUSPECTS]
        without = {one: _judged_without(out | {one}, left, places, reference, product) for one in suspects}
        guilty = min(
            suspects, key=lambda one: sum(_furthest(without[one], places, chances, out | {one}).values())
        )
        out.add(guilty)
        left = without[guilty]
    found.update(left)


def _furthest(
    found: Statistics, places: dict[str, Column], chances: dict[str, Chance], out: set[int]
) -> dict[int, float]:
    """How far the columns reach that are not out and alarm."""
    furthest: dict[int, float] = {}
    for kind, place in places.items():
        for column, beyond in zip(place.tolist(), chances[kind].beyond(found[kind][0]).tolist(), strict=True):
            if beyond >= 1 and column not in out:
                furthest[column] = max(furthest.get(column, 0.0), beyond)
    return furthest


def _judged_without(
    out: set[int], found: Statistics, places: dict[str, Column], reference: Reference, product: Floats
) -> Statistics:
    """What the columns left say of each other, where that is less than what all say."""
    design = reference.design
    kept = ~np.isin(design.place, list(out))
    related = {kind: found[kind].copy() for kind in places}
    if not out or not kept.any():
        return related
    some = Design(design.binnings, design.parts, design.place[kept], design.kind[kept])
    cells = np.concatenate([[True], kept])
    then, now = (one.sum(axis=0)[cells][:, cells] for one in (reference.product, product))
    coefficients = fit(then, some)
    now_left, then_left = (residuals(one[None], coefficients) for one in (now, then))
    rows, rows_then = (np.full((1, 1), max(one[0, 0], 1.0)) for one in (now, then))
    judged = of_residuals(now_left, then_left, rows, rows_then, reference.spread[kept])
    for kind, place in places.items():
        left = ~np.isin(place, list(out))
        related[kind][0, left] = np.minimum(related[kind][0, left], judged[kind][0, of_kind(kind, some)])
    return related

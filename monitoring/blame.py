"""Which column broke the relations: the others are judged again without it."""

import numpy as np

from monitoring.chance import Chance, Statistics
from monitoring.counted import Reference, of_kind, of_residuals
from monitoring.days import Column, Floats
from monitoring.relations import Design, fit, residuals

RELATED = ("relation", "scatter", "slope")
OWN = ("missing", "outside", "alike", "novel", "twins")  # kinds that a fault in another column does not reach
BLAMED = 6  # rounds of looking for the column that broke the relations


def blame(found: Statistics, reference: Reference, product: Floats, chances: dict[str, Chance]) -> None:
    """Clear the columns whose relations look broken only because another column's values are.

    Columns that have an alarm of their own are taken out first, then one by one those furthest beyond their
    limits; the others are judged by what the columns left say.
    """
    if "relation" not in found:
        return
    places = {kind: reference.design.place[of_kind(kind, reference.design)] for kind in RELATED}
    own = [np.flatnonzero(chances[kind].beyond(found[kind][0]) >= 1) for kind in OWN]
    out = set(np.concatenate(own).tolist())
    for _ in range(BLAMED):
        if out:
            _judge_without(out, found, places, reference, product)
        furthest: dict[int, float] = {}
        for kind, place in places.items():
            for column, beyond in zip(place.tolist(), chances[kind].beyond(found[kind][0]), strict=True):
                if beyond >= 1 and column not in out:
                    furthest[column] = max(furthest.get(column, 0.0), float(beyond))
        if len(furthest) <= 1:
            break
        out.add(max(furthest, key=furthest.__getitem__))


def _judge_without(
    out: set[int], found: Statistics, places: dict[str, Column], reference: Reference, product: Floats
) -> None:
    """What the columns left say of each other, where that is less than what all say."""
    design = reference.design
    kept = ~np.isin(design.place, list(out))
    if not kept.any():
        return
    some = Design(design.binnings, design.parts, design.place[kept], design.kind[kept])
    cells = np.concatenate([[True], kept])
    then, now = (one.sum(axis=0)[cells][:, cells] for one in (reference.product, product))
    coefficients = fit(then, some)
    now_left, then_left = (residuals(one[None], coefficients) for one in (now, then))
    rows, rows_then = (np.full((1, 1), max(one[0, 0], 1.0)) for one in (now, then))
    judged = of_residuals(now_left, then_left, rows, rows_then, reference.spread[kept])
    for kind, place in places.items():
        left = ~np.isin(place, list(out))
        found[kind][0, left] = np.minimum(found[kind][0, left], judged[kind][0, of_kind(kind, some)])

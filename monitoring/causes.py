"""What lies behind an alarm: broken data, shifted inputs, another rate of the label, or another concept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.clock import DAY
from core.contract import day_of
from monitoring.concept import ConceptReport
from monitoring.drift import DriftReport
from monitoring.performance import Performance

Kind = Literal["data broken", "input shift", "label-rate shift", "concept shift"]


@dataclass(frozen=True)
class Cause:
    """One cause: what moved, since when, and what that does."""

    kind: Kind
    sentence: str


def causes(
    drift: DriftReport,
    concept: ConceptReport | None,
    performance: Performance,
    effects: Mapping[str, float],
    first_day: int,
    currency: str,
) -> tuple[Cause, ...]:
    """The causes, broken data first; `effects` is by how much each moved column moves the mean prediction.

    Labels that go another way while data are broken are no cause of their own: the data explain them.
    """
    effect = {column.column: abs(effects.get(column.column, 0)) for column in drift.columns}
    found = [
        Cause(
            "data broken" if column.broken else "input shift",
            column.sentence + _since(column.since, first_day) + _effect(effects.get(column.column)),
        )
        for column in sorted(drift.columns, key=lambda one: (not one.broken, -effect[one.column]))
        if column.drifted
    ]
    told = {column.column for column in drift.columns}
    rows = [name for name in drift.drifted if name not in told]
    for name in rows:
        sentence = next(one for one in drift.sentences if one.startswith(f"{name}:"))
        found.append(Cause("data broken" if name in drift.broken else "input shift", sentence))
    if concept and concept.drifted and not drift.broken:
        kind: Kind = "concept shift" if concept.columns else "label-rate shift"
        found.append(Cause(kind, "; ".join(concept.sentences) + _price(performance, currency)))
    return tuple(found)


def _since(day: int | None, first_day: int) -> str:
    return "" if day is None else f"; since {day_of((first_day + day) * DAY)}"


def _effect(moved: float | None) -> str:
    return "" if moved is None else f"; it moves the mean prediction by {moved:+.3f}"


def _price(performance: Performance, currency: str) -> str:
    if performance.scored is None:
        return ""
    dearer = performance.scored.scores["cost_per_1000"] - performance.expected.scores["cost_per_1000"]
    word = "more" if dearer >= 0 else "less"
    return f"; decisions cost {abs(dearer):,.0f} {currency} per 1,000 {word} than the predictions promised"

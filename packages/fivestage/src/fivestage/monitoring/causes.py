"""What lies behind an alarm: broken data, shifted inputs, another rate of the label, or another concept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fivestage.common.clock import DAY
from fivestage.contract.contract import day_of
from fivestage.monitoring.concept import ConceptReport
from fivestage.monitoring.daily_series import Trail
from fivestage.monitoring.drift import ColumnDrift, DriftReport
from fivestage.monitoring.performance import Performance

Kind = Literal["data broken", "input shift", "label-rate shift", "concept shift"]
HARDLY = 0.002  # a mean probability that moves by less has hardly moved


@dataclass(frozen=True)
class Effect:
    """What a column's values of now do to the model, against those of the days before."""

    shift: float  # of the mean probability
    importance: float  # mean distance of the probabilities when the column's usual values are exchanged
    changed: float  # share of decisions
    loss_per_1000: float  # money, if the values of now say nothing


@dataclass(frozen=True)
class Cause:
    """One cause: what moved, since when, what that does, and the days as a picture."""

    kind: Kind
    subject: str
    sentence: str
    trail: Trail | None = None


def causes(
    drift: DriftReport,
    concept: ConceptReport | None,
    performance: Performance,
    effects: Mapping[str, Effect],
    first_day: int,
    currency: str,
) -> tuple[Cause, ...]:
    """The causes, broken data first, then by what they do to the score; `effects` are those of moved columns.

    Labels that go another way while data are broken are no cause of their own: the data explain them.
    """
    moved = [column for column in drift.columns if column.drifted]
    moved.sort(key=lambda one: (not one.broken, -_weight(one, effects)))
    found = [_of_column(column, effects.get(column.column), first_day, currency) for column in moved]
    told = {column.column for column in drift.columns}
    for name in (name for name in drift.drifted if name not in told):
        sentence = next(one for one in drift.sentences if one.startswith(f"{name}:"))
        found.append(Cause("data broken" if name in drift.broken else "input shift", name, sentence))
    if concept and concept.drifted and not drift.broken:
        kind: Kind = "concept shift" if concept.columns else "label-rate shift"
        sentence = "; ".join(concept.sentences) + _price(performance, currency)
        found.append(Cause(kind, "the label", sentence, concept.trail))
    return tuple(found)


def _of_column(column: ColumnDrift, effect: Effect | None, first_day: int, currency: str) -> Cause:
    since = "" if column.since is None else f"; since {day_of((first_day + column.since) * DAY)}"
    kind: Kind = "data broken" if column.broken else "input shift"
    does = "" if effect is None else _does(effect, currency, broken=column.broken)
    return Cause(kind, column.column, column.sentence + since + does, column.trail)


def _weight(column: ColumnDrift, effects: Mapping[str, Effect]) -> float:
    effect = effects.get(column.column)
    return 0.0 if effect is None else abs(effect.shift) + effect.importance


def _does(effect: Effect, currency: str, *, broken: bool) -> str:
    if abs(effect.shift) < HARDLY and effect.changed < HARDLY:
        return "; the score hardly feels it"
    moves = f"; it moves the mean prediction by {effect.shift:+.3f}"
    words = f"{moves} and changes {effect.changed:.1%} of decisions"
    if not broken:
        return words
    return f"{words}, which costs {effect.loss_per_1000:,.0f} {currency} per 1,000 if the values are wrong"


def _price(performance: Performance, currency: str) -> str:
    if performance.scored is None:
        return ""
    dearer = performance.scored.scores["cost_per_1000"] - performance.expected.scores["cost_per_1000"]
    word = "more" if dearer >= 0 else "less"
    return f"; decisions cost {abs(dearer):,.0f} {currency} per 1,000 {word} than the predictions promised"

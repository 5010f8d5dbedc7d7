"""Does the label still mean what the model learnt? Residuals of the label, held against every input.

The label minus the probability has a mean of zero whatever column it is multiplied with, as long as the
model's world lasts. By day, its sums with one, with the margin and with each column move by chance alone;
`monitoring.chance` says how far. A mean that moves is another rate of the label; a product that moves is
another concept: the same input now means something else.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.money import HIGH, LOW, VALUE
from monitoring.chance import Statistics, calibrate
from monitoring.days import NAN, SMALLEST, Column, Floats
from monitoring.distances import Window, bin_column
from monitoring.relations import design_of
from monitoring.trail import Trail, trail

LEAST = {"rate": 0.01, "margin": 0.01, "surprise": 0.01, "column": 0.01}
FURTHEST = 5.0  # widths of an interval that one row counts for
MARGIN, SURPRISE = "the margin", "the surprise"


@dataclass(frozen=True)
class ConceptReport:
    """What of the label's residuals moved: its rate, or its relation to these columns or to the margin."""

    rate: bool
    columns: tuple[str, ...]
    sentences: tuple[str, ...]
    trail: Trail | None = None  # the rate minus the mean probability, where anything moved

    @property
    def drifted(self) -> bool:
        """Whether anything moved."""
        return self.rate or bool(self.columns)


def detect_concept_drift(
    reference: Window,
    current: Window,
    label: tuple[Column, Column],
    forecast: tuple[Floats, Floats],
    false_alarm: float,
    seed: int = 0,
    kind: "Residuals | None" = None,
) -> ConceptReport:
    """Labels and forecasts of both windows, whose frames hold the inputs; by default, of probabilities.

    The reference must hold no row that the model has learnt from: its residuals there are too small.

    Raises:
        ValueError: where the reference is shorter than four current windows.
    """
    kind = kind or CHANCES
    binnings = tuple(bin_column(reference.frame[name]) for name in reference.frame)
    design = design_of(reference.frame, binnings)
    names = [binnings[place].column for place in design.place]
    found, rows = [], []
    for window, truth, told in zip((reference, current), label, forecast, strict=True):
        residual, margin, surprise = kind.of(truth, told)
        of_day = np.asarray(window.day, dtype=np.int64) - window.first
        inputs = design.matrix(pd.DataFrame(window.frame))[:, 1:]
        products = np.column_stack([residual, residual * margin, surprise, residual[:, None] * inputs])
        sums = np.zeros((window.days, products.shape[1]))
        np.add.at(sums, of_day, products)
        found.append(sums)
        rows.append(np.bincount(of_day, minlength=window.days).astype(np.float64))

    def statistics(now: tuple[Floats, Floats], was: tuple[Floats, Floats]) -> Statistics:
        moved = np.abs(now[0] / np.maximum(now[1], 1)[:, None] - was[0] / np.maximum(was[1], 1)[:, None])
        kinds = {
            "rate": moved[:, :1],
            "margin": moved[:, 1:2],
            "surprise": moved[:, 2:3],
            "column": moved[:, 3:],
        }
        return {kind: value for kind, value in kinds.items() if value.shape[1]}

    then, then_rows = found[0], rows[0]
    chances = calibrate(
        lambda mock, rest: statistics((mock @ then, mock @ then_rows), (rest @ then, rest @ then_rows)),
        reference.days,
        current.days,
        false_alarm,
        LEAST,
        np.random.default_rng(seed),
    )
    whole = (found[1].sum(axis=0)[None], rows[1].sum()[None]), (then.sum(axis=0)[None], then_rows.sum()[None])
    judged = statistics(*whole)
    beyond = {kind: chances[kind].beyond(value[0]) for kind, value in judged.items()}
    columns = {names[place]: None for place in np.flatnonzero(beyond.get("column", np.empty(0)) >= 1)}
    special = {MARGIN: beyond["margin"][0] >= 1, SURPRISE: beyond["surprise"][0] >= 1}
    moved = (*(name for name, one in special.items() if one), *columns)
    off_then, off = (float(sums[:, 0].sum() / max(n.sum(), 1)) for sums, n in zip(found, rows, strict=True))
    rate = bool(beyond["rate"][0] >= 1)
    sentences = []
    if rate:
        way = kind.ways[0 if off > off_then else 1]
        sentences.append(kind.words.format(off=off, then=off_then, way=way))
    if moved:
        sentences.append(f"the label goes another way with {', '.join(moved[:4])} than the model learnt")
    picture = None
    if sentences:
        by_day = [
            np.where(n > 0, one[:, 0] / np.maximum(n, 1), NAN) for one, n in zip(found, rows, strict=True)
        ]
        picture = trail("label minus prediction", reference.first, *by_day)
    return ConceptReport(rate, moved, tuple(sentences), picture)


@dataclass(frozen=True)
class Residuals:
    """How labels lie off forecasts: the residual, a margin, a surprise of each row; and how that is said."""

    of: Callable[[Column, Floats], tuple[Floats, Floats, Floats]]
    words: str  # with {off}, {then} and {way}
    ways: tuple[str, str]  # of labels that are more, and less, than forecast


def _of_chances(truth: Column, probability: Floats) -> tuple[Floats, Floats, Floats]:
    """The label minus the probability, the margin, and the log-loss beyond its own expectation."""
    chance = np.clip(np.asarray(probability, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    residual = np.asarray(truth, dtype=np.float64) - chance
    margin = np.log(chance / (1 - chance))
    return residual, margin, -residual * margin


def _of_numbers(truth: Column, forecast: Floats) -> tuple[Floats, Floats, Floats]:
    """The label minus the value, the value, both in widths of the interval; and whether it is inside."""
    low, high = forecast[:, LOW], forecast[:, HIGH]
    width = np.maximum(high - low, SMALLEST)
    inside = ((truth >= low) & (truth <= high)).astype(np.float64)
    value = forecast[:, VALUE]
    return np.clip((truth - value) / width, -FURTHEST, FURTHEST), value / np.median(width), inside


CHANCES = Residuals(
    _of_chances,
    "the rate is {off:+.1%} off the predictions, was {then:+.1%}: labels are {way} than the inputs explain",
    ("more frequent", "rarer"),
)
NUMBERS = Residuals(
    _of_numbers,
    "what comes lies {off:+.1%} of an interval's width off the predictions, was {then:+.1%}: it is {way} "
    "than the inputs explain",
    ("higher", "lower"),
)

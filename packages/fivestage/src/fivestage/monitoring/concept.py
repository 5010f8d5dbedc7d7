"""Does the label still mean what the model learnt? ConceptResiduals of the label, held against every input.

The label minus the probability has a mean of zero whatever column it is multiplied with, as long as the
model's world lasts. By day, its sums with one, with the margin and with each column move by chance alone;
`thresholds` says how far. A mean that moves is another rate of the label; a product that moves is
another concept: the same input now means something else.

A bad day moves the rows most that the model is least sure of. So rows count in the columns' products, and in
a second mean, by the inverse square of their spread: the sure rows of a bad day are like those of others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fivestage.contract.cost_model import HIGH, LOW, VALUE
from fivestage.evaluation.daily import NAN, SMALLEST, Column, Floats, sums
from fivestage.monitoring.daily_series import Trail, trail
from fivestage.monitoring.distances import WindowCounts, bin_column
from fivestage.monitoring.residuals import Design, design_of
from fivestage.monitoring.thresholds import Chance, Statistics, calibrate, steady

LEAST = {"overall": 0.01, "column": 0.01}
LEAST_LIMIT = 2.0
LEAST_SPREAD = {"chance": 0.03, "number": 0.2}  # of a row, so that no row counts for all
FURTHEST = 5.0  # widths of an interval that one row counts for
PLAIN = 3  # of the products count each row alike
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


@dataclass(frozen=True)
class Products:
    """Sums by day (days, 4 + columns of the design) of what the residuals are multiplied with, and rows."""

    sums: Floats
    rows: Floats
    sure: Floats  # rows, each by how sure its forecast is

    def weighted(self, weight: Floats) -> "Products":
        """Sums of days, one for each row of `weight` (sums, days)."""
        return Products(weight @ self.sums, weight @ self.rows, weight @ self.sure)

    @property
    def whole(self) -> "Products":
        """All days together."""
        return self.weighted(np.ones((1, self.rows.size)))

    @property
    def means(self) -> Floats:
        """By row, of any number of rows."""
        plain, weighed = np.split(self.sums, [PLAIN], axis=1)
        rows, sure = (np.where(one > 0, one, 1)[:, None] for one in (self.rows, self.sure))
        return np.hstack([plain / rows, weighed / sure])


def count_products(
    window: WindowCounts, label: Column, forecast: Floats, design: Design, kind: "ConceptResiduals"
) -> Products:
    """The products of a window's residuals with one, the margin and each column."""
    residual, margin, surprise, spread = kind.of(label, forecast)
    sure = 1 / spread**2
    of_day = np.asarray(window.day, dtype=np.int64) - window.first
    inputs = design.matrix(window.frame)  # led by a one
    products = np.column_stack([residual, residual * margin, surprise, (sure * residual)[:, None] * inputs])
    by_day = np.column_stack([sums(of_day, column, window.days) for column in products.T])
    return Products(by_day, *(sums(of_day, weight, window.days) for weight in (np.ones(of_day.size), sure)))


def concept_statistics(now: Products, was: Products) -> Statistics:
    """How far the means moved, by kind."""
    moved = np.abs(now.means - was.means)
    kinds = {"overall": moved[:, : PLAIN + 1], "column": moved[:, PLAIN + 1 :]}
    return {kind: value for kind, value in kinds.items() if value.shape[1]}


def concept_chances(
    reference: Products, window_days: int, false_alarm: float, seed: int = 0
) -> dict[str, Chance]:
    """How far chance moves each kind in windows of so many days; raises as `detect_concept_drift`."""
    return calibrate(
        lambda mock, rest: concept_statistics(reference.weighted(mock), reference.weighted(rest)),
        reference.rows.size,
        window_days,
        false_alarm,
        LEAST,
        np.random.default_rng(seed),
        LEAST_LIMIT,
    )


def detect_concept_drift(
    reference: WindowCounts,
    current: WindowCounts,
    label: tuple[Column, Column],
    forecast: tuple[Floats, Floats],
    false_alarm: float,
    seed: int = 0,
    kind: "ConceptResiduals | None" = None,
) -> ConceptReport:
    """Labels and forecasts of both windows, whose frames hold the inputs; by default, of probabilities.

    The reference must hold no row that the model has learnt from: its residuals there are too small.

    Raises:
        ValueError: where the reference is shorter than two current windows.
    """
    kind = kind or CHANCES
    design = design_of(reference.frame, tuple(bin_column(reference.frame[name]) for name in reference.frame))
    names = [design.binnings[place].column for place in design.place]
    then, now = (
        count_products(window, truth, told, design, kind)
        for window, truth, told in zip((reference, current), label, forecast, strict=True)
    )
    chances = concept_chances(then, current.days, false_alarm, seed)
    judged = steady(
        lambda days, usual: concept_statistics(now.weighted(days), then.weighted(usual)),
        *(np.ones((1, one.rows.size)) for one in (now, then)),
    )
    beyond = {kind: chances[kind].beyond(value[0]) for kind, value in judged.items()}
    columns = {names[place]: None for place in np.flatnonzero(beyond.get("column", np.empty(0)) >= 1)}
    rate, margin, surprise, sure = (beyond["overall"] >= 1).tolist()
    rate |= sure
    moved = (*(name for name, one in ((MARGIN, margin), (SURPRISE, surprise)) if one), *columns)
    off_then, off = (float(one.whole.means[0, 0]) for one in (then, now))
    sentences = []
    if rate:
        way = kind.ways[0 if off > off_then else 1]
        sentences.append(kind.words.format(off=off, then=off_then, way=way))
    if moved:
        sentences.append(f"the label goes another way with {', '.join(moved[:4])} than the model learnt")
    picture = None
    if sentences:
        by_day = [np.where(one.rows > 0, one.means[:, 0], NAN) for one in (then, now)]
        picture = trail("label minus prediction", reference.first, *by_day)
    return ConceptReport(rate, moved, tuple(sentences), picture)


@dataclass(frozen=True)
class ConceptResiduals:
    """How labels lie off forecasts: each row's residual, margin, surprise and spread; how that is said."""

    of: Callable[[Column, Floats], tuple[Floats, Floats, Floats, Floats]]
    words: str  # with {off}, {then} and {way}
    ways: tuple[str, str]  # of labels that are more, and less, than forecast


def _of_chances(truth: Column, probability: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The label minus the probability, the margin, the log-loss beyond its own expectation, the variance.

    A day that moves all margins by as much moves probabilities in proportion to their variance.
    """
    chance = np.clip(np.asarray(probability, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    residual = np.asarray(truth, dtype=np.float64) - chance
    margin = np.log(chance / (1 - chance))
    return residual, margin, -residual * margin, chance * (1 - chance) + LEAST_SPREAD["chance"]


def _of_numbers(truth: Column, forecast: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The label minus the value, the value, both in widths of the interval; whether inside; the width."""
    low, high = forecast[:, LOW], forecast[:, HIGH]
    width = np.maximum(high - low, SMALLEST)
    inside = ((truth >= low) & (truth <= high)).astype(np.float64)
    value = forecast[:, VALUE]
    usual = np.median(width)
    residual = np.clip((truth - value) / width, -FURTHEST, FURTHEST)
    return residual, value / usual, inside, width / usual + LEAST_SPREAD["number"]


CHANCES = ConceptResiduals(
    _of_chances,
    "the rate is {off:+.1%} off the predictions, was {then:+.1%}: labels are {way} than the inputs explain",
    ("more frequent", "rarer"),
)
NUMBERS = ConceptResiduals(
    _of_numbers,
    "what comes lies {off:+.1%} of an interval's width off the predictions, was {then:+.1%}: it is {way} "
    "than the inputs explain",
    ("higher", "lower"),
)

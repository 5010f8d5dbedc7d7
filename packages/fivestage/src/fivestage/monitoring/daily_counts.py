"""All that is counted of a window by day, and the sixteen kinds of statistics made of it."""

from dataclasses import dataclass, replace

import numpy as np

from fivestage.evaluation.daily import Bools, Floats
from fivestage.monitoring.covarying import TWINS
from fivestage.monitoring.distances import (
    Binning,
    HistogramCounts,
    WindowCounts,
    bin_column,
    count_days,
    debiased,
)
from fivestage.monitoring.residuals import (
    LEAST_RESIDUAL,
    Design,
    Residuals,
    cross_fitted,
    design_of,
    fit,
    products,
    residuals,
)
from fivestage.monitoring.thresholds import Statistics
from fivestage.monitoring.value_habits import Known, Values, count_values

# Least scales: what never moved in the reference must not alarm at the first trifle. All columns of a
# kind share a limit, so a scale that is too small for one quiet column's jumps blinds the others.
LEAST = {
    "distance": 0.005,
    "missing": 0.01,
    "outside": 0.08,
    "volume": 0.03,
    "alike": 0.15,
    "novel": 0.1,
    "duplicates": 0.01,
    "shift": 0.02,
    "share": 0.008,
    "relation": 0.02,
    "scatter": 0.02,
    "slope": 0.02,
    "twins": 0.06,
    "gaps": 0.02,
    "run": 0.04,
}
LEAST_NEW_LEVEL = 0.02  # of text: a level that no day had is no chance, unlike a number a little further out
LEAST_VARIED = 0.05  # of pairs: a column that is mostly the same hardly shows how its twins part from it
GAPPY = 0.15  # of the spread of a column's gaps: the more there are, the more twins may differ in
# Kinds that are told of columns of the design, and of which.
OF_DESIGN = {
    "shift": ("score",),
    "share": ("level",),
    "relation": ("score", "level"),
    "scatter": ("score", "level"),
    "slope": ("raw",),
}
SCALE_OF_ALIKE = 0.003
SOME = 3  # values against a rule may be slips
LEAST_REST = 0.01
FLAT = 0.05  # of a column's variance: a prediction that varies by less says little of a slope
STEEPEST = 10.0


@dataclass(frozen=True)
class Sums:
    """All that is counted, days first."""

    counts: HistogramCounts
    values: Values
    residuals: Residuals

    def weighted(self, weight: Floats) -> "Sums":
        """Sums of days, one for each row of `weight` (sums, days)."""
        return Sums(
            self.counts.weighted(weight),
            Values(*(weight @ part for part in vars(self.values).values())),
            Residuals(*(weight @ part for part in vars(self.residuals).values())),
        )

    @property
    def whole(self) -> "Sums":
        """All days together."""
        return self.weighted(np.ones((1, self.counts.days.size)))


@dataclass(frozen=True)
class Reference:
    """A reference window, counted once for any number of windows that are held against it."""

    window: WindowCounts
    binnings: tuple[Binning, ...]
    design: Design
    known: tuple[Known, ...]
    product: Floats
    sums: Sums
    spread: Floats  # of the design's columns

    @property
    def least(self) -> dict[str, float | Floats]:
        """Least scales by kind, of all columns or of each."""
        text = np.array([one.edges is None for one in self.binnings])
        alike = self.sums.values.alike.sum(axis=0) / np.maximum(self.sums.values.alike_days.sum(axis=0), 1)
        missing = self.sums.counts.missing.sum(axis=0) / max(self.sums.counts.rows.sum(), 1)
        return {
            **LEAST,
            "outside": np.where(text, LEAST_NEW_LEVEL, LEAST["outside"]),
            "gaps": LEAST["gaps"] + GAPPY * np.sqrt(missing * (1 - missing)),
            "twins": LEAST["twins"] / np.sqrt(np.maximum(1 - alike, LEAST_VARIED)),
        }


def examine(reference: WindowCounts, seed: int = 0) -> Reference:
    """Count a reference."""
    binnings = tuple(bin_column(reference.frame[name]) for name in reference.frame)
    design = design_of(reference.frame, binnings)
    product = products(reference, design)
    values, known = count_values(reference, tuple(str(name) for name in reference.frame))
    fitted = cross_fitted(product, design, np.random.default_rng(seed))
    total = product.sum(axis=0)
    rows = max(total[0, 0], 1.0)
    variance = np.diag(total)[1:] / rows - (total[0, 1:] / rows) ** 2
    sums = Sums(count_days(reference, binnings), values, fitted)
    return Reference(reference, binnings, design, known, product, sums, np.sqrt(np.maximum(variance, 1e-6)))


def count(reference: Reference, current: WindowCounts) -> tuple[Sums, Floats]:
    """What is counted of a window, by day, and its products; columns that it lacks are missing throughout."""
    names = tuple(one.column for one in reference.binnings)
    frame = current.frame.assign(**{name: np.nan for name in names if name not in current.frame})
    current = replace(current, frame=frame[list(names)])
    product = products(current, reference.design)
    fitted = residuals(product, fit(reference.product.sum(axis=0), reference.design))
    values, _ = count_values(current, names, reference.known)
    return Sums(count_days(current, reference.binnings), values, fitted), product


def statistics(now: Sums, was: Sums, reference: Reference) -> Statistics:
    """Every statistic (sums, columns or columns of the design); those of the rows are (sums, 1)."""
    rows, rows_then = (np.maximum(one.counts.rows, 1)[:, None] for one in (now, was))
    days, days_then = (np.maximum(one.counts.days, 1)[:, None] for one in (now, was))
    several = now.values.alike_days * was.values.alike_days > 0
    alike, alike_then = (
        one.values.alike / np.maximum(one.values.alike_days, 1) + SCALE_OF_ALIKE for one in (now, was)
    )
    moved = np.abs(now.residuals.total / rows - was.residuals.total / rows_then) / reference.spread
    of_design = {"shift": moved, "share": moved} | of_residuals(
        now.residuals, was.residuals, rows, rows_then, reference.spread
    )
    any_row = (now.counts.rows > 0)[:, None]
    found = {
        "distance": debiased(now.counts, was.counts),
        "missing": np.abs(now.counts.missing_share - was.counts.missing_share),
        "outside": _rise(now.values.outside, was.values.outside, now, was),
        "volume": np.abs(np.log(now.counts.rows_a_day / was.counts.rows_a_day))[:, None],
        "alike": np.abs(np.log(alike / alike_then)) * several,
        "novel": _rise(now.values.novel, was.values.novel, now, was),
        "duplicates": np.abs(now.values.duplicates / rows - was.values.duplicates / rows_then),
        "twins": _parted(now.values.twins, now.values.both, was.values.twins, was.values.both),
        "gaps": _parted(
            now.values.twin_rows, now.values.twin_gaps, was.values.twin_rows, was.values.twin_gaps
        ),
        "run": np.maximum(now.values.run / days - was.values.run / days_then, 0),
        "rule": np.maximum(now.values.against - SOME, 0) / np.maximum(now.values.known, 1),
        **{kind: value[:, of_kind(kind, reference.design)] for kind, value in of_design.items()},
    }
    silent = {name: value if name == "volume" else value * any_row for name, value in found.items()}
    return {name: value for name, value in silent.items() if value.shape[1]}


def of_kind(kind: str, design: Design) -> Bools:
    """Of which columns of the design a kind tells."""
    return np.isin(design.kind, OF_DESIGN[kind])


def of_residuals(
    now: Residuals, was: Residuals, rows: Floats, rows_then: Floats, spread: Floats
) -> Statistics:
    """How far residuals moved, for each column of the design.

    The shift of their mean in standard deviations; the logarithm of the ratio of these; and the logarithm of
    the ratio of slopes, of the columns against what the others say.
    """
    square, square_then = now.squared / rows + LEAST_RESIDUAL, was.squared / rows_then + LEAST_RESIDUAL
    slope, slope_then = (
        np.clip(_slope(one, n, spread), 1 / STEEPEST, STEEPEST) for one, n in ((now, rows), (was, rows_then))
    )
    return {
        "relation": np.abs(now.residual / rows - was.residual / rows_then) / np.sqrt(square_then),
        "scatter": np.abs(np.log(square / square_then)) / 2,
        "slope": np.abs(np.log(slope / slope_then)),
    }


def _slope(of: Residuals, rows: Floats, spread: Floats) -> Floats:
    """Of the columns against their predictions; near 1 where these hardly vary."""
    mean, residual = of.total / rows, of.residual / rows
    own, crossed = of.own / rows - mean**2, of.crossed / rows - mean * residual
    predicted = np.maximum(own - 2 * crossed + of.squared / rows - residual**2, 0)
    flat = FLAT * spread**2
    return np.asarray((own - crossed + flat) / (predicted + flat), dtype=np.float64)


def _parted(pairs: Floats, both: Floats, pairs_then: Floats, both_then: Floats) -> Floats:
    """How much rarer it is that rows alike in a column's twins are alike in it: the least over its twins."""
    pairs, both, pairs_then, both_then = (
        part.reshape(*part.shape[:-1], TWINS, -1) for part in (pairs, both, pairs_then, both_then)
    )
    fall = both_then / np.maximum(pairs_then, 1) - both / np.maximum(pairs, 1)
    fall = np.where((pairs > 0) & (pairs_then > 0), fall, np.where(pairs_then > 0, 0.0, np.inf))
    least = fall.min(axis=-2)
    return np.where(np.isfinite(least), np.maximum(least, 0), 0)


def _rise(part: Floats, part_then: Floats, now: Sums, was: Sums) -> Floats:
    """How much smaller the logarithm of the share of other values is: some may be new, hardly all."""
    rest, rest_then = (
        1 - one / np.maximum(sums.values.known, 1) + LEAST_REST
        for one, sums in ((part, now), (part_then, was))
    )
    return np.maximum(np.log(rest_then / rest), 0)

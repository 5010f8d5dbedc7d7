"""Has anything about the inputs, the score or the volume moved more than whole days move by chance?

Eleven kinds of statistics, so that each kind of fault has one that sees it: a season moves columns together
(`distance`, `shift`, `share`) and leaves their relations as they were; a fault in one column breaks relations
(`relation`, `scatter`), makes values repeat or be new (`alike`, `novel`, `outside`, `duplicates`), or lets
them be missing. `monitoring.chance` says how far chance reaches.

Drift of inputs alone is a warning: it cannot tell a season from a fault. Broken data is a fault.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from monitoring.chance import Chance, Statistics, calibrate
from monitoring.days import Bools, Column, Floats
from monitoring.distances import Binning, Counts, Window, bin_column, count_days, debiased
from monitoring.relations import (
    LEAST_RESIDUAL,
    Design,
    Residuals,
    cross_fitted,
    design_of,
    fit,
    products,
    residuals,
)
from monitoring.values import Known, Values, count_values

# Least scales: what never moved in the reference must not alarm at the first trifle.
LEAST = {
    "distance": 0.005,
    "missing": 0.01,
    "outside": 0.01,
    "volume": 0.03,
    "alike": 0.05,
    "novel": 0.02,
    "duplicates": 0.01,
    "shift": 0.02,
    "share": 0.02,
    "relation": 0.02,
    "scatter": 0.02,
}

# What passes its threshold, and this, is no season: the data are broken. A season may move values far.
BROKEN = {
    "distance": np.inf,
    "missing": 0.1,
    "outside": 0.1,
    "volume": float(np.log(2)),
    "alike": float(np.log(3)),
    "novel": 0.3,
    "duplicates": 0.05,
    "shift": np.inf,
    "share": np.inf,
    "relation": 1.0,
    "scatter": float(np.log(2)),
}
SCALE_OF_ALIKE = 0.003
OWN = ("missing", "outside", "alike", "novel")  # kinds that a fault in another column does not reach
VOLUME, ROWS = "rows a day", "whole rows"
ABSENT = 100.0  # times beyond its threshold
BLAMED = 6  # rounds of looking for the column that broke the relations


@dataclass(frozen=True)
class Change:
    """One statistic of the current window, the threshold that chance hardly reaches, and the verdict."""

    value: float
    threshold: float
    drifted: bool
    broken: bool
    beyond: float = 0.0  # 1 at the threshold


@dataclass(frozen=True)
class ColumnDrift:
    """What happened to one column, by kind; `since` is the first of its days that stand out."""

    column: str
    changes: dict[str, Change]
    missing_share: float
    missing_reference: float
    drifted: bool
    broken: bool
    sentence: str
    since: int | None = None

    @property
    def worst(self) -> Change:
        """The change that reaches furthest beyond its threshold."""
        return max(self.changes.values(), key=lambda change: change.beyond)


@dataclass(frozen=True)
class DriftReport:
    """Each column's drift, and that of the rows; `drifted` and `broken` name columns, `VOLUME` or `ROWS`."""

    columns: tuple[ColumnDrift, ...]
    volume: Change
    duplicates: Change
    rows_a_day: float
    rows_a_day_reference: float
    drifted: tuple[str, ...]
    broken: tuple[str, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Sums:
    """All that is counted, days first."""

    counts: Counts
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

    window: Window
    binnings: tuple[Binning, ...]
    design: Design
    known: tuple[Known, ...]
    product: Floats
    sums: Sums
    spread: Floats  # of the design's columns


def detect_drift(reference: Window, current: Window, false_alarm: float, seed: int = 0) -> DriftReport:
    """The drift of the current window in the columns of the reference.

    Where nothing changes but the days, the chance that anything at all drifts is `false_alarm`. Leave out
    columns over windows longer than a period: they drift by construction.

    Raises:
        ValueError: where the reference is shorter than four current windows, too short to know chance from.
    """
    examined = examine(reference, seed)
    return compare(examined, current, chances_of(examined, current.days, false_alarm, seed))


def examine(reference: Window, seed: int = 0) -> Reference:
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


def chances_of(
    reference: Reference, window_days: int, false_alarm: float, seed: int = 0
) -> dict[str, Chance]:
    """How far chance moves each kind in windows of so many days; raises as `detect_drift`."""
    return calibrate(
        lambda mock, rest: _statistics(
            reference.sums.weighted(mock), reference.sums.weighted(rest), reference
        ),
        reference.window.days,
        window_days,
        false_alarm,
        LEAST,
        np.random.default_rng(seed),
    )


def compare(reference: Reference, current: Window, chances: dict[str, Chance]) -> DriftReport:
    """See `detect_drift`."""
    absent = tuple(one.column for one in reference.binnings if one.column not in current.frame)
    of_days, product = count(reference, current)
    found = _statistics(of_days.whole, reference.sums.whole, reference)
    _blame(found, reference, product, chances)
    return _report(found, chances, reference, of_days, absent)


def count(reference: Reference, current: Window) -> tuple[Sums, Floats]:
    """What is counted of a window, by day, and its products; columns that it lacks are missing throughout."""
    names = tuple(one.column for one in reference.binnings)
    frame = current.frame.assign(**{name: np.nan for name in names if name not in current.frame})
    current = replace(current, frame=frame[list(names)])
    product = products(current, reference.design)
    fitted = residuals(product, fit(reference.product.sum(axis=0), reference.design))
    values, _ = count_values(current, names, reference.known)
    return Sums(count_days(current, reference.binnings), values, fitted), product


def alarms(reference: Reference, days: Sums, weight: Floats, chances: dict[str, Chance]) -> dict[str, Bools]:
    """Whether each kind alarms on each sum of days (`weight`, sums x days): many checks at once."""
    then = reference.sums.weighted(np.ones((len(weight), reference.window.days)))
    found = _statistics(days.weighted(weight), then, reference)
    return {kind: chances[kind].beyond(value).max(axis=1) >= 1 for kind, value in found.items()}


def _statistics(now: Sums, was: Sums, reference: Reference) -> Statistics:
    """Every statistic (sums, columns or columns of the design); those of the rows are (sums, 1)."""
    rows, rows_then = (np.maximum(one.counts.rows, 1)[:, None] for one in (now, was))
    several = now.values.alike_days * was.values.alike_days > 0
    alike, alike_then = (
        one.values.alike / np.maximum(one.values.alike_days, 1) + SCALE_OF_ALIKE for one in (now, was)
    )
    moved = np.abs(now.residuals.total / rows - was.residuals.total / rows_then) / reference.spread
    relation, scatter = _of_residuals(now.residuals, was.residuals, rows, rows_then)
    kind = reference.design.kind
    any_row = (now.counts.rows > 0)[:, None]
    lasting = (kind == "score") | (kind == "level")
    found = {
        "distance": debiased(now.counts, was.counts),
        "missing": np.abs(now.counts.missing_share - was.counts.missing_share),
        "outside": _rise(now.values.outside, was.values.outside, now, was),
        "volume": np.abs(np.log(now.counts.rows_a_day / was.counts.rows_a_day))[:, None],
        "alike": np.abs(np.log(alike / alike_then)) * several,
        "novel": _rise(now.values.novel, was.values.novel, now, was),
        "duplicates": np.abs(now.values.duplicates / rows - was.values.duplicates / rows_then),
        "shift": moved[:, kind == "score"],
        "share": moved[:, kind == "level"],
        "relation": relation[:, lasting],
        "scatter": scatter[:, lasting],
    }
    silent = {name: value if name == "volume" else value * any_row for name, value in found.items()}
    return {name: value for name, value in silent.items() if value.shape[1]}


def _of_residuals(now: Residuals, was: Residuals, rows: Floats, rows_then: Floats) -> tuple[Floats, Floats]:
    """The shift of the mean residual, in its standard deviations, and the logarithm of their ratio."""
    square, square_then = now.squared / rows + LEAST_RESIDUAL, was.squared / rows_then + LEAST_RESIDUAL
    moved = np.abs(now.residual / rows - was.residual / rows_then) / np.sqrt(square_then)
    return moved, np.abs(np.log(square / square_then)) / 2


def _rise(part: Floats, part_then: Floats, now: Sums, was: Sums) -> Floats:
    share = part / np.maximum(now.values.known, 1)
    return np.maximum(share - part_then / np.maximum(was.values.known, 1), 0)


def _blame(found: Statistics, reference: Reference, product: Floats, chances: dict[str, Chance]) -> None:
    """Clear the columns whose relations look broken only because another column's values are.

    Columns that have an alarm of their own are taken out first, then one by one those furthest beyond their
    limits; the others are judged by what the columns left say.
    """
    design, kinds = reference.design, ("relation", "scatter")
    if "relation" not in found:
        return
    lasting = (design.kind == "score") | (design.kind == "level")
    place = design.place[lasting]
    own = [np.flatnonzero(chances[kind].beyond(found[kind][0]) >= 1) for kind in OWN]
    out = set(np.concatenate(own).tolist())
    final = {kind: found[kind].copy() for kind in kinds}
    for _ in range(BLAMED):
        left = ~np.isin(place, list(out))
        if out and left.any():
            _judge_without(out, final, left, reference, product)
        beyond = np.max([chances[kind].beyond(final[kind][0]) for kind in kinds], axis=0)
        guilty = left & (beyond >= 1)
        if len(set(place[guilty].tolist())) <= 1:
            break
        out.add(int(place[np.where(guilty, beyond, -np.inf).argmax()]))
    for kind in kinds:
        found[kind] = final[kind]


def _judge_without(
    out: set[int], final: Statistics, left: Column, reference: Reference, product: Floats
) -> None:
    design = reference.design
    kept = ~np.isin(design.place, list(out))
    some = Design(design.binnings, design.parts, design.place[kept], design.kind[kept])
    cells = np.concatenate([[True], kept])
    then, now = (one.sum(axis=0)[cells][:, cells] for one in (reference.product, product))
    coefficients = fit(then, some)
    now_left, then_left = (residuals(one[None], coefficients) for one in (now, then))
    rows, rows_then = (np.full((1, 1), max(one[0, 0], 1.0)) for one in (now, then))
    lasting = (some.kind == "score") | (some.kind == "level")
    judged = _of_residuals(now_left, then_left, rows, rows_then)
    for kind, value in zip(("relation", "scatter"), judged, strict=True):
        final[kind][0, left] = np.minimum(final[kind][0, left], value[0, lasting])


# --- report -------------------------------------------------------------------------------------------------


def _report(
    found: Statistics,
    chances: dict[str, Chance],
    reference: Reference,
    of_days: Sums,
    absent: tuple[str, ...],
) -> DriftReport:
    both = of_days.whole, reference.sums.whole
    now, was = both
    daily = _standing_out(reference, of_days)
    columns = tuple(
        _absent(binning.column)
        if binning.column in absent
        else _column(binning, place, found, chances, reference.design, both, daily)
        for place, binning in enumerate(reference.binnings)
    )
    volume, duplicates = (_change(kind, 0, found, chances) for kind in ("volume", "duplicates"))
    rows, rows_then = float(now.counts.rows_a_day[0]), float(was.counts.rows_a_day[0])
    again = float(now.values.duplicates[0, 0] / max(now.counts.rows[0], 1))
    verdicts = [(column.column, column.drifted, column.broken, column.sentence) for column in columns]
    verdicts.append((VOLUME, volume.drifted, volume.broken, f"{VOLUME}: {rows:.0f}, were {rows_then:.0f}"))
    repeated = f"{ROWS}: {again:.1%} of them repeat an earlier one of their day"
    verdicts.append((ROWS, duplicates.drifted, duplicates.broken, repeated))
    return DriftReport(
        columns,
        volume,
        duplicates,
        rows,
        rows_then,
        drifted=tuple(name for name, drifted, _, _ in verdicts if drifted),
        broken=tuple(name for name, _, broken, _ in verdicts if broken),
        sentences=tuple(sentence for _, drifted, _, sentence in verdicts if drifted),
    )


def _items(kind: str, place: int, design: Design) -> Column:
    """Where a column's numbers are among those of a kind."""
    wanted = {"shift": ("score",), "share": ("level",)}.get(kind, ("score", "level"))
    if kind in ("shift", "share", "relation", "scatter"):
        return np.flatnonzero(design.place[np.isin(design.kind, wanted)] == place)
    return np.array([place])


def _change(kind: str, item: int, found: Statistics, chances: dict[str, Chance]) -> Change:
    value, chance = float(found[kind][0, item]), chances[kind]
    threshold, beyond = float(chance.threshold[item]), float(chance.beyond(found[kind][0])[item])
    return Change(value, threshold, beyond >= 1, beyond >= 1 and value >= BROKEN[kind], beyond)


def _column(
    binning: Binning,
    place: int,
    found: Statistics,
    chances: dict[str, Chance],
    design: Design,
    sums: tuple[Sums, Sums],
    daily: Floats,
) -> ColumnDrift:
    now, was = sums
    name = binning.column
    changes = {}
    for kind in found:
        if kind not in ("volume", "duplicates") and (items := _items(kind, place, design)).size:
            some = [_change(kind, int(item), found, chances) for item in items]
            changes[kind] = max(some, key=lambda change: change.beyond)
    missing, missing_then = (float(one.counts.missing_share[0, place]) for one in sums)
    parts = list(_words(binning, place, {k: c for k, c in changes.items() if c.drifted}, now, was))
    drifted = bool(parts)
    outstanding = np.flatnonzero(daily[:, place] > 1)
    return ColumnDrift(
        name,
        changes,
        missing,
        missing_then,
        drifted=drifted,
        broken=any(change.broken for change in changes.values()),
        sentence=f"{name}: {'; '.join(parts) or 'as in the reference'}",
        since=int(outstanding[0]) if drifted and outstanding.size else None,
    )


def _absent(name: str) -> ColumnDrift:
    gone = Change(1.0, 0.0, drifted=True, broken=True, beyond=ABSENT)
    return ColumnDrift(
        name, {"missing": gone}, 1.0, 0.0, drifted=True, broken=True, sentence=f"{name}: the column is absent"
    )


def _words(binning: Binning, place: int, drifted: dict[str, Change], now: Sums, was: Sums) -> Iterator[str]:
    counts, then = now.counts, was.counts
    known, known_then = (max(float(one.values.known[0, place]), 1) for one in (now, was))
    if "missing" in drifted:
        share, share_then = counts.missing_share[0, place], then.missing_share[0, place]
        yield f"missing in {share:.1%} of rows, was {share_then:.1%}"
    if "outside" in drifted:
        yield f"{now.values.outside[0, place] / known:.1%} of values are unlike any in the reference"
    if "novel" in drifted and "outside" not in drifted:
        share = now.values.novel[0, place] / known
        usual = was.values.novel[0, place] / known_then
        yield f"{share:.1%} of values are new to their day, usually {usual:.1%}: another unit or precision?"
    if "alike" in drifted:
        alike, alike_then = (
            float(one.values.alike[0, place] / max(one.values.alike_days[0, place], 1)) for one in (now, was)
        )
        word = "more" if alike > alike_then else "less"
        yield f"its values repeat {word} than they did: {alike:.1%} of pairs are alike, were {alike_then:.1%}"
    if {"distance", "shift", "share"} & set(drifted):
        cells = slice(counts.starts[place], counts.starts[place] + len(binning.labels))
        share, share_then = counts.shares[0, cells], then.shares[0, cells]
        most = int(np.abs(share - share_then).argmax())
        yield f"'{binning.labels[most]}' has {share[most]:.1%} of values, had {share_then[most]:.1%}"
    if "relation" in drifted:
        yield f"it lies {drifted['relation'].value:.2f} standard deviations off what the other columns say"
    if "scatter" in drifted:
        times = float(np.exp(drifted["scatter"].value))
        yield f"its spread around what the other columns say changed {times:.1f}-fold"


def _standing_out(reference: Reference, of_days: Sums) -> Floats:
    """For each day and column, its furthest statistic against what 95% of the reference's days reach."""
    days = reference.window.days
    usual = _statistics(
        reference.sums.weighted(np.eye(days)), reference.sums.weighted(1 - np.eye(days)), reference
    )
    length = of_days.counts.days.size
    found = _statistics(
        of_days.weighted(np.eye(length)), reference.sums.weighted(np.ones((length, days))), reference
    )
    furthest = np.zeros((length, len(reference.binnings)))
    for kind, value in found.items():
        if kind in ("volume", "duplicates"):
            continue
        limit = np.quantile(usual[kind], 0.95, axis=0) + LEAST[kind]
        for place in range(furthest.shape[1]):
            if (items := _items(kind, place, reference.design)).size:
                furthest[:, place] = np.maximum(furthest[:, place], (value / limit)[:, items].max(axis=1))
    return furthest


def joined(reports: Iterable[DriftReport]) -> DriftReport:
    """Several reports on the same rows as one; the rows are told of by the first."""
    first, *others = reports
    more = [column for other in others for column in other.columns]
    return replace(
        first,
        columns=(*first.columns, *more),
        drifted=(*first.drifted, *(column.column for column in more if column.drifted)),
        broken=(*first.broken, *(column.column for column in more if column.broken)),
        sentences=(*first.sentences, *(column.sentence for column in more if column.drifted)),
    )

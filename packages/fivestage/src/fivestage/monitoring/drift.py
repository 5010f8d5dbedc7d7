"""Has anything about the inputs, the score or the volume moved more than whole days move by chance?

Sixteen kinds of statistics, so that each kind of fault has one that sees it: a season moves columns together
(`distance`, `shift`, `share`) and leaves their relations as they were; a fault in one column breaks relations
(`relation`, `scatter`, `slope`, `twins`), makes values repeat or be new (`alike`, `run`, `novel`, `outside`,
`rule`, `duplicates`), or lets them be missing (`missing`, `gaps`). `thresholds` says how far chance
reaches.

Drift of inputs alone is a warning: it cannot tell a season from a fault. Broken data is a fault.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from fivestage.evaluation.daily import Column, Floats
from fivestage.monitoring.constraints import Rule
from fivestage.monitoring.daily_counts import OF_DESIGN, Reference, Sums, count, examine, of_kind, statistics
from fivestage.monitoring.daily_series import Trail, trail_of
from fivestage.monitoring.distances import Binning, WindowCounts
from fivestage.monitoring.residuals import Design
from fivestage.monitoring.root_cause import RELATED, blame
from fivestage.monitoring.thresholds import Chance, Statistics, Weighing, calibrate, steady

# What passes its threshold, and this, is no season: the data are broken. A season may move values far.
BROKEN = {
    "distance": np.inf,
    "missing": 0.1,
    "outside": float(-np.log(1 - 0.1)),
    "volume": float(np.log(2)),
    "alike": float(np.log(2)),
    "novel": float(np.log(3)),  # two thirds of what would not be new
    "duplicates": 0.05,
    "shift": np.inf,
    "share": np.inf,
    "relation": 1.5,  # standard deviations: warmer air than any before has bent it by one
    "scatter": float(np.log(2)),
    "slope": float(np.log(1.5)),
    "twins": 0.25,
    "gaps": 0.1,
    "run": 0.3,
    "rule": 0.1,
}
FAR = 1.0  # standard deviations that a season may move a column by
OWN_SHARE = 0.5  # of such a move, that the other columns do not explain
VOLUME, ROWS = "rows a day", "whole rows"
AGAINST_RULE = 0.05  # of a column's values: these are no chance
LEAST_OF_DAY = 5  # rows; where days had fewer, one without any is chance
ABSENT = 100.0  # times beyond its threshold


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
    """What happened to one column, by kind; `since` is the day from which on it stands out."""

    column: str
    changes: dict[str, Change]
    missing_share: float
    missing_reference: float
    drifted: bool
    broken: bool
    sentence: str
    since: int | None = None
    trail: Trail | None = None  # where it drifted

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


def detect_drift(
    reference: WindowCounts, current: WindowCounts, false_alarm: float, seed: int = 0
) -> DriftReport:
    """The drift of the current window in the columns of the reference.

    Where nothing changes but the days, the chance that anything at all drifts is `false_alarm`. Leave out
    columns over windows longer than a period: they drift by construction.

    Raises:
        ValueError: where the reference is shorter than two current windows, too short to know chance from.
    """
    examined = examine(reference, seed)
    return compare(examined, current, chances_of(examined, current.days, false_alarm, seed))


def chances_of(
    reference: Reference, window_days: int, false_alarm: float, seed: int = 0
) -> dict[str, Chance]:
    """How far chance moves each kind in windows of so many days; raises as `detect_drift`."""
    chances = calibrate(
        _against(reference, reference.sums),
        reference.window.days,
        window_days,
        false_alarm,
        reference.least,
        np.random.default_rng(seed),
    )
    none = np.zeros(len(reference.binnings))
    return chances | {"rule": Chance(none, none + AGAINST_RULE)}


def compare(reference: Reference, current: WindowCounts, chances: dict[str, Chance]) -> DriftReport:
    """See `detect_drift`."""
    absent = tuple(one.column for one in reference.binnings if one.column not in current.frame)
    of_days, product = count(reference, current)
    found = steady(
        _against(reference, of_days), *(np.ones((1, n)) for n in (current.days, reference.window.days))
    )
    if reference.binnings:
        blame(found, reference, product, chances)
    return _report(found, chances, reference, of_days, absent)


def beyond(reference: Reference, days: Sums, weight: Floats, chances: dict[str, Chance]) -> Statistics:
    """How far each statistic of some sums of days (`weight`, sums x days) reaches; from 1 on is an alarm."""
    found = steady(_against(reference, days), weight, np.ones((len(weight), reference.window.days)))
    return {kind: chances[kind].beyond(value) for kind, value in found.items()}


def _against(reference: Reference, days: Sums) -> Weighing:
    """Statistics of weighted days against weighted days of the reference."""
    return lambda now, then: statistics(days.weighted(now), reference.sums.weighted(then), reference)


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
        else _column(place, found, chances, reference, of_days, both, daily)
        for place, binning in enumerate(reference.binnings)
    )
    volume, duplicates = (_change(kind, 0, found, chances) for kind in ("volume", "duplicates"))
    rows, rows_then = float(now.counts.rows_a_day[0]), float(was.counts.rows_a_day[0])
    told = f"{VOLUME}: {rows:.0f}, were {rows_then:.0f}"
    never = reference.sums.counts.rows.min() >= LEAST_OF_DAY
    if never and (empty := int((of_days.counts.rows == 0).sum())):
        volume = replace(volume, drifted=True, broken=True, beyond=max(volume.beyond, ABSENT))
        told = f"{told}; none at all on {empty} of {of_days.counts.rows.size} days, which never was"
    again = float(now.values.duplicates[0, 0] / max(now.counts.rows[0], 1))
    verdicts = [(column.column, column.drifted, column.broken, column.sentence) for column in columns]
    verdicts.append((VOLUME, volume.drifted, volume.broken, told))
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
    if kind in OF_DESIGN:
        return np.flatnonzero(design.place[of_kind(kind, design)] == place)
    return np.array([place])


def _change(kind: str, item: int, found: Statistics, chances: dict[str, Chance]) -> Change:
    value, chance = float(found[kind][0, item]), chances[kind]
    threshold, beyond = float(chance.threshold[item]), float(chance.beyond(found[kind][0])[item])
    return Change(value, threshold, beyond >= 1, beyond >= 1 and value >= BROKEN[kind], beyond)


def _repeats_less(place: int, both: tuple[Sums, Sums]) -> bool:
    """Whether a column's values repeat less than in the reference."""
    alike, alike_then = (one.values.alike / np.maximum(one.values.alike_days, 1) for one in both)
    return bool(alike[0, place] <= alike_then[0, place])


def _no_season(kind: str, item: int, design: Design, both: tuple[Sums, Sums], *, varied: bool) -> bool:
    """Whether what moved can be laid to a fault; `varied` says that its values repeat far less than they did.

    New weather may be more varied than the last, which no fault makes of values, and a range that was not
    seen bends relations: values that repeat less, relations of a column whose values do, and a column that
    has moved far and mostly with the others, are no fault.
    """
    if kind == "alike" or (kind in RELATED and varied):
        return not varied
    if kind not in RELATED:
        return True
    column = np.flatnonzero(of_kind(kind, design))[item]
    rows, rows_then = (max(float(one.counts.rows[0]), 1) for one in both)
    moved = [
        abs(now[0, column] / rows - was[0, column] / rows_then)
        for now, was in zip(*((one.residuals.total, one.residuals.residual) for one in both), strict=True)
    ]
    whole, own = (float(one) for one in moved)
    return whole < FAR or own >= OWN_SHARE * whole


def _column(
    place: int,
    found: Statistics,
    chances: dict[str, Chance],
    reference: Reference,
    of_days: Sums,
    both: tuple[Sums, Sums],
    daily: Statistics,
) -> ColumnDrift:
    binning, design = reference.binnings[place], reference.design
    changes: dict[str, Change] = {}
    most: dict[str, int] = {}
    varied = _change("alike", place, found, chances).drifted and _repeats_less(place, both)
    for kind in found:
        if kind not in ("volume", "duplicates") and (items := _items(kind, place, design)).size:
            some = {int(item): _change(kind, int(item), found, chances) for item in items}
            most[kind] = max(some, key=lambda item: some[item].beyond)
            change = some[most[kind]]
            broken = change.broken and _no_season(kind, most[kind], design, both, varied=varied)
            changes[kind] = replace(change, broken=broken)
    drifted = {kind: change for kind, change in changes.items() if change.drifted}
    cell = _most_moved(binning, place, *both)
    parts = list(_words(reference, place, drifted, cell, both))
    picture = since = None
    if drifted:
        worst = max(drifted, key=lambda kind: drifted[kind].beyond)
        picture = trail_of(worst, place, most[worst], cell, reference, of_days)
        since = _onset(daily[worst][:, most[worst]])
    missing, missing_then = (float(one.counts.missing_share[0, place]) for one in both)
    return ColumnDrift(
        binning.column,
        changes,
        missing,
        missing_then,
        drifted=bool(drifted),
        broken=any(change.broken for change in changes.values()),
        sentence=f"{binning.column}: {'; '.join(parts) or 'as in the reference'}",
        since=since,
        trail=picture,
    )


def _absent(name: str) -> ColumnDrift:
    gone = Change(1.0, 0.0, drifted=True, broken=True, beyond=ABSENT)
    return ColumnDrift(
        name, {"missing": gone}, 1.0, 0.0, drifted=True, broken=True, sentence=f"{name}: the column is absent"
    )


def _most_moved(binning: Binning, place: int, now: Sums, was: Sums) -> int:
    """The cell of a column's histogram whose share moved most."""
    start = now.counts.starts[place]
    cells = slice(start, start + len(binning.labels))
    return int(np.abs(now.counts.shares[0, cells] - was.counts.shares[0, cells]).argmax())


def _words(
    reference: Reference, place: int, drifted: dict[str, Change], cell: int, both: tuple[Sums, Sums]
) -> Iterator[str]:
    yield from _of_values(reference.known[place].rule, place, drifted, both)
    if {"distance", "shift", "share"} & set(drifted):
        label, start = reference.binnings[place].labels[cell], both[0].counts.starts[place]
        share, share_then = (one.counts.shares[0, start + cell] for one in both)
        yield f"'{label}' has {share:.1%} of values, had {share_then:.1%}"
    if "relation" in drifted:
        yield f"it lies {drifted['relation'].value:.2f} standard deviations off what the other columns say"
    if "scatter" in drifted:
        times = float(np.exp(drifted["scatter"].value))
        yield f"its spread around what the other columns say changed {times:.1f}-fold"
    if "slope" in drifted:
        times = float(np.exp(drifted["slope"].value))
        yield f"against what the other columns say, its unit seems to have changed {times:.1f}-fold"
    if "twins" in drifted:
        fall = drifted["twins"].value
        yield f"rows that are alike in the columns it goes with are alike in it {fall:.1%} less often"


def _of_values(rule: Rule, place: int, drifted: dict[str, Change], both: tuple[Sums, Sums]) -> Iterator[str]:
    def shares(part: str, whole: str) -> list[float]:
        return [
            float(getattr(one.values, part)[0, place] / max(getattr(one.values, whole)[0, place], 1))
            for one in both
        ]

    if "missing" in drifted:
        share, share_then = (one.counts.missing_share[0, place] for one in both)
        yield f"missing in {share:.1%} of rows, was {share_then:.1%}"
    if "gaps" in drifted:
        rise = drifted["gaps"].value
        yield f"in {rise:.1%} more pairs of rows that go together one has a gap and the other has none"
    if "rule" in drifted:
        yield f"{shares('against', 'known')[0]:.1%} of values {rule.words}; none did in the reference"
    if "outside" in drifted:
        yield f"{shares('outside', 'known')[0]:.1%} of values are unlike any in the reference"
    if "novel" in drifted and not {"outside", "rule"} & set(drifted):
        share, usual = shares("novel", "known")
        yield f"{share:.1%} of values are new to their day, usually {usual:.1%}: another unit or precision?"
    if "run" in drifted:
        run, run_then = (one.values.run[0, place] / max(one.counts.days[0], 1) for one in both)
        yield f"one value lasts for {run:.1%} of a day's rows, usually for {run_then:.1%}: a late feed?"
    if "alike" in drifted:
        alike, alike_then = shares("alike", "alike_days")
        word = "more" if alike > alike_then else "less"
        yield f"its values repeat {word} than they did: {alike:.1%} of pairs are alike, were {alike_then:.1%}"


def _standing_out(reference: Reference, of_days: Sums) -> Statistics:
    """The statistics of each day, against what 95% of the reference's days reach."""
    days, length = reference.window.days, of_days.counts.days.size
    usual = _against(reference, reference.sums)(np.eye(days), 1 - np.eye(days))
    found = _against(reference, of_days)(np.eye(length), np.ones((length, days)))
    return {
        kind: value / (np.quantile(usual[kind], 0.95, axis=0) + reference.least.get(kind, AGAINST_RULE))
        for kind, value in found.items()
    }


def _onset(standing: Floats) -> int | None:
    """The day from which on a statistic stands out most steadily, so that one odd day before is none."""
    steadily = np.clip(standing - 1, -1, 1)[::-1].cumsum()[::-1]
    return int(steadily.argmax()) if steadily.max() > 0 else None


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

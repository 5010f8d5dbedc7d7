"""Draft a problem from a table: columns, windows, and what is left out and why."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any
from zoneinfo import available_timezones

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY
from fivestage.common.database import require_no_secret
from fivestage.common.errors import UserError, did_you_mean
from fivestage.contract.contract import FORECAST, RESERVED, epoch
from fivestage.data.cleaning import number, text
from fivestage.data.tables import HAPPENED
from fivestage.features.stores import HOUR
from fivestage.reporting.number_format import plural
from fivestage.scaffold.column_profiles import (
    ColumnProfile,
    currency_of,
    formats_of,
    how_written,
    inspect_column,
    listed,
    names_of,
    unique_name,
    usual_decimal,
)
from fivestage.scaffold.fields import USUAL_LENGTH
from fivestage.scaffold.gates_plan import (
    Seasons,
    SplitPlan,
    least_known,
    plan_windows,
    seasonal_variation,
    suspicious_limit,
)
from fivestage.scaffold.leaks import (
    LEAK,
    SAMPLE,
    QuickModel,
    Sample,
    numbers_of,
    quick_model,
    suspects,
)
from fivestage.scaffold.sniffing import Reader, find_reader
from fivestage.scaffold.target import Target, find_target, require_column

CALENDAR = ("decided_minute", "decided_weekday")  # features of every table with decision times
ROW_NUMBER = ColumnProfile(  # identifies the rows if no column does
    "the row's position in the table, from 0, which links it to its outcome",
    "row_number",
    "integer",
    example=1,
    identifier=True,
)
FEATURE: dict[str, Any] = {"identifier": False, "left_out": ""}
SINGLE = ("target", "time", "group", "known")  # options that name one column
UNREADABLE = 0.01  # maximum share of unreadable decision times
LEAST_GROUPS = 30  # minimum number to assign to windows
SEARCHED = 5_000  # values searched for examples that are not timestamps
LARGEST_GROUP = 0.25  # maximum share of the rows
LEAST_EARLY = 5  # minimum rows of each class before the first fold
EARLY = 0.5  # maximum share of rows whose target is known before the decision
TRENDING = 0.8  # rank correlation with time above which a feature drifts by construction
UNKNOWN = ("unknown", "n/a", "na", "missing", "not known", "unclear", "undefined", "unbekannt", "k.a.")
RARE = 0.1  # share of rows below which a class limits what can be told
CHANCE = 0.5  # share of repeated rows expected by chance, from which on they are kept


def _option(about: str, default: object = "") -> Any:
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True)
class InitOptions:
    """The options of `make init`; columns are named by their headers in the table."""

    data: str = _option("a file, a folder of files, database-url#table, or a URL such as s3://bucket/key")
    target: str = _option("the column to predict")
    time: str = _option("the column with the decision time; without it, times are simulated")
    keys: tuple[str, ...] = _option("columns that identify entities with a history, such as a customer", ())
    group: str = _option("rows with the same value stay in the same window if times are simulated")
    known: str = _option("the column with the time at which the target became known")
    zone: str = _option("the zone of times without one, such as Europe/Berlin; by default UTC")
    positive: str = _option(
        "the positive class: a value of the target, or for numbers a limit such as '> 150'"
    )
    task: str = _option("binary, multiclass or regression; by default inferred from the target's values")
    leave_out: tuple[str, ...] = _option(
        "columns that are unknown before the decision or must not be used", ()
    )
    keep: tuple[str, ...] = _option("columns to use although they look like leaks or identifiers", ())
    duplicates: str = _option("keep: do not remove duplicate rows")
    usual: str = ""  # the task if the target's values are ambiguous


@dataclass(frozen=True)
class Draft:
    """Everything that the files of `problem/` are generated from."""

    options: InitOptions
    reader: Reader
    table: pd.DataFrame  # rows to learn from
    target: Target
    label: str  # the label's name in the contract
    profiles: Mapping[str, ColumnProfile]  # by header
    features: tuple[ColumnProfile, ...]
    keys: tuple[ColumnProfile, ...]
    left_out: tuple[ColumnProfile, ...]
    identifier: ColumnProfile | None
    decided: pd.Series | None
    known_at: pd.Series | None  # when the outcomes became known, if there are decision times
    windows: SplitPlan
    quick: QuickModel
    evidence: Mapping[str, str]  # why each kept feature looks like a leak, by header
    repeated: int  # number of duplicate rows
    drop_repeated: bool
    hashable: bool  # whether pandas can find duplicates in the raw table
    unlabelled: int  # rows without a target, which are left out
    untimed: int  # rows without a readable decision time, which are quarantined

    @property
    def time(self) -> ColumnProfile:
        """The decision time, with the time that the table covers."""
        if not self.windows.simulated:
            return self.profiles[self.options.time]
        end = epoch(self.windows.test_end)
        start = end - self.windows.simulated * DAY
        name = unique_name("decided_at", self.names)
        return ColumnProfile("decision time", name, "timestamp", low=start, high=end, example=end)

    @property
    def identity(self) -> ColumnProfile:
        """The column that identifies the rows, or else their number."""
        return self.identifier or replace(ROW_NUMBER, name=unique_name(ROW_NUMBER.name, self.names))

    @property
    def names(self) -> set[str]:
        """The names of the table's columns in the contract."""
        return {self.label, *(column.name for column in self.profiles.values())}

    @property
    def read(self) -> list[ColumnProfile]:
        """The columns that `problem/dataset.py` reads."""
        identifiers = [self.identifier] if self.identifier else []
        times = [] if self.windows.simulated else [self.time]
        return [*identifiers, *self.keys, *self.features, *times]

    @property
    def known(self) -> ColumnProfile | None:
        """The time at which the target became known; None without that column, or if times are simulated."""
        given = self.options.known and not self.windows.simulated
        return self.profiles[self.options.known] if given else None

    @property
    def zoneless(self) -> list[str]:
        """Headers of the columns with times that have no time zone."""
        used = [self.profiles[header] for header in (self.options.time, self.options.known) if header]
        return list(dict.fromkeys(column.header for column in (*used, *self.features) if column.zoneless))

    @property
    def unknown_class(self) -> str:
        """The class of three or more whose name reads as if the outcome were not known; empty if none."""
        unknown = (name for name in self.target.classes if name.casefold() in UNKNOWN)
        return next(unknown, "") if self.target.task == "multiclass" else ""

    @property
    def currency(self) -> str:
        """The ISO code of the currency in the table, preferably the target's; empty if there is none."""
        constant = (column for column in self.left_out if column.distinct == 1)
        first = [self.target.header, *(column.header for column in (*self.features, *constant))]
        return next(filter(None, (currency_of(self.table[header]) for header in first)), "")

    @property
    def period_rows(self) -> int:
        """Expected number of rows per monitoring period."""
        days = max(1.0, (self.time.high - self.time.low) / DAY)
        return max(1, round(len(self.table) * self.windows.period_days / days))

    @cached_property
    def seasons(self) -> Seasons:
        """Variation of the target between windows as long as the holdout."""
        return seasonal_variation(self.target, self.table, self.decided, self.windows)

    @cached_property
    def known_share(self) -> float:
        """The minimum share of a period's outcomes that are known at its end."""
        if self.known is None or self.decided is None or self.known_at is None:
            return 1.0
        return least_known(self.decided, self.known_at, self.windows)

    @property
    def known_early(self) -> int:
        """The number of outcomes that were known before the decision."""
        if self.known is None or self.decided is None or self.known_at is None:
            return 0
        return int((self.known_at < self.decided).sum())

    @cached_property
    def trending(self) -> tuple[str, ...]:
        """Features that rise or fall with time, such as a year or a serial number."""
        if self.decided is None:
            return ()
        numbers = [column for column in self.features if column.numeric]
        sample = self.table.iloc[:: max(1, len(self.table) // SAMPLE)]
        values = pd.DataFrame(numbers_of(sample, numbers), sample.index)
        along = values.corrwith(self.decided, method="spearman").abs()
        return tuple(column.name for column, far in zip(numbers, along, strict=True) if far > TRENDING)


def draft(options: InitOptions) -> Draft:
    """Inspect a table and draft its problem."""
    if not options.data or not options.target:
        raise UserError(
            "Name a table and what to predict: make init DATA=customers.csv TARGET=churned TIME=signed_up_at"
        )
    require_no_secret(options.data)
    _require_zone(options.zone)
    reader, raw = find_reader(options.data)
    table = raw.apply(_comparable)
    options = _as_in(table, options)
    repeated, drop = _repeats(table)
    drop = drop and options.duplicates != "keep"
    table = table.drop_duplicates() if drop else table
    decided = _decided(table, options)
    untimed = 0 if decided is None else int(decided.isna().sum())
    if decided is not None:  # a row of totals has no time and would distort the ranges measured below
        table, decided = table[decided.notna()], decided.dropna()
    decimal = usual_decimal(table)
    target = find_target(table, options.target, options.positive, options.task, options.usual, decimal)
    labelled = ~np.isnan(target.label(table))
    table, decided = table[labelled], None if decided is None else decided[labelled]
    reserved = (*RESERVED, *FORECAST) if target.task == "regression" else RESERVED
    label = names_of([target.header], reserved)[target.header]
    profiles = _profiles(table, target.header, (*reserved, label, "label"), options, decimal)
    _require_known_later(table, profiles, decided, options)
    known_at = None if decided is None else decided + HOUR
    if options.known:
        known_at = profiles[options.known].parse(table[options.known]).fillna(known_at)
    windows = plan_windows(decided, len(table), known_at)
    _require_each_early(table, target, decided, windows)
    _require_groups(table, windows, options)
    taken = {*options.keys, options.time}
    features = [column for column in profiles.values() if not column.left_out and column.header not in taken]
    if not features and not options.keys and windows.simulated:  # and neither history nor calendar
        several = [one.header for one in profiles.values() if one.distinct > 1]
        keep = f", or use those that say something: KEEP={listed(several)!r}" if several else ""
        raise UserError(
            "No column is left to learn from: each is empty, constant, an identifier or named by LEAVE_OUT. "
            f"Add columns{keep}."
        )
    sample = Sample.of(table, target, decided)
    evidence = suspects(sample, features)
    features, leaking = _without_leaks(features, evidence, options)
    keys = tuple(profiles[header] for header in options.keys)
    identifiers = (column for column in profiles.values() if column.identifier and not column.nullable)
    identifier = next(identifiers, None)
    quick = quick_model(sample, features, keys, calendar=not windows.simulated)
    evidence = {column.header: evidence[column.header] for column in features if column.header in evidence}
    limit = suspicious_limit(target, windows.holdout_rows, quick.score)
    if quick.decisive and (quick.score >= LEAK or limit is None):
        _require_decision(quick, target, options, len(table), leaking)
        reason = f"with others it lets a quick model reach {target.measure} {quick.score:.3f}"
        evidence = dict.fromkeys(quick.decisive, reason) | evidence
    return Draft(
        options=options,
        reader=reader,
        table=table,
        target=target,
        label=label,
        profiles=profiles,
        features=tuple(features),
        keys=keys,
        left_out=(*(one for one in profiles.values() if one.left_out and one is not identifier), *leaking),
        identifier=identifier,
        decided=decided,
        known_at=known_at,
        windows=windows,
        quick=quick,
        evidence=evidence,
        repeated=repeated,
        drop_repeated=drop,
        hashable=bool(raw.head(1).map(pd.api.types.is_hashable).all(axis=None)),
        unlabelled=int((~labelled).sum()),
        untimed=untimed,
    )


def _require_zone(zone: str) -> None:
    if zone and zone not in (known := available_timezones()):
        hint = did_you_mean(zone, known)
        raise UserError(f"ZONE={zone} is no time zone: write an IANA name such as Europe/Berlin.{hint}")


def _comparable(values: pd.Series) -> pd.Series:
    """Convert a column of any type to numbers, booleans, times or texts, which can be compared."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _comparable(values.astype(values.cat.categories.dtype))
    if pd.api.types.is_timedelta64_dtype(values):
        return number(values)
    plain = not pd.api.types.is_object_dtype(values) or pd.api.types.infer_dtype(values) in (
        "string",
        "boolean",
    )
    return values if plain else values.map(str, na_action="ignore").astype("str")


def _require_decision(
    quick: QuickModel, target: Target, options: InitOptions, rows: int, leaking: Sequence[ColumnProfile]
) -> None:
    """Raise a UserError unless KEEP names all columns that make a quick model too good."""
    if set(quick.decisive) <= {*options.keep}:
        return
    named = listed(quick.decisive)
    without = ", ".join(f"{score:.3f}" for score in quick.decisive.values())
    dropped = [f"{column.header!r} ({column.left_out})" for column in leaking]
    already = f" Left out already: {', '.join(dropped)}." if dropped else ""
    rare = min(target.shares, default=1.0)
    what = f"{plural(round(rare * rows), 'row')} of the rarest class" if rare < RARE else plural(rows, "row")
    raise UserError(
        f"Too good to be true? A quick model of all columns has {target.measure} {quick.score:.3f}. "
        f"Most important: {', '.join(map(repr, quick.decisive))} (without: {without}). "
        f"With {what}, no gate can tell whether that is a leak, so you must decide. Use "
        f"LEAVE_OUT={named!r} if it is written with the outcome or after it, or KEEP={named!r} if it is "
        f"known before the decision; the report and the model card will then say so.{already}"
    )


def _profiles(
    table: pd.DataFrame, target: str, taken: Sequence[str], options: InitOptions, decimal: str
) -> dict[str, ColumnProfile]:
    headers = [str(header) for header in table if header != target]
    names = names_of(headers, (*taken, HAPPENED, *CALENDAR))
    columns = (_inspect(table, header, options, names[header], decimal) for header in headers)
    return {column.header: _with_options(column, options) for column in columns}


def _inspect(
    table: pd.DataFrame, header: str, options: InitOptions, name: str = "", decimal: str = "."
) -> ColumnProfile:
    is_time = header in (options.time, options.known)
    zone = options.zone or "UTC"
    return inspect_column(table[header], name or header, is_time=is_time, zone=zone, decimal=decimal)


def _as_in(table: pd.DataFrame, options: InitOptions) -> InitOptions:
    """Return the options with headers as spelled in the table; refuse a target with a second role."""

    def spelled(header: str, what: str) -> str:
        return require_column(table, header, what) if header else ""

    def several(headers: tuple[str, ...], what: str) -> tuple[str, ...]:
        """Return the headers; those unknown to the table are split at spaces."""
        known = {str(header).strip().lower() for header in table.columns}
        words = ([header] if header.lower() in known else header.split() for header in headers)
        return tuple(spelled(word, what) for several_words in words for word in several_words)

    said: dict[str, Any] = {name: spelled(getattr(options, name), name.upper()) for name in SINGLE}
    said |= {name: several(getattr(options, name), name.upper()) for name in ("keys", "leave_out", "keep")}
    for name in ("time", "group", "known", "keys"):
        if said["target"] in (said[name] if name == "keys" else [said[name]]):
            raise UserError(
                f"{name.upper()} and TARGET both name {said['target']!r}: the target is known only later."
            )
    return replace(options, **said)


def _with_options(column: ColumnProfile, options: InitOptions) -> ColumnProfile:
    header, longest = column.header, max(column.longest, USUAL_LENGTH)
    roles: list[tuple[bool, dict[str, Any]]] = [
        (header in options.leave_out, {"left_out": "LEAVE_OUT names it"}),
        (header in options.keys, {"kind": "category", "longest": longest, "levels": (), **FEATURE}),
        (header in options.keep, FEATURE),
        (header == options.known, {"left_out": "it says when the target was known"}),
        (header == options.group, {"left_out": "rows are grouped by it"}),
    ]
    return replace(column, **next((changes for applies, changes in roles if applies), {}))


def _decided(table: pd.DataFrame, options: InitOptions) -> pd.Series | None:
    """Return the decision times in epoch seconds, NaN if unreadable."""
    if not options.time:
        return None
    values, column = table[options.time], _inspect(table, options.time, options)
    known = values.dropna()
    number = pd.api.types.is_numeric_dtype(known)
    if known.empty or (column.distinct == 1 and (number or how_written(text(known.head(1))))):
        reason = "it is empty" if known.empty else f"it has one value only, {str(known.iloc[0])!r}"
        raise UserError(
            f"The time column {options.time!r} cannot be used: {reason}. Name another column, or omit TIME: "
            "times are then simulated."
        )
    _require_timestamps(table, column, "TIME")
    decided = column.parse(values)
    if column.missing > UNREADABLE:
        bad = values[decided.isna()].astype("str").drop_duplicates().head(3)
        raise UserError(
            f"The time column {options.time!r} has no timestamp in {column.missing:.1%} of the rows (such as "
            f"{', '.join(map(repr, bad))}): fix or remove those rows, or name another column."
        )
    return decided


def _require_timestamps(table: pd.DataFrame, column: ColumnProfile, option: str) -> None:
    """Raise a UserError if a column does not contain timestamps."""
    if column.kind != "timestamp":
        texts = text(table[column.header]).dropna().drop_duplicates().head(SEARCHED)
        unread = texts[~formats_of(texts)[1]]
        examples = ", ".join(map(repr, (unread if len(unread) else texts).head(3)))
        raise UserError(
            f"The {option.lower()} column {column.header!r} does not parse: {examples} are not "
            "timestamps in a known format. Write them in ISO 8601 (2025-01-31T09:30:00Z), name "
            f"another column, or omit {option}."
        )


def _require_known_later(
    table: pd.DataFrame, columns: Mapping[str, ColumnProfile], decided: pd.Series | None, options: InitOptions
) -> None:
    """Raise a UserError if a column cannot hold the times at which the target became known."""
    if not options.known:
        return
    if decided is None:
        raise UserError(f"KNOWN={options.known} also needs the decision times: name their column with TIME.")
    column = columns[options.known]
    _require_timestamps(table, column, "KNOWN")
    early = float((column.parse(table[options.known]) < decided).mean())
    if early > EARLY:
        raise UserError(
            f"The column {options.known!r} lies before {options.time!r} in {early:.0%} of the rows: KNOWN is "
            "the time at which the target became known, after the decision. Did you swap the two?"
        )


def _require_each_early(
    table: pd.DataFrame, target: Target, decided: pd.Series | None, windows: SplitPlan
) -> None:
    """Raise a UserError if a class has too few rows before the first fold."""
    if decided is None or windows.simulated or not target.classes:
        return
    start = windows.test_start - timedelta(days=windows.holdout_days + 3 * windows.fold_days)
    labels = target.label(table)[decided.to_numpy() < epoch(start)].astype(int)
    rows = np.bincount(labels, minlength=len(target.classes))
    rare = int(rows.argmin())
    if rows[rare] < LEAST_EARLY:
        raise UserError(
            f"The target {target.header!r} is {target.classes[rare]!r} in {plural(int(rows[rare]), 'row')} "
            f"before {start}, where the first fold starts: {LEAST_EARLY} are needed to learn from. "
            "Add older rows of this class, merge it with another, or omit TIME: times are then simulated."
        )


def _require_groups(table: pd.DataFrame, windows: SplitPlan, options: InitOptions) -> None:
    """Raise a UserError if the groups cannot be assigned to windows as a whole."""
    if not (options.group and windows.simulated and not options.time):
        return
    sizes = table[options.group].value_counts(dropna=False, normalize=True)
    if len(sizes) < LEAST_GROUPS or sizes.iloc[0] > LARGEST_GROUP:
        raise UserError(
            f"GROUP={options.group} has {len(sizes):,} different values, the largest with "
            f"{sizes.iloc[0]:.0%} of the rows. Each group goes into one of the windows to train, validate, "
            f"compare and test: {LEAST_GROUPS} are needed, none with more than {LARGEST_GROUP:.0%} of the "
            "rows. Name a finer column, or omit GROUP."
        )


def _without_leaks(
    features: Sequence[ColumnProfile], evidence: Mapping[str, str], options: InitOptions
) -> tuple[list[ColumnProfile], list[ColumnProfile]]:
    """Split features into those to learn from and suspected leaks, which KEEP can retain."""
    leaking: dict[str, ColumnProfile] = {}
    for column in features:
        if column.header in evidence and column.header not in options.keep:
            why = f"suspected leak, {evidence[column.header]}"
            if column.kind == "timestamp" and options.time and not options.known:
                why += f". Is this when the outcome is known? Then KNOWN={column.header!r}"
            elif column.kind == "timestamp":
                why += f". Is it a plan, known before the decision? Then KEEP={listed([column.header])!r}"
            leaking[column.header] = replace(column, left_out=why)
    kept = [column for column in features if column.header not in leaking]
    if leaking and not kept:
        header, first = next(iter(leaking.items()))
        raise UserError(
            f"Every column predicts the target too well; {header}: {first.left_out}. "
            f"If it is known before the decision nevertheless, use KEEP={listed([header])!r}."
        )
    return kept, list(leaking.values())


def _repeats(table: pd.DataFrame) -> tuple[int, bool]:
    """Count duplicate rows, and return whether to drop them: not if few columns make them likely."""
    repeated = int(table.duplicated().sum())
    if not repeated:
        return 0, True
    equal_shares = [
        float((table[header].value_counts(normalize=True, dropna=False) ** 2).sum()) for header in table
    ]
    by_chance = len(table) ** 2 / 2 * math.prod(equal_shares)  # pairs, if the columns were independent
    return repeated, by_chance < CHANCE * repeated

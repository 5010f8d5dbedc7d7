"""Cleaned tables, and how one table becomes them: rows with decisions and labels, and outcomes as events."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY
from fivestage.common.columns import Floats, Ints
from fivestage.common.errors import UserError
from fivestage.contract.contract import CategoryColumn, Contract, Event, NumberColumn, TimestampColumn
from fivestage.features.problem import Tables

OUTCOME = "outcome"  # the event that tells what became of a row
HAPPENED = "happened_at"
EPOCHS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}  # a moment's count a second
SHEET_DAYS = "days of a spreadsheet"  # since the end of 1899
SHEET_EPOCH = 25_569  # the first day of 1970 among them
WEEKS = "%G-W%V"  # of ISO 8601, whose day is not told
QUARTERS = "quarters"  # 2024-Q1, 2024 Q1, 2024Q1, Q1 2024
YEARS = "years"  # with what has gone of them: 2024.25
LATEST = 2040  # a year of two digits that would lie beyond is of the century before
# Zones that people write and pandas does not know.
ZONES = {
    "EDT": "-0400", "CST": "-0600", "CDT": "-0500", "MDT": "-0600", "PST": "-0800", "PDT": "-0700",
    "BST": "+0100", "CEST": "+0200", "EEST": "+0300", "AEST": "+1000", "AEDT": "+1100",
}  # fmt: skip
EXACT = 2**53  # below, a float holds every whole number
SEED = 0
RARE = range(10, 20)  # rows of a class: at even distances, so that there is one in each tenth of the days
STRATA = 20  # parts of a number's range that are dealt out evenly
ABOVE = r">\s*([+-]?\d+(?:\.\d+)?)"
ALSO = " | "  # between two forms in which moments of one column are written
CURRENCIES = "USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|KRW|TRY|SGD|HKD|ILS"
# What stands around a number: signs of currency, percent, thousands; of a currency's code its minus is kept.
SIGNS = f"[\\s%$€£¥₹₩'\u2019\u00a0\u202f]|^([+-]?)(?:{CURRENCIES})|(?:{CURRENCIES}|kr|zł|Kč|Rs)$"
MINUS = "[\u2010-\u2015\u2212\uff0d]"  # what else stands for a hyphen
BEHIND = r"^\((.+)\)$|^([^-]+)-$"  # how accountants write what is negative


@dataclass(frozen=True)
class Layout:
    """How a table is to be read; names are the contract's, unless they are said to be headers."""

    headers: Mapping[str, str]
    target: str  # a header
    classes: tuple[str, ...] = ()  # of two, the last one counts as positive; without any, it is a number
    positive: str = ""  # of a target with more values than two: one of them, or a limit such as `> 10`
    moments: Mapping[str, str] = field(default_factory=dict)  # how they are written: strptime, s, years
    comma: tuple[str, ...] = ()  # numbers with a decimal comma
    time: str = ""  # the column of `headers` that simulated moments follow in order
    group: str = ""  # rows with the same value get the same simulated day
    row: str = ""  # a column of the contract to be filled with the number of the row
    known: str = ""  # header of the moment at which the target was known
    known_after_hours: float = 1
    simulated_days: int = 0  # moments of decision are made up, over so many days
    drop_duplicates: bool = True

    @property
    def can_be_cut(self) -> bool:
        """Whether parts can be read on their own: no row's number or moment hangs on the others."""
        return not (self.row or self.simulated_days)


def tables_of(table: pd.DataFrame, layout: Layout, contract: Contract) -> Tables:
    """The cleaned tables of one table.

    Rows without a target are left out, for nothing can be learnt from them; what is no number or no moment
    becomes missing.

    Raises:
        UserError: a column is not there, or no row has a moment and a target.
    """
    wanted = [*layout.headers.values(), layout.target, *([layout.known] if layout.known else [])]
    for header in wanted:
        if header not in table:
            raise UserError(f"The table has no column {header!r} any more: run `make init` again.")
    numbered = table.drop_duplicates() if layout.drop_duplicates else table
    comma = contract.label.name in layout.comma
    labels = label_of(numbered[layout.target], layout.classes, layout.positive, comma=comma)
    kept = numbered[labels.notna()]
    rows = pd.DataFrame(index=kept.index)
    for name, header in layout.headers.items():
        rows[name] = _value(kept[header], contract.columns.get(name), layout, name)
    if layout.row:
        rows[layout.row] = kept.index.to_numpy(np.int64)
    time = contract.decision.time_column
    label = labels[labels.notna()]
    if layout.simulated_days:
        order = rows[layout.time] if layout.time else None
        groups = kept[layout.headers[layout.group]] if layout.group else None
        rows[time] = simulated(label, layout.simulated_days, contract.split.test_end, order, groups)
    rejected = _without_moment(kept, rows, time, layout)
    good = rows[time].notna()
    rows, label = rows[good], label[good]
    if rows.empty:
        raise UserError("No row has both a target and a moment: run `make init` again, it says why.")
    moments = rows[time].to_numpy(np.int64)
    known = moments + round(layout.known_after_hours * 3600)
    if layout.known:
        told = moment(kept.loc[rows.index, layout.known], layout.moments.get("known", ""))
        known = np.maximum(moments, told.fillna(pd.Series(known, index=rows.index)).to_numpy(np.int64))
    names = [name for name in contract.columns if name in rows]
    made = rows[names].assign(
        decision_at=moments - contract.decision.lead_seconds,
        **{contract.label.name: label.to_numpy(np.int16 if layout.classes else np.float64)},
        known_at=known,
    )
    made = made.sort_values(["decision_at", *contract.identity], ignore_index=True)
    return Tables(
        rows=made,
        events=_outcomes(made, contract, layout.classes),
        reference={},
        rejected=rejected,
        quality={
            "rows": len(table),
            "repeated_rows_left_out": len(table) - len(numbered),
            "rows_without_a_target": int(labels.isna().sum()),
        },
    )


def rows_of(table: pd.DataFrame, layout: Layout, contract: Contract) -> pd.DataFrame:
    """Rows to be answered, by the contract's names, moments as epoch seconds, from a table as it comes.

    A column may carry the contract's name already. Where the table has no moments, all that is known counts.
    """
    rows = pd.DataFrame(index=table.index)
    for name, column in contract.columns.items():
        header = layout.headers.get(name, name)
        if header in table or name in table:
            rows[name] = _value(table[header if header in table else name], column, layout, name)
        elif name == layout.row:
            rows[name] = table.index
        elif name == contract.decision.time_column and layout.simulated_days:
            rows[name] = int(pd.Timestamp(contract.split.test_end, tz="UTC").timestamp())
    return rows


def label_of(
    values: pd.Series, classes: Sequence[str], positive: str = "", *, comma: bool = False
) -> pd.Series:
    """The target as a number: itself, 1 where it is positive, or its place among several classes."""
    if not classes:
        return number(values, comma=comma)
    if len(classes) == len(("no", "yes")):
        return positives(values, positive or classes[1])
    places = {one.casefold(): float(place) for place, one in enumerate(classes)}
    return text(values).str.casefold().map(places)


def positives(values: pd.Series, positive: str) -> pd.Series:
    """1 for values that are the positive one, or above the limit in `> 10`; missing ones stay so.

    Values that differ by capitals alone are the same.
    """
    above = re.fullmatch(ABOVE, positive)
    known: pd.Series = number(values) if above else text(values).str.casefold()
    found = known > float(above[1]) if above else known == positive.casefold()
    return found.astype("float64").where(known.notna())


def text(values: pd.Series) -> pd.Series:
    """Values as trimmed texts, missing where they are; whole numbers without a point."""
    if pd.api.types.is_bool_dtype(values):
        return pd.Series(values.map({True: "true", False: "false"}), dtype="str")
    if pd.api.types.is_float_dtype(values) and _is_whole(values):
        return values.astype("Int64").astype("str").where(values.notna(), None).astype("str")
    found: pd.Series = values.astype("str").str.strip()
    return found.mask(found == "")


def _is_whole(values: pd.Series) -> bool:
    return bool((values.dropna() % 1 == 0).all() and values.abs().max() < EXACT)


def number(values: pd.Series, *, comma: bool = False) -> pd.Series:
    """Values as floats, read over signs of currency, percent and thousands; missing where there is none."""
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return values.astype("float64").replace([np.inf, -np.inf], np.nan)
    bare = bare_number(values.astype("str"))
    bare = bare.str.replace(".", "", regex=False) if comma else bare.str.replace(",", "", regex=False)
    bare = bare.str.replace(",", ".", regex=False)
    found: pd.Series = pd.to_numeric(bare, errors="coerce").astype("float64")
    return found.replace([np.inf, -np.inf], np.nan)


def bare_number(values: pd.Series) -> pd.Series:
    """Numbers in texts without what stands around them, a minus in front as a hyphen."""
    bare: pd.Series = values.str.strip().str.replace(MINUS, "-", regex=True)
    return bare.str.replace(SIGNS, r"\1", regex=True).str.replace(BEHIND, r"-\1\2", regex=True)


def moment(values: pd.Series, written: str) -> pd.Series:
    """Epoch seconds as floats, missing where there is no moment; without a zone, it is UTC."""
    first, *others = written.split(ALSO)
    if others:
        seconds = moment(values, first)
        for other in others:
            seconds = seconds.fillna(moment(values.where(seconds.isna()), other))
        return seconds
    if written in EPOCHS:
        return number(values) // EPOCHS[written]
    if written == SHEET_DAYS:
        return ((number(values) - SHEET_EPOCH) * DAY).round()
    if written == YEARS:
        return _days_of_years(number(values)) * DAY
    if pd.api.types.is_datetime64_any_dtype(values):
        moments = values.dt.tz_localize("UTC") if values.dt.tz is None else values.dt.tz_convert("UTC")
    else:
        moments = _read(text(values), written)
    known: pd.Series = moments.dt.tz_localize(None).dt.as_unit("s").astype("int64").astype("float64")
    return known.where(moments.notna())


def _read(texts: pd.Series, written: str) -> pd.Series:
    if written == WEEKS:  # which begin on a Monday
        texts, written = texts + "-1", f"{WEEKS}-%u"
    if written == QUARTERS:
        quarter, begins = r"(?i)^(?:(.+?)[ -]?Q{0}|Q{0}[ -]?(.+))$", r"\1\2-{0}"
        months = {quarter.format(one): begins.format(3 * one - 2) for one in range(1, 5)}
        texts, written = texts.replace(months, regex=True), "%Y-%m"
    moments: pd.Series = pd.to_datetime(texts, format=written or "ISO8601", errors="coerce", utc=True)
    if "%Z" in written and moments.isna().any():
        shifted = texts.replace({rf"\b{zone}$": shift for zone, shift in ZONES.items()}, regex=True)
        offsets = pd.to_datetime(shifted, format=written.replace("%Z", "%z"), errors="coerce", utc=True)
        moments = moments.fillna(offsets)
    if "%y" in written:
        moments = moments.mask(moments.dt.year > LATEST, moments - pd.DateOffset(years=100))
    return moments


def _days_of_years(numbers: pd.Series) -> pd.Series:
    """Days since 1970 of years with fractions."""
    year = numbers.floordiv(1)
    first, last = (
        (year.fillna(0) + more - 1970).to_numpy("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
        for more in (0, 1)
    )
    days: pd.Series = (first + (numbers - year) * (last - first)).round()
    return days


def simulated(
    label: pd.Series, days: int, end: Any, order: pd.Series | None = None, groups: pd.Series | None = None
) -> Ints:
    """Made-up moments over some days before `end`, each day with its share of every class, or of numbers.

    Rows keep an order that is given; those of one group stay together. The same table gives the same moments.
    """
    random = np.random.default_rng(SEED)
    if order is not None:
        place: Floats = (order.rank(method="first").to_numpy(np.float64) - 1) / len(label)
    elif groups is not None:
        codes, _ = pd.factorize(groups, use_na_sentinel=False)
        place = _strata(pd.Series(label.to_numpy()).groupby(codes).median(), random)[codes]
    else:
        place = _strata(label, random)
    start = int(pd.Timestamp(end, tz="UTC").timestamp()) - days * DAY
    return np.asarray(start + np.floor(place * days * DAY), dtype=np.int64)


def _strata(label: pd.Series, random: np.random.Generator) -> Floats:
    """Places in [0, 1) at random, spread evenly within each class."""
    values = label.to_numpy(np.float64)
    of_classes = len(np.unique(values)) <= STRATA
    if not of_classes:
        values = np.searchsorted(np.quantile(values, np.arange(1, STRATA) / STRATA), values)
    place = np.empty(len(values))
    for one in np.unique(values):
        here = np.flatnonzero(values == one)
        within = 0.5 if of_classes and len(here) in RARE else random.random(len(here))
        place[here] = (random.permutation(len(here)) + within) / len(here)
    return place


def _value(values: pd.Series, column: Any, layout: Layout, name: str) -> pd.Series:
    if isinstance(column, CategoryColumn):
        return text(values)
    if isinstance(column, TimestampColumn) or name in layout.moments:
        return moment(values, layout.moments.get(name, ""))
    if isinstance(column, NumberColumn) or column is None:
        return number(values, comma=name in layout.comma)
    return values


def _without_moment(kept: pd.DataFrame, rows: pd.DataFrame, time: str, layout: Layout) -> pd.DataFrame:
    """A report of rows whose moment of decision cannot be read."""
    header = layout.headers.get(time, time)
    places = np.flatnonzero(rows[time].isna())
    found = kept[header].iloc[places].astype("str") if header in kept else pd.Series([], dtype="str")
    return pd.DataFrame(
        {
            "table": "table",
            "line": kept.index.to_numpy()[places] + 2,
            "column": header,
            "value": found.fillna("").to_numpy(),
            "reason": "no moment",
            "kept": np.zeros(len(places), dtype=bool),
        }
    )


def _outcomes(rows: pd.DataFrame, contract: Contract, classes: Sequence[str]) -> dict[str, pd.DataFrame]:
    """What became of each row, as the event that the contract calls an outcome."""
    event: Event | None = contract.events.get(OUTCOME)
    if event is None:
        return {}
    told = rows.assign(**{HAPPENED: rows["known_at"]})
    if classes:
        told[contract.label.name] = np.array(classes, dtype=object)[told[contract.label.name].to_numpy()]
    return {OUTCOME: told[list(event.columns)].sort_values(HAPPENED, ignore_index=True)}

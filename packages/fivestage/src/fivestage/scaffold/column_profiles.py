"""Profile a table's columns: kind, range, missing values, identifiers, and text that encodes other types."""

import csv
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from io import StringIO
from typing import Literal

import numpy as np
import pandas as pd
from anyascii import anyascii

from fivestage.data.cleaning import (
    CURRENCIES,
    EPOCH_UNITS,
    EXACT,
    ISO_WEEKS,
    QUARTERS,
    SIGNS,
    SPREADSHEET_DAYS,
    YEARS,
    bare_number,
    number,
    text,
    timestamp,
)

Kind = Literal["number", "integer", "category", "text", "timestamp"]
SAMPLE = 5_000  # distinct values from which a column's format is inferred
READABLE = 0.95  # minimum share of values that parse, for a column of numbers or timestamps
FEW_LEVELS = 12  # up to which the contract lists the levels
LEAST_OF_LEVEL = 5  # rows; if a level is rarer, new levels are likely
FREE_LENGTH = 40  # mean characters above which a category is free text
LEAST_FOR_IDENTIFIER = 30  # rows
ALSO = " | "  # separates the formats of a column with several
NAMES = re.compile(r"(^|_)(id|ids|uuid|guid|key|nr|no|index|code|number)$|^unnamed_0$|^(id|uuid)_")
TIMES = re.compile(r"(^|_)(date|time|at|on|day|timestamp|ts|datetime|when|since|until|month)(_|$)")
# Of 183 such forms, with clocks, pandas.guess_datetime_format knows 89: no two-digit years, no web logs.
DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y",
    "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%d%b%Y",
    "%d%b%y", "%d. %B %Y", "%d. %b %Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%b %d %Y", "%Y%m%d", "%Y-%j",
)  # fmt: skip
CLOCKLESS = (
    "%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%m/%Y", "%m-%Y", "%Y %b", "%Y-%b", "%Y %B", QUARTERS, ISO_WEEKS,
    "%G-W%V-%u",
)  # fmt: skip
CLOCK_INSIDE = ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %Z %Y", "%H:%M %d/%m/%Y", "%H:%M %d.%m.%Y")
# By which the year is multiplied in numbers of this format.
WHOLE = {"%Y%m%d": 10**4, "%Y%m%d%H%M": 10**8, "%Y%m%d%H%M%S": 10**10, "%Y%m": 10**2, "%Y": 1}
DAILY = 10**4  # coarser formats are only used for columns named as times
CLOCK = re.compile(
    r"(?P<gap>[T ,:]+)(?P<clock>\d{1,2}[:.]\d\d([:.]\d\d([.,]\d+)?)?)"
    r"(?P<half>\s?[AaPp][Mm])?(?P<zone>\s?([Zz]|[+-]\d\d:?\d\d|(?P<name>[A-Za-z][A-Za-z/_]+([+-]\d{1,2})?)))?$"
)
ZONED = r"(?:\d[Zz]|[+-]\d\d:?\d\d|[A-Za-z/_]{3,}(?:[+-]\d{1,2})?)$"
WEEKDAY = re.compile(r"^(mon|tue|wed|thu|fri|sat|sun)(?P<whole>[a-z]*day)?(?P<gap>,? )", re.IGNORECASE)
CENTURIES = (1700, 2100)  # range of plausible years
DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{4}-\d\d\d?|\d\d-\d{4}"
WORDS = ("y", "n", "yes", "no", "true", "false", "on", "off", "null", "kind")  # of YAML; of an event
LEAST_OF_FORM = 0.01  # minimum share of values for an additional timestamp format
TRIED = 100  # values, of which a format must parse at least one
SENTINELS = {
    sign * float(digits) for sign in (-1, 1) for digits in ("1", "9", "99", "999", "9999", "99999", "999999")
}
LEAST_OF_SENTINEL = 0.01  # share of values; a rarer sentinel must be ten times as far away
CODES = {
    "€": "EUR",
    "¤": "EUR",
    "$": "USD",
    "£": "GBP",
    "¥": "JPY",
    "₹": "INR",
    "₩": "KRW",
    "zł": "PLN",
    "Kč": "CZK",
}
MOSTLY_NUMBERS = 0.7  # share of numbers from which on the few other texts are reported
FEW_WORDS = 5
MEASURED = r"^[+-]?\d+(?:[.,]\d+)?\s?([^\W\d_]{1,8}|[°µ]\w{1,2})$"  # with the unit
TIME_OF_DAY = r"\d{1,2}:\d\d(:\d\d)?"
DIGITS_OF_DAY = r"([01]\d|2[0-4])[0-5]\d"  # the same without colons
CODE = r"0\d{3,}$"  # leading zeros: a code, not a number
EPOCH_YEARS = (1990, 2040)  # range of plausible epoch timestamps
SHEET = (20_000, 60_000)  # spreadsheet day numbers: 1954 to 2064


@dataclass(frozen=True)
class ColumnProfile:
    """The profile of a column."""

    header: str
    name: str
    kind: Kind
    missing: float  # share of missing values
    distinct: int
    low: float = 0
    high: float = 0
    levels: tuple[str, ...] = ()
    longest: int = 0  # characters
    example: str | float = ""
    written: str = ""  # format of timestamps
    zone: str = "UTC"  # of times that have none
    decimal: str = "."
    signs: tuple[str, ...] = ()  # currency or percent signs, which are stripped from numbers
    zoneless: bool = False  # times without a time zone, which are read as UTC
    folded: int = 0  # number of categories apart from case, if some differ in it alone
    unreadable: int = 0  # values that do not parse and count as missing
    sentinel: float | None = None  # a number that seems to mean missing and is read so
    measured: bool = False  # texts that are numbers with a unit, or times of day
    words: tuple[str, ...] = ()  # the few texts in a column of numbers, which make it a category
    identifier: bool = False
    whole: bool = False  # whole numbers without significant leading zeros
    left_out: str = ""  # why it is not a feature; empty if it is

    @property
    def nullable(self) -> bool:
        return self.missing > 0


def seconds_of(values: pd.Series, column: ColumnProfile) -> pd.Series:
    """Parse a column of timestamps to epoch seconds."""
    return timestamp(values, *column.written.split(ALSO), zone=column.zone)


def names_of(headers: Iterable[str], taken: Collection[str] = (), prefix: str = "column") -> dict[str, str]:
    """Make a unique name of lower-case letters, digits and underscores for each header, of any script."""
    names: dict[str, str] = {}
    used = set(taken)
    for place, header in enumerate(headers, 1):
        spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", anyascii(header))
        name = re.sub(r"[^a-z0-9]+", "_", spelled.lower()).strip("_")[:48].rstrip("_")
        if not re.match("[a-z]", name) or name in WORDS:
            name = f"{prefix}_{name or place}"
        whole, again = name, 2
        while name in used:
            name, again = f"{whole}_{again}", again + 1
        used.add(name)
        names[header] = name
    return names


def listed(headers: Iterable[str]) -> str:
    """Join headers with commas as in an option; those that contain a comma are quoted."""
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(headers)
    return line.getvalue()


def inspect_column(
    values: pd.Series, name: str, *, is_time: bool = False, zone: str = "UTC"
) -> ColumnProfile:
    """Profile a column; `zone` applies to times without a time zone."""
    header = str(values.name)
    known = values.dropna()
    found = ColumnProfile(
        header, name, "category", float(values.isna().mean()), int(known.nunique()), zone=zone
    )
    if known.empty:
        return replace(found, left_out="it is empty")
    if found.distinct == 1:
        return replace(found, left_out=f"it has one value only, {str(known.iloc[0])[:FREE_LENGTH]!r}")
    if pd.api.types.is_datetime64_any_dtype(values):
        return _timestamps(found, values, "")
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        written = epoch_or_day(known, name, is_time=is_time)
        return _timestamps(found, values, written) if written else _number(found, values)
    return _of_text(found, values, text(known).dropna().drop_duplicates(), is_time=is_time)


def _of_text(found: ColumnProfile, values: pd.Series, distinct: pd.Series, *, is_time: bool) -> ColumnProfile:
    """Profile a column of text, which may encode timestamps or numbers."""
    sample = distinct.sample(min(SAMPLE, len(distinct)), random_state=0)
    written = how_written(sample)
    if written:
        return _timestamps(found, values, written)
    decimal = decimal_of(sample)
    if decimal is None:
        return _category(found, values)
    if is_time and decimal == ".":
        written = epoch_or_day(number(sample).dropna(), found.name, is_time=True)
        if written and _read(sample, written).mean() > READABLE:
            return _timestamps(found, values, written)
    return _number(replace(found, decimal=decimal), values)


def how_written(sample: pd.Series) -> str:
    """Return the timestamp format of texts; empty if they are not timestamps.

    If day and month are ambiguous, the format with the day first wins, unless it parses fewer values.
    """
    used, known = forms_read(sample)
    return ALSO.join(used) if len(sample) and known.mean() > READABLE else ""


def forms_read(sample: pd.Series) -> tuple[list[str], pd.Series]:
    """Return the timestamp formats of texts, the most frequent first, and which texts they parse."""
    used: list[str] = []
    known = pd.Series(data=False, index=sample.index)
    if (
        not len(sample)
        or sample.str.len().median() < len("2022-1")
        or not sample.str.contains(r"\d").mean() > READABLE
    ):
        return used, known
    digits = (
        sample.str.fullmatch(r"[\d.,+-]+").mean() > READABLE
        and not sample.str.fullmatch(DATE).mean() > READABLE
    )
    forms = tuple(WHOLE) if digits else forms_of(sample.head(TRIED))
    forms = tuple(form for form in forms if _read(sample.head(TRIED), form).any())
    read = {form: _read(sample, form) for form in forms}
    shape = sample.str.replace(r"\d+", "0", regex=True)  # texts of the same shape have the same format
    while read and not known.all():
        rest = ~shape.isin(shape[known])
        best = max(read, key=lambda form: int((read[form] & rest).sum()))
        more = read[best] & rest
        if more.mean() <= LEAST_OF_FORM:
            break
        used.append(best)
        known |= more
    return used, known


def forms_of(sample: pd.Series) -> tuple[str, ...]:
    """Return candidate formats, given the weekdays, clocks and zones around the dates."""
    around = dict.fromkeys(_around(one) for one in sample)
    dated = (f"{before}{date}{behind}" for before, behind in around for date in DATES)
    return ("ISO8601", *dict.fromkeys(dated), *CLOCKLESS, *CLOCK_INSIDE)


def _around(text: str) -> tuple[str, str]:
    """Return the parts of a format before and after the date."""
    before = behind = ""
    if day := WEEKDAY.search(text):
        before = f"{'%A' if day['whole'] else '%a'}{day['gap']}"
    if at := CLOCK.search(text):
        units = iter(("%I" if at["half"] else "%H", "%M", "%S", "%f"))
        clock = re.sub(r"\d+", lambda _: next(units), at["clock"])
        half = re.sub(r"\w+", "%p", at["half"] or "")
        zone = re.sub(r"\S+", "%Z" if at["name"] else "%z", at["zone"] or "")
        behind = f"{at['gap']}{clock}{half}{zone}"
    return before, behind


def _read(texts: pd.Series, form: str) -> pd.Series:
    """Return which texts a format parses to timestamps in plausible years."""
    first, last = (pd.Timestamp(year, 1, 1).timestamp() for year in CENTURIES)
    known = timestamp(texts, form).between(first, last)
    # strptime would read the epoch timestamp 1704067200 as a day in the year 1704.
    return known & (texts.str.len() == len(str(WHOLE[form])) + 3) if form in WHOLE else known


def epoch_or_day(values: pd.Series, name: str, *, is_time: bool) -> str:
    """Return the timestamp format of numbers: epoch unit, year, 20130131 or spreadsheet day; empty if none.

    Many numbers that are all valid dates are timestamps whatever the column's name.
    """
    named, many = is_time or TIMES.search(name), values.nunique() >= LEAST_FOR_IDENTIFIER
    if not (named or many):
        return ""
    low, high = float(values.min()), float(values.max())
    for unit, second in EPOCH_UNITS.items():
        first, last = (pd.Timestamp(year, 1, 1).timestamp() * second for year in EPOCH_YEARS)
        if named and first <= low and high <= last:
            return unit
    if is_time and SHEET[0] <= low and high <= SHEET[1]:
        return SPREADSHEET_DAYS
    if (values % 1 != 0).any():
        return YEARS if is_time and CENTURIES[0] <= low and high < CENTURIES[1] else ""
    for form, times in WHOLE.items():
        inside = CENTURIES[0] * times <= low and high < CENTURIES[1] * times
        if inside and (is_time or times >= DAILY) and timestamp(values, form).notna().all():
            return form
    return ""


def decimal_of(texts: pd.Series) -> str | None:
    """Return the decimal separator of numbers in texts; None if they are not numbers."""
    return next((decimal for decimal in (".", ",") if _plausible(texts, decimal)), None)


def _plausible(sample: pd.Series, decimal: str) -> bool:
    """Return whether commas and points are where numbers with this decimal separator have them."""
    bare = bare_number(sample)
    point, thousand = (",", r"\.") if decimal == "," else (r"\.", ",")
    form = rf"[+-]?(\d{{1,3}}({thousand}\d{{2,3}})*{thousand}\d{{3}}|\d+)?({point}\d*)?([eE][+-]?\d+)?"
    return bool(bare.str.fullmatch(form).mean() >= READABLE)


def _timestamps(found: ColumnProfile, values: pd.Series, written: str) -> ColumnProfile:
    found = replace(found, kind="timestamp", written=written)
    seconds = seconds_of(values, found)
    known = seconds.dropna()
    return replace(
        found,
        zoneless=_zoneless(values, written),
        low=float(known.min()),
        high=float(known.max()),
        example=float(known.iloc[len(known) // 2]),
        missing=float(seconds.isna().mean()),
        unreadable=int(seconds.isna().sum() - values.isna().sum()),
    )


def _zoneless(values: pd.Series, written: str) -> bool:
    """Return whether some times have a time of day but no time zone."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.dt.tz is None and bool((values.dropna() != values.dropna().dt.normalize()).any())
    if pd.api.types.is_numeric_dtype(values) or re.search("%z", written, re.IGNORECASE):
        return False
    texts = text(values).dropna().drop_duplicates().head(SAMPLE)
    return bool((texts.str.contains(r"\d:\d\d") & ~texts.str.contains(ZONED)).any())


def _signs(values: pd.Series) -> tuple[str, ...]:
    """Return the currency or percent signs around numbers in texts."""
    if pd.api.types.is_numeric_dtype(values):
        return ()
    texts = text(values).dropna().drop_duplicates().head(SAMPLE)
    signs = {one[0].strip("+-\u2019' \u00a0\u202f") for each in texts for one in re.finditer(SIGNS, each)}
    return tuple(sorted(signs - {""}))


def currency_of(values: pd.Series) -> str:
    """Return the ISO code of the currency in a column's header or values; empty if there is none."""
    header = str(values.name)
    signs = [*re.findall(rf"[$€£¥₹₩]|\b(?:{CURRENCIES})\b", header), *_signs(values)]
    codes = dict.fromkeys(CODES.get(sign, sign) for sign in signs)
    return next((code for code in codes if code in CURRENCIES.split("|")), "")


def _number(found: ColumnProfile, values: pd.Series) -> ColumnProfile:
    numbers = number(values, found.decimal)
    known = numbers.dropna()
    whole = bool((known % 1 == 0).all() and known.abs().max() < EXACT)
    steps = float(known.max()) - float(known.min()) + 1
    counted = whole and found.distinct == len(known) >= LEAST_FOR_IDENTIFIER
    serial = counted and (steps <= 1.5 * len(known) or bool(NAMES.search(found.name)))
    named = whole and bool(NAMES.search(found.name)) and found.distinct > max(200, len(known) // 20)
    padded = not pd.api.types.is_numeric_dtype(values) and text(values).str.match(r"0\d").any()
    if (
        padded
        and (serial or named or text(values).str.match(CODE).any())
        and not _mostly(text(values), DIGITS_OF_DAY)
    ):
        return _category(found, values)
    sentinel = None if serial or named else sentinel_of(known)
    known = known[known != sentinel]
    return replace(
        found,
        kind="integer" if whole else "number",
        signs=_signs(values),
        whole=whole and not padded,
        missing=1 - len(known) / len(values),
        unreadable=int(numbers.isna().sum() - values.isna().sum()),
        low=float(known.min()),
        high=float(known.max()),
        example=float(known.iloc[len(known) // 2]),
        sentinel=sentinel,
        identifier=serial,
        left_out="it numbers the rows" if serial else "it is an identifier" if named else "",
    )


def sentinel_of(numbers: pd.Series) -> float | None:
    """Return a sentinel such as -999 that is farther from all other values than they are from each other."""
    for sentinel in (float(numbers.min()), float(numbers.max())):
        others = numbers[numbers != sentinel]
        often = 1 - len(others) / len(numbers) >= LEAST_OF_SENTINEL
        if sentinel in SENTINELS and others.nunique() > 2:  # noqa: PLR2004 (more than two values)
            low, high = float(others.min()), float(others.max())
            if max(low - sentinel, sentinel - high) > (high - low) * (1 if often else 10):
                return sentinel
    return None


def _words_among_numbers(counts: pd.Series, decimal: str) -> tuple[str, ...]:
    words = counts[number(counts.index.to_series(), decimal).isna().to_numpy()]
    few = 0 < len(words) <= FEW_WORDS < len(counts) - len(words)
    return tuple(words.index) if few and 1 - words.sum() / counts.sum() >= MOSTLY_NUMBERS else ()


def _measured(levels: pd.Series) -> bool:
    """Return whether texts are numbers with one common unit, or times of day."""
    units = levels.str.extract(MEASURED)[0].value_counts(dropna=False, normalize=True)
    return _mostly(levels, TIME_OF_DAY) or float(units.drop(np.nan, errors="ignore").max()) > READABLE


def _mostly(values: pd.Series, form: str) -> bool:
    return float(values.dropna().str.fullmatch(form).mean()) > READABLE


def _category(found: ColumnProfile, values: pd.Series) -> ColumnProfile:
    texts = text(values)
    counts = texts.value_counts()
    lengths = counts.index.str.len()
    mean = float(np.average(lengths, weights=counts))
    folded = int(counts.index.str.casefold().nunique())
    known = int(counts.sum())
    spaced = counts.index.str.contains(r"\s").mean() > 0.5  # noqa: PLR2004
    serial = found.distinct == known >= LEAST_FOR_IDENTIFIER and not spaced
    named = bool(NAMES.search(found.name)) and found.distinct > max(200, known // 20)
    measured = len(counts) > FEW_LEVELS and _measured(counts.index.to_series())
    prose = mean > FREE_LENGTH or (spaced and not measured and found.distinct > max(200, 0.3 * known))
    listed = len(counts) <= FEW_LEVELS and counts.min() >= LEAST_OF_LEVEL
    return replace(
        found,
        kind="text" if prose and not serial else "category",
        missing=float(texts.isna().mean()),
        levels=tuple(sorted(counts.index)) if listed else (),
        longest=int(lengths.max()),
        folded=folded if folded < len(counts) else 0,
        example=str(counts.index[0]),
        measured=measured,
        words=() if serial or named else _words_among_numbers(counts, found.decimal),
        identifier=serial,
        left_out="it tells each row from the others" if serial else "it is an identifier" if named else "",
    )

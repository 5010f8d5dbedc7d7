"""Profile a table's columns: kind, range, missing values, identifiers, and text that encodes other types."""

import csv
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from io import StringIO
from itertools import chain, count
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
    without_zone_name,
)

Kind = Literal["number", "integer", "category", "text", "timestamp"]
SAMPLE = 5_000  # distinct values from which a column's format is inferred
READABLE = 0.95  # minimum share of values that parse, for a column of numbers or timestamps
FEW_LEVELS = 12  # up to which the contract lists the levels
LEAST_OF_LEVEL = 5  # rows; if a level is rarer, new levels are likely
FREE_LENGTH = 40  # mean characters above which a category is free text
LEAST_FOR_IDENTIFIER = 30  # rows
ALSO = " | "  # separates the formats of a column with several
NAMES = re.compile(
    r"(^|_)(id|ids|uuid|guid|key|nr|no|index|code|number|account|phone|iban)$|^unnamed_0$|^(id|uuid)_"
)
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
    r"(?P<half>\s?[AaPp][Mm])?(?P<zone>\s?([Zz]|[+-]\d\d:?\d\d|(?P<name>[A-Za-z][A-Za-z/_]+([+-]\d{1,2}(:?\d\d)?)?)))?$"
)
ZONED = r"(?:\d[Zz]|[+-]\d\d:?\d\d|[A-Za-z/_]{3,}(?:[+-]\d{1,2}(?::?\d\d)?)?)$"
WEEKDAY = re.compile(r"^(mon|tue|wed|thu|fri|sat|sun)(?P<whole>[a-z]*day)?(?P<gap>,? )", re.IGNORECASE)
CENTURIES = (1700, 2100)  # range of plausible years
DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{4}-\d\d\d?|\d\d-\d{4}"
WORDS = ("y", "n", "yes", "no", "true", "false", "on", "off", "null", "kind")  # of YAML; of an event
LEAST_OF_FORM = 0.01  # minimum share of values for an additional timestamp format
LARGEST = 1e37  # number that models compute with: squares of larger ones overflow, and so do trees in float32
TRIED = 100  # values, of which a format must parse at least one
SHORTEST_TIME = len("2022-1")  # median characters
NINES = (1, 9, 99, 999, 9_999, 99_999, 999_999, 99.9, 999.9, 9_999.9, 99.99, 999.99, 999.25)
SENTINELS = {sign * number for number in NINES for sign in (-1, 1)}
LEAST_OF_SENTINEL = 0.01  # share of values; a rarer sentinel must be five times as far away
PRICES = 0.2  # share of values with the decimals of a sentinel such as 99.99, above which it is a price
CODES = {
    "€": "EUR", "¤": "EUR", "$": "USD", "£": "GBP", "¥": "JPY", "₹": "INR", "₩": "KRW", "zł": "PLN",
    "Kč": "CZK",
}  # fmt: skip
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
    missing: float = 0  # share of missing values
    distinct: int = 0
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

    @property
    def numeric(self) -> bool:
        return self.kind in ("number", "integer")

    @property
    def plain_header(self) -> bool:
        """Whether the name is the header, apart from case."""
        return self.header.strip().lower() == self.name

    @property
    def expression(self) -> str:
        """The expression that parses the column in `problem/dataset.py`."""
        return self.code(f'table["{self.name}"]')

    def code(self, values: str, *, fold: bool = False) -> str:
        """Return the expression that parses the column, given the expression of its raw values.

        With `fold`, times that occurred twice, as clocks went back, are the second occurrence.
        """
        if self.kind == "timestamp":
            formats = self.written.split(ALSO)
            formats = [] if formats in ([""], ["ISO8601"]) else formats
            arguments = "".join(f", {one!r}" for one in formats)
            if (self.zoneless or self.zone != "UTC") and self.written not in EPOCH_UNITS:
                arguments += ", zone=ZONE, fold=1" if fold else ", zone=ZONE"
            return f"timestamp({values}{arguments})"
        if not self.numeric:
            return f"text({values})"
        code = f"number({values})" if self.decimal == "." else f"number({values}, {self.decimal!r})"
        return code if self.sentinel is None else f'{code}.replace({self.sentinel:g}, float("nan"))'

    def parse(self, values: pd.Series) -> pd.Series:
        """Parse raw values to texts, numbers or epoch seconds, by the code that will be written."""
        names = {"values": values, "ZONE": self.zone, "text": text, "number": number, "timestamp": timestamp}
        parsed: pd.Series = eval(self.code("values"), names)  # noqa: S307 (made above)
        return parsed


def names_of(headers: Iterable[str], taken: Collection[str] = (), prefix: str = "column") -> dict[str, str]:
    """Make a unique name of lower-case letters, digits and underscores for each header, of any script.

    A header that is such a name keeps it, so that no header is the name of another column.
    """
    plain: dict[str, str] = {}
    for place, header in enumerate(headers, 1):
        words = r"(?<=[A-Za-z0-9][a-z0-9])(?=[A-Z])"  # customerID is two, kWh and pH are one
        spelled = re.sub(words, "_", anyascii(header))
        name = re.sub(r"[^a-z0-9]+", "_", spelled.lower()).strip("_")[:48].rstrip("_")
        is_name = re.match("[a-z]", name) and name not in WORDS
        plain[header] = name if is_name else f"{prefix}_{name or place}"
    names = {header: header for header, name in plain.items() if name == header and name not in taken}
    used = {*taken, *names}
    for header, name in plain.items():
        if header not in names:
            names[header] = unique_name(name, used)
            used.add(names[header])
    return {header: names[header] for header in plain}


def unique_name(name: str, used: Collection[str]) -> str:
    """Return the name, with a number behind it if it is used."""
    numbered = (f"{name}_{again}" for again in count(2))
    return next(one for one in chain([name], numbered) if one not in used)


def listed(headers: Iterable[str]) -> str:
    """Join headers with commas as in an option; those that contain a comma are quoted."""
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(headers)
    return line.getvalue()


def inspect_column(
    values: pd.Series, name: str, *, is_time: bool = False, zone: str = "UTC", decimal: str = "."
) -> ColumnProfile:
    """Profile a column; `zone` applies to times without one, `decimal` to texts such as 1.234 or 1,234."""
    header, known = str(values.name), values.dropna()
    missing, distinct = float(values.isna().mean()), int(known.nunique())
    profile = ColumnProfile(header, name, "category", missing, distinct, zone=zone, decimal=decimal)
    if known.empty:
        return replace(profile, left_out="it is empty")
    if distinct == 1 and not missing:  # a flag that is set or empty is a feature
        return replace(profile, left_out=f"it has one value only, {str(known.iloc[0])[:FREE_LENGTH]!r}")
    if pd.api.types.is_datetime64_any_dtype(values):
        return _timestamps(profile, values, "")
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        written = epoch_or_day(known, name, is_time=is_time)
        return (
            _timestamps(profile, values, written)
            if written
            else _number(replace(profile, decimal="."), values)
        )
    return _of_texts(profile, values, text(known).dropna().drop_duplicates(), is_time=is_time)


def _of_texts(profile: ColumnProfile, values: pd.Series, texts: pd.Series, *, is_time: bool) -> ColumnProfile:
    """Profile a column of texts, which may encode timestamps or numbers."""
    sample = texts.sample(min(SAMPLE, len(texts)), random_state=0)
    if written := how_written(sample):
        return _timestamps(profile, values, written)
    decimal = decimal_of(sample, profile.decimal)
    if decimal is None:
        return _category(profile, values)
    if is_time and decimal == ".":
        written = epoch_or_day(number(sample).dropna(), profile.name, is_time=True)
        if written and _parses(sample, written).mean() > READABLE:
            return _timestamps(profile, values, written)
    return _number(replace(profile, decimal=decimal), values)


def how_written(sample: pd.Series) -> str:
    """Return the timestamp format of texts; empty if they are not timestamps.

    If day and month are ambiguous, the format with the day first wins, unless it parses fewer values.
    """
    formats, parsed = formats_of(sample)
    return ALSO.join(formats) if len(sample) and parsed.mean() > READABLE else ""


def formats_of(sample: pd.Series) -> tuple[list[str], pd.Series]:
    """Return the timestamp formats of texts, the most frequent first, and which texts they parse."""
    formats: list[str] = []
    parsed = pd.Series(data=False, index=sample.index)
    short = not len(sample) or sample.str.len().median() < SHORTEST_TIME
    if short or sample.str.contains(r"\d").mean() <= READABLE:
        return formats, parsed
    digits = _mostly(sample, r"[\d.,+-]+") and not _mostly(sample, DATE)
    first = without_zone_name(sample.head(TRIED))
    candidates = (form for form in (WHOLE if digits else _candidates(first)) if _parses(first, form).any())
    parses = {form: _parses(sample, form) for form in candidates}
    shape = sample.str.replace(r"\d+", "0", regex=True)  # texts of the same shape have the same format
    while parses and not parsed.all():
        rest = ~shape.isin(shape[parsed])
        best = max(parses, key=lambda form: int((parses[form] & rest).sum()))
        more = parses[best] & rest
        if more.mean() <= LEAST_OF_FORM:
            break
        formats.append(best)
        parsed |= more
    return formats, parsed


def _candidates(sample: pd.Series) -> tuple[str, ...]:
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


def _parses(texts: pd.Series, form: str) -> pd.Series:
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


def decimal_of(texts: pd.Series, usual: str = ".") -> str | None:
    """Return the decimal separator of numbers in texts, `usual` if both fit; None if they are not numbers."""
    bare = bare_number(texts)
    for decimal in dict.fromkeys((usual, ".", ",")):
        point, thousand = (r"\.", ",") if decimal == "." else (",", r"\.")
        form = rf"[+-]?(\d{{1,3}}({thousand}\d{{2,3}})*{thousand}\d{{3}}|\d+)?({point}\d*)?([eE][+-]?\d+)?"
        if bare.str.fullmatch(form).mean() >= READABLE:
            return decimal
    return None


def usual_decimal(table: pd.DataFrame) -> str:
    """Return the decimal separator of a table: a comma if some column can only be read with commas."""
    sample = table.iloc[:: max(1, len(table) // SAMPLE)]
    columns = (sample[header] for header in sample)
    texts = (_some_texts(values) for values in columns if pd.api.types.is_string_dtype(values))
    return "," if any(decimal_of(one) == "," for one in texts if len(one)) else "."


def _timestamps(profile: ColumnProfile, values: pd.Series, written: str) -> ColumnProfile:
    profile = replace(profile, kind="timestamp", written=written, zoneless=_zoneless(values, written))
    return _with_range(profile, values, profile.parse(values))


def _with_range(profile: ColumnProfile, values: pd.Series, parsed: pd.Series) -> ColumnProfile:
    """Add the range, an example and the unreadable values of parsed numbers or times."""
    known = parsed[parsed.notna() & (parsed != profile.sentinel)]
    return replace(
        profile,
        missing=1 - len(known) / len(values),
        unreadable=int((parsed.isna() & _is_given(values)).sum()),
        low=float(known.min()),
        high=float(known.max()),
        example=float(known.iloc[len(known) // 2]),
    )


def _is_given(values: pd.Series) -> pd.Series:
    """Return which fields are neither missing nor blank."""
    return text(values).notna() if pd.api.types.is_string_dtype(values) else values.notna()


def _zoneless(values: pd.Series, written: str) -> bool:
    """Return whether some times have a time of day but no time zone."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.dt.tz is None and bool((values.dropna() != values.dropna().dt.normalize()).any())
    if pd.api.types.is_numeric_dtype(values) or re.search("%z", written, re.IGNORECASE):
        return False
    texts = without_zone_name(_some_texts(values))
    return bool((texts.str.contains(r"\d:\d\d") & ~texts.str.contains(ZONED)).any())


def _some_texts(values: pd.Series) -> pd.Series:
    return text(values).dropna().drop_duplicates().head(SAMPLE)


def _signs(values: pd.Series) -> tuple[str, ...]:
    """Return the currency or percent signs around numbers in texts."""
    if pd.api.types.is_numeric_dtype(values):
        return ()
    found = {match[0] for value in _some_texts(values) for match in re.finditer(SIGNS, value)}
    return tuple(sorted({sign.strip("+-\u2019' \u00a0\u202f") for sign in found} - {""}))


def currency_of(values: pd.Series) -> str:
    """Return the ISO code of the currency in a column's header or values; empty if there is none."""
    signs = [*re.findall(rf"[$€£¥₹₩]|\b(?:{CURRENCIES})\b", str(values.name)), *_signs(values)]
    codes = (CODES.get(sign, sign) for sign in signs)
    return next((code for code in codes if code in CURRENCIES.split("|")), "")


def _number(profile: ColumnProfile, values: pd.Series) -> ColumnProfile:
    numbers = number(values, profile.decimal)
    known = numbers.dropna()
    whole = bool((known % 1 == 0).all())
    if whole and known.abs().max() >= EXACT and not pd.api.types.is_float_dtype(values):
        return _category(profile, values)  # floats would merge identifiers of so many digits
    whole = whole and bool(known.abs().max() < EXACT)
    steps = float(known.max()) - float(known.min()) + 1
    looks_named = bool(NAMES.search(profile.name))
    counted = whole and profile.distinct == len(known) >= LEAST_FOR_IDENTIFIER
    serial = counted and (steps <= 1.5 * len(known) or looks_named)
    named = whole and looks_named and profile.distinct > max(200, len(known) // 20)
    texts = text(values)
    padded = not pd.api.types.is_numeric_dtype(values) and texts.str.match(r"0\d").any()
    is_code = serial or named or texts.str.match(CODE).any()
    times_of_day = profile.distinct > FEW_LEVELS and _mostly(texts, DIGITS_OF_DAY)
    if padded and is_code and not times_of_day:
        return _category(profile, values)
    reasons = {
        "it numbers the rows": serial,
        "it is an identifier": named,
        f"its values reach {known.abs().max():.0e}, too large to compute with": known.abs().max() > LARGEST,
    }
    profile = replace(
        profile,
        kind="integer" if whole else "number",
        signs=_signs(values),
        whole=whole and not padded,
        sentinel=None if serial or named else sentinel_of(known),
        identifier=serial,
        left_out=next((reason for reason, applies in reasons.items() if applies), ""),
    )
    return _with_range(profile, values, numbers)


def sentinel_of(numbers: pd.Series) -> float | None:
    """Return a sentinel such as -999 that is farther from all other values than they are from each other."""
    for sentinel in (float(numbers.min()), float(numbers.max())):
        others = numbers[numbers != sentinel]
        often = 1 - len(others) / len(numbers) >= LEAST_OF_SENTINEL
        if sentinel in SENTINELS and not _is_price(sentinel, others) and others.nunique() > 2:  # noqa: PLR2004 (more than two values)
            low, high = float(others.min()), float(others.max())
            if max(low - sentinel, sentinel - high) > (high - low) * (1 if often else 5):
                return sentinel
    return None


def _is_price(sentinel: float, others: pd.Series) -> bool:
    """Return whether a number such as 99.99 ends as many others do, so that it is a price like them."""
    decimals = others.drop_duplicates().abs() % 1
    return bool(sentinel % 1) and bool(np.isclose(decimals, abs(sentinel) % 1).mean() > PRICES)


def _words_among_numbers(counts: pd.Series, decimal: str) -> tuple[str, ...]:
    """Return the few texts in a column of numbers; none if there are many."""
    words = counts[number(counts.index.to_series(), decimal).isna().to_numpy()]
    few = 0 < len(words) <= FEW_WORDS < len(counts) - len(words)
    return tuple(words.index) if few and 1 - words.sum() / counts.sum() >= MOSTLY_NUMBERS else ()


def _measured(levels: pd.Series) -> bool:
    """Return whether texts are numbers with one common unit, or times of day."""
    units = levels.str.extract(MEASURED)[0].value_counts(dropna=False, normalize=True)
    return _mostly(levels, TIME_OF_DAY) or float(units.drop(np.nan, errors="ignore").max()) > READABLE


def _mostly(values: pd.Series, form: str) -> bool:
    return float(values.dropna().str.fullmatch(form).mean()) > READABLE


def _category(profile: ColumnProfile, values: pd.Series) -> ColumnProfile:
    texts = text(values)
    counts = texts.value_counts()
    lengths, known = counts.index.str.len(), int(counts.sum())
    folded = int(counts.index.str.casefold().nunique())
    spaced = counts.index.str.contains(r"\s").mean() > 0.5  # noqa: PLR2004
    many = profile.distinct > max(200, known // 20)
    serial = profile.distinct == known >= LEAST_FOR_IDENTIFIER and not spaced
    named = many and bool(NAMES.search(profile.name))
    measured = len(counts) > FEW_LEVELS and _measured(counts.index.to_series())
    long = float(np.average(lengths, weights=counts)) > FREE_LENGTH
    prose = long or (spaced and not measured and profile.distinct > max(200, 0.3 * known))
    few = len(counts) <= FEW_LEVELS and counts.min() >= LEAST_OF_LEVEL
    return replace(
        profile,
        kind="text" if prose and not serial else "category",
        missing=float(texts.isna().mean()),
        levels=tuple(sorted(counts.index)) if few else (),
        longest=int(lengths.max()),
        folded=folded if folded < len(counts) else 0,
        example=str(counts.index[0]),
        measured=measured,
        words=() if serial or named else _words_among_numbers(counts, profile.decimal),
        identifier=serial,
        left_out="it tells each row from the others" if serial else "it is an identifier" if named else "",
    )

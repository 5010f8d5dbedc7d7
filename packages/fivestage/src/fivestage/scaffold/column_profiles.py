"""What a table's columns are: kinds, ranges, gaps, identifiers; text that is really numbers or timestamps."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
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
SAMPLE = 5_000  # distinct values that say how a column is written
READABLE = 0.95  # of the values must be numbers, or timestamps, for the column to be taken for them
FEW_LEVELS = 12  # of so many a contract names each
LEAST_OF_LEVEL = 5  # rows; with a rarer level more are to be expected
FREE_LENGTH = 40  # mean characters from which on a category is prose
LEAST_FOR_IDENTIFIER = 30  # rows
ALSO = " | "  # between two forms in which times of one column are written
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
WHOLE = {
    "%Y%m%d": 10**4,
    "%Y%m%d%H%M": 10**8,
    "%Y%m%d%H%M%S": 10**10,
    "%Y%m": 10**2,
    "%Y": 1,
}  # with what follows a year's digits
DAILY = 10**4  # of what has fewer digits it must be said that it is a timestamp
CLOCK = re.compile(
    r"(?P<gap>[T ,:]+)(?P<clock>\d{1,2}[:.]\d\d([:.]\d\d([.,]\d+)?)?)"
    r"(?P<half>\s?[AaPp][Mm])?(?P<zone>\s?([Zz]|[+-]\d\d:?\d\d|(?P<name>[A-Za-z][A-Za-z/_]+)))?$"
)
ZONED = r"(?:\d[Zz]|[+-]\d\d:?\d\d|[A-Za-z/_]{3,})$"
WEEKDAY = re.compile(r"^(mon|tue|wed|thu|fri|sat|sun)(?P<whole>[a-z]*day)?(?P<gap>,? )", re.IGNORECASE)
CENTURIES = (1700, 2100)  # years in which timestamps lie
DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{4}-\d\d\d?|\d\d-\d{4}"
WORDS = ("y", "n", "yes", "no", "true", "false", "on", "off", "null", "kind")  # of YAML; of an event
LEAST_OF_FORM = 0.01  # of the values, for a further form in which timestamps are written
TRIED = 100  # values, of which a form must read one to be looked at
SENTINELS = {
    sign * float(digits) for sign in (-1, 1) for digits in ("1", "9", "99", "999", "9999", "99999", "999999")
}
LEAST_OF_SENTINEL = 0.01  # of the values; a rarer one must stand ten times as far off
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
MOSTLY_NUMBERS = 0.7  # of the values, for the few others to be named that make the column a text
FEW_WORDS = 5
MEASURED = r"^[+-]?\d+(?:[.,]\d+)?\s?([^\W\d_]{1,8}|[°µ]\w{1,2})$"  # with the unit
TIME_OF_DAY = r"\d{1,2}:\d\d(:\d\d)?"
DIGITS_OF_DAY = r"([01]\d|2[0-4])[0-5]\d"  # the same without colons
CODE = r"0\d{3,}$"  # a number does not begin so, but what names a place or a person
EPOCH_YEARS = (1990, 2040)  # in which a number can be a timestamp
SHEET = (20_000, 60_000)  # days of a spreadsheet: 1954 to 2064


@dataclass(frozen=True)
class ColumnProfile:
    """A column as it was found."""

    header: str
    name: str
    kind: Kind
    missing: float  # share
    distinct: int
    low: float = 0
    high: float = 0
    levels: tuple[str, ...] = ()
    longest: int = 0  # characters
    example: str | float = ""
    written: str = ""  # how timestamps are written
    zone: str = "UTC"  # of times that have none
    decimal: str = "."
    signs: tuple[str, ...] = ()  # of currency or percent, that numbers are read without
    zoneless: bool = False  # times of day without a zone, which are taken as UTC
    folded: int = 0  # number of categories apart from case, if some differ in it alone
    unreadable: int = 0  # values that are none of the kind, and count as missing
    sentinel: float | None = None  # a number that seems to stand for none, and is read as missing
    measured: bool = False  # texts that are numbers with a unit, or clocks
    words: tuple[str, ...] = ()  # the few texts among numbers, which make levels of them
    identifier: bool = False
    whole: bool = False  # whole numbers without zeros before them, which would tell them apart
    left_out: str = ""  # why it is no feature

    @property
    def nullable(self) -> bool:
        return self.missing > 0


def seconds_of(values: pd.Series, column: ColumnProfile) -> pd.Series:
    """Epoch seconds of a column of timestamps."""
    return timestamp(values, *column.written.split(ALSO), zone=column.zone)


def names_of(headers: Iterable[str], taken: Collection[str] = (), prefix: str = "column") -> dict[str, str]:
    """A name for each header, whatever its script: lower-case letters, digits, underscores, none twice."""
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


def inspect_column(
    values: pd.Series, name: str, *, is_time: bool = False, zone: str = "UTC"
) -> ColumnProfile:
    """What a column is; `zone` is that of times without one."""
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
    """A column of text, which may really be timestamps or numbers."""
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
    """The format in which texts are timestamps; empty if they are none.

    Where day and month could change places, the format with the day first stands, unless it reads fewer.
    """
    used, known = forms_read(sample)
    return ALSO.join(used) if len(sample) and known.mean() > READABLE else ""


def forms_read(sample: pd.Series) -> tuple[list[str], pd.Series]:
    """The forms in which texts are timestamps, the most used first, and which of the texts are."""
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
    shape = sample.str.replace(r"\d+", "0", regex=True)  # what looks the same is written the same
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
    """The forms that texts may have, by what stands around their dates: weekdays, clocks, zones."""
    around = dict.fromkeys(_around(one) for one in sample)
    dated = (f"{before}{date}{behind}" for before, behind in around for date in DATES)
    return ("ISO8601", *dict.fromkeys(dated), *CLOCKLESS, *CLOCK_INSIDE)


def _around(text: str) -> tuple[str, str]:
    """What a form has before the date and behind it."""
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
    """Which texts a form makes timestamps of, in years that can be."""
    first, last = (pd.Timestamp(year, 1, 1).timestamp() for year in CENTURIES)
    known = timestamp(texts, form).between(first, last)
    # 1704067200 is no day of the year 1704, as which strptime would read it.
    return known & (texts.str.len() == len(str(WHOLE[form])) + 3) if form in WHOLE else known


def epoch_or_day(values: pd.Series, name: str, *, is_time: bool) -> str:
    """How numbers are timestamps: epoch counts, years, days as 20130131 or of a spreadsheet; or empty.

    Many numbers that are all days of the calendar are timestamps whatever the column's name.
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
    """The decimal separator of numbers in texts; None if they are no numbers."""
    return next((decimal for decimal in (".", ",") if _plausible(texts, decimal)), None)


def _plausible(sample: pd.Series, decimal: str) -> bool:
    """Whether commas and points stand where such numbers have them."""
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
    """Whether some times have an hour and no zone."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.dt.tz is None and bool((values.dropna() != values.dropna().dt.normalize()).any())
    if pd.api.types.is_numeric_dtype(values) or re.search("%z", written, re.IGNORECASE):
        return False
    texts = text(values).dropna().drop_duplicates().head(SAMPLE)
    return bool((texts.str.contains(r"\d:\d\d") & ~texts.str.contains(ZONED)).any())


def _signs(values: pd.Series) -> tuple[str, ...]:
    """The signs around the numbers of texts."""
    if pd.api.types.is_numeric_dtype(values):
        return ()
    texts = text(values).dropna().drop_duplicates().head(SAMPLE)
    signs = {one[0].strip("+-\u2019' \u00a0\u202f") for each in texts for one in re.finditer(SIGNS, each)}
    return tuple(sorted(signs - {""}))


def currency_of(values: pd.Series) -> str:
    """The ISO code of the currency that a column's header or its values name; empty where they name none."""
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
    """A number such as -999 that stands farther from all others than these from each other."""
    for sentinel in (float(numbers.min()), float(numbers.max())):
        others = numbers[numbers != sentinel]
        often = 1 - len(others) / len(numbers) >= LEAST_OF_SENTINEL
        if sentinel in SENTINELS and others.nunique() > 2:  # noqa: PLR2004 (more than a yes and a no)
            low, high = float(others.min()), float(others.max())
            if max(low - sentinel, sentinel - high) > (high - low) * (1 if often else 10):
                return sentinel
    return None


def _words_among_numbers(counts: pd.Series, decimal: str) -> tuple[str, ...]:
    words = counts[number(counts.index.to_series(), decimal).isna().to_numpy()]
    few = 0 < len(words) <= FEW_WORDS < len(counts) - len(words)
    return tuple(words.index) if few and 1 - words.sum() / counts.sum() >= MOSTLY_NUMBERS else ()


def _measured(levels: pd.Series) -> bool:
    """Whether texts are numbers that all have the same unit, or times of day."""
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

"""Parse raw columns as texts, numbers, times and classes; values that cannot be parsed become missing."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY

EPOCH_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}  # units per second
SPREADSHEET_DAYS = "days of a spreadsheet"  # since the end of 1899
SPREADSHEET_EPOCH = 25_569  # 1 January 1970 in spreadsheet days
ISO_WEEKS = "%G-W%V"  # read as the first day of the week
QUARTERS = "quarters"  # 2024-Q1, 2024 Q1, 2024Q1, Q1 2024
YEARS = "years"  # with a fraction: 2024.25
LATEST_YEAR = 2040  # years of two digits are never read as later than this
# Time zone abbreviations that pandas does not know, or not in the hour that occurs twice as clocks go back.
# Otherwise pandas reads CET, EET and WET by the clocks there: CET in July is +02:00.
ZONES = {
    "CET": "+0100", "EET": "+0200", "WET": "+0000",
    "EDT": "-0400", "CST": "-0600", "CDT": "-0500", "MDT": "-0600", "PST": "-0800", "PDT": "-0700",
    "BST": "+0100", "CEST": "+0200", "EEST": "+0300", "AEST": "+1000", "AEDT": "+1100",
}  # fmt: skip
HOURS_FROM_UTC = r"(?:GMT|UTC)([+-])(\d{1,2}):?(\d\d)?$"  # as Google Forms writes zones: GMT+1
# The name of a zone behind its offset, as JavaScript and Java write it: (Central Europe), [Europe/Berlin].
# Without an offset, the name must stay: the time is then not read, instead of as UTC.
ZONE_NAME = r"(\d:\d\d.*(?:[Zz]|[+-]\d\d:?\d\d))\s*(?:\[[^\]]+\]|\([^)]+\))$"
OFFSET = r"[Tt ]\d.*(?:[Zz]|[+-]\d\d(?::?\d\d)?)$"  # the time zone at the end of an ISO 8601 text
EXACT = 2**53  # a float64 holds every whole number below this
CURRENCIES = "USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|KRW|TRY|SGD|HKD|ILS"
# Characters around a number: currency signs (¤ is the euro sign of ISO 8859-15 read as Latin-1), percent and
# thousands separators; a sign in front of a currency code is kept.
SIGNS = f"[\\s%$€¤£¥₹₩'\u2019\u00a0\u202f]|^([+-]?)(?:{CURRENCIES})|(?:{CURRENCIES}|kr|zł|Kč|Rs)$"
MINUS = "[\u2010-\u2015\u2212\uff0d]"  # other characters used for a minus sign
NEGATIVE = r"^\((.+)\)$|^([^-]+)-$"  # negative numbers in accounting notation


def text(values: pd.Series) -> pd.Series:
    """Convert values to trimmed texts; missing values stay missing, and 18.0 becomes `18`.

    Args:
        values: a column of any type.

    Returns:
        A column of pandas' `str` type.
    """
    values = _without_categories(values)
    if pd.api.types.is_bool_dtype(values):
        return pd.Series(values.map({True: "true", False: "false"}), dtype="str")
    if pd.api.types.is_float_dtype(values) and _is_whole(values):
        return values.astype("Int64").astype("str").where(values.notna(), None).astype("str")
    if pd.api.types.is_object_dtype(values):
        values = values.map(str, na_action="ignore")
    texts: pd.Series = values.astype("str").str.strip()
    return texts.mask(texts == "")


def _without_categories(values: pd.Series) -> pd.Series:
    return values.astype(values.cat.categories.dtype) if hasattr(values, "cat") else values


def _is_whole(values: pd.Series) -> bool:
    return bool((values.dropna() % 1 == 0).all() and values.abs().max() < EXACT)


def number(values: pd.Series, decimal: str = ".") -> pd.Series:
    """Parse values as floats, ignoring currency, percent and thousands signs; durations become seconds.

    Args:
        values: a column of any type.
        decimal: the decimal separator; with `,`, a point separates thousands.

    Returns:
        A float64 column, NaN where there is no finite number.
    """
    values = _without_categories(values)
    if pd.api.types.is_timedelta64_dtype(values):
        values = values.dt.total_seconds()
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return values.astype("float64").replace([np.inf, -np.inf], np.nan)
    bare = bare_number(values.astype("str")).str.replace("." if decimal == "," else ",", "", regex=False)
    numbers: pd.Series = pd.to_numeric(bare.str.replace(",", ".", regex=False), errors="coerce")
    return numbers.astype("float64").replace([np.inf, -np.inf], np.nan)


def bare_number(values: pd.Series) -> pd.Series:
    """Strip signs around the numbers in texts, and write negative ones with a leading hyphen."""
    bare: pd.Series = values.str.strip().str.replace(MINUS, "-", regex=True)
    return bare.str.replace(SIGNS, r"\1", regex=True).str.replace(NEGATIVE, r"-\1\2", regex=True)


def timestamp(values: pd.Series, *formats: str, zone: str = "UTC", fold: Literal[0, 1] = 0) -> pd.Series:
    """Parse values as epoch seconds.

    Args:
        values: dates, texts or numbers.
        formats: formats to try in turn: of strptime; ISO8601, which is the default; s, ms, us or ns since
            1970; SPREADSHEET_DAYS, QUARTERS or YEARS.
        zone: the time zone of values that have none, an IANA name such as `Europe/Berlin`. Times that the
            zone skipped, when clocks went forward, are moved to the end of the gap.
        fold: which occurrence is meant by a time that occurred twice, when clocks went back (PEP 495): 0 is
            the first, 1 the second. For the time at which something became known, 1 is never too early.

    Returns:
        A float64 column of whole seconds, NaN where no format fits.
    """
    first, *others = [one or "ISO8601" for one in formats or ("",)]
    seconds = _seconds(values, first, zone, fold)
    for other in others:
        seconds = seconds.fillna(_seconds(values.where(seconds.isna()), other, zone, fold))
    return seconds


def without_zone_name(texts: pd.Series) -> pd.Series:
    """Remove the name of a time zone in brackets, if it follows an offset from UTC."""
    named = texts.str.endswith((")", "]"), na=False)
    return texts.str.replace(ZONE_NAME, r"\1", regex=True) if named.any() else texts


def _seconds(values: pd.Series, form: str, zone: str, fold: Literal[0, 1]) -> pd.Series:
    if form in EPOCH_UNITS:
        return number(values) // EPOCH_UNITS[form]
    if form == SPREADSHEET_DAYS:
        return _to_utc(((number(values) - SPREADSHEET_EPOCH) * DAY).round(), zone, fold)
    if form == YEARS:
        return _to_utc(_days_of_years(number(values)) * DAY, zone, fold)
    if pd.api.types.is_datetime64_any_dtype(values):
        zoned = pd.Series(values.dt.tz is not None, values.index)
        times = values.dt.tz_localize("UTC") if values.dt.tz is None else values.dt.tz_convert("UTC")
    else:
        texts = without_zone_name(text(values))
        times = _parsed(texts, form)
        always = pd.Series("%z" in form.lower(), values.index)
        zoned = texts.str.contains(OFFSET, na=False) if form == "ISO8601" else always
    known: pd.Series = times.dt.tz_localize(None).dt.as_unit("s").astype("int64").astype("float64")
    known = known.where(times.notna())
    return known.where(zoned, _to_utc(known, zone, fold))


def _to_utc(seconds: pd.Series, zone: str, fold: Literal[0, 1]) -> pd.Series:
    """Convert local times, in seconds as if they were UTC, to epoch seconds."""
    if zone == "UTC" or seconds.isna().all():
        return seconds
    local = pd.Series(seconds.fillna(0).to_numpy(np.int64).astype("datetime64[s]"), seconds.index)
    utc = local.dt.tz_localize(zone, ambiguous=fold == 0, nonexistent="shift_forward").dt.tz_convert(None)
    return utc.astype("int64").astype("float64").where(seconds.notna())


def _parsed(texts: pd.Series, form: str) -> pd.Series:
    if form == ISO_WEEKS:  # ISO weeks start on a Monday
        texts, form = texts + "-1", f"{ISO_WEEKS}-%u"
    if form == QUARTERS:
        quarter, begins = r"(?i)^(?:(.+?)[ -]?Q{0}|Q{0}[ -]?(.+))$", r"\1\2-{0}"
        months = {quarter.format(one): begins.format(3 * one - 2) for one in range(1, 5)}
        texts, form = texts.replace(months, regex=True), "%Y-%m"
    times: pd.Series = pd.to_datetime(texts, format=form, errors="coerce", utc=True)
    if "%Z" in form and times.isna().any():
        shifted = texts.replace({rf"\b{zone}$": shift for zone, shift in ZONES.items()}, regex=True)
        shifted = shifted.str.replace(
            HOURS_FROM_UTC, lambda zone: f"{zone[1]}{int(zone[2]):02}{zone[3] or '00'}", regex=True
        )
        offsets = pd.to_datetime(shifted, format=form.replace("%Z", "%z"), errors="coerce", utc=True)
        times = times.fillna(offsets)
    if "%y" in form:
        times = times.mask(times.dt.year > LATEST_YEAR, times - pd.DateOffset(years=100))
    return times


def _days_of_years(numbers: pd.Series) -> pd.Series:
    """Convert years with fractions to days since 1970."""
    year = numbers.floordiv(1)
    first, last = (
        (year.fillna(0) + offset - 1970).to_numpy("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
        for offset in (0, 1)
    )
    days: pd.Series = (first + (numbers - year) * (last - first)).round()
    return days


def class_codes(values: pd.Series, classes: Sequence[str]) -> pd.Series:
    """Convert class names to class indices, ignoring case.

    Args:
        values: a column of any type.
        classes: the names of the classes, in order.

    Returns:
        A float64 column with the same index: 0.0 for the first class, NaN for values that are not a class.
    """
    codes = {name.casefold(): float(code) for code, name in enumerate(classes)}
    return text(values).str.casefold().map(codes)


def equals(values: pd.Series, expected: str) -> pd.Series:
    """Compare values with a text, ignoring case.

    Args:
        values: a column of any type.
        expected: the text to compare with.

    Returns:
        A float64 column with the same index: 1.0 if equal, 0.0 if not, NaN where the value is missing.
    """
    known = text(values).str.casefold()
    return (known == expected.casefold()).astype("float64").where(known.notna())


def exceeds(values: pd.Series, limit: float, decimal: str = ".") -> pd.Series:
    """Compare numbers with a limit: 1.0 if above it, 0.0 if not, NaN where there is no number."""
    known = number(values, decimal)
    return (known > limit).astype("float64").where(known.notna())

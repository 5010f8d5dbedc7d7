"""Fields of a column in the contract, and formatting of values in YAML."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fivestage.scaffold.column_profiles import ColumnProfile
from fivestage.scaffold.target import Target

MARGIN = 1.0  # accepted margin beyond the observed range, as a multiple of it
GROWTH = 99.0  # the same above counts and values that grow with time
FEW_STEPS = 20  # whole numbers with more distinct values are counts, with fewer they are grades
LARGEST_IDENTIFIER = 2**53  # a float represents all whole numbers up to here
FAR = 100 * 365 * 86_400  # accepted margin in seconds beyond the observed timestamps
FUTURE = 20 * 365 * 86_400  # the same after the last decision
EARLIEST = -2_208_988_800  # 1900; earlier timestamps are only accepted if some were observed
USUAL_LENGTH = 32  # default maximum length of a category in characters
PROSE_LENGTH = 1000
WIDEST = 1e300  # maximum range, so that bounds beyond it are finite
POSITIONAL = (1e-4, 1e16)  # range of numbers written without an exponent

Fields = dict[str, Any]


def as_yaml(value: object) -> str:
    """Format a value on one line of YAML: quoted texts, YAML exponents, times in ISO 8601."""
    if isinstance(value, float):
        if value == 0 or POSITIONAL[0] <= abs(value) < POSITIONAL[1]:
            return str(np.format_float_positional(value, trim="-"))
        return str(np.format_float_scientific(value, trim="0"))
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_yaml, value))}]"
    return json.dumps(value, ensure_ascii=not (isinstance(value, str) and value.isprintable()))


def fields_of(column: ColumnProfile, *, nullable: bool = True, grows: bool = False) -> Fields:
    """Return a column's contract fields; bounds lie beyond the observed range, far above if it `grows`."""
    gaps = nullable and column.nullable
    if column.kind == "text":
        longest = max(PROSE_LENGTH, 4 * column.longest)
        return category_fields(column.header, column.example, longest, nullable=gaps)
    if column.kind == "category":
        longest = 2 * column.longest
        return category_fields(column.header, column.example, longest, values=column.levels, nullable=gaps)
    if column.kind == "timestamp":
        low, high = min(column.low, max(column.low - FAR, EARLIEST)), column.high + FAR
        times = (datetime.fromtimestamp(int(one), UTC) for one in (low, high, column.example))
        return _range_fields("timestamp", column.header, *times, nullable=gaps)
    counts = column.kind == "integer" and column.low >= 0 and column.distinct > FEW_STEPS
    low, high = bounds(column.low, column.high, above=GROWTH if grows or counts else MARGIN)
    kind = int if column.kind == "integer" else float
    return _range_fields(column.kind, column.header, *map(kind, (low, high, column.example)), nullable=gaps)


def time_fields(column: ColumnProfile) -> Fields:
    """The fields of the decision time."""
    latest = datetime.fromtimestamp(int(column.high) + FUTURE, UTC)
    return fields_of(column, nullable=False) | {"max": latest}


def key_fields(column: ColumnProfile) -> Fields:
    """Return the fields of an identifier of rows or entities, which will get new values."""
    if column.kind == "integer":
        low = 0 if column.low >= 0 else -LARGEST_IDENTIFIER
        return fields_of(column) | {"min": low, "max": LARGEST_IDENTIFIER}
    example = int(column.example) if column.whole else column.example
    form = "integer" if column.whole else ""
    longest = 2 * column.longest
    return category_fields(column.header, example, longest, form=form, nullable=column.nullable)


def row_fields() -> Fields:
    """Return the fields of the row number, used if no column identifies the rows."""
    return _range_fields(
        "integer",
        "the row's position in the table, from 0, which links it to its outcome",
        0,
        LARGEST_IDENTIFIER,
        1,
    )


def decision_time_fields(served: datetime) -> Fields:
    """Return the fields of a simulated decision time; `served` is the first one in service."""
    start, end = (datetime(served.year + years, 1, 1, tzinfo=UTC) for years in (-10, 100))
    return _range_fields("timestamp", "decision time", start, end, served)


def label_fields(target: Target) -> Fields:
    """Return the fields of the label in outcome events."""
    if not target.classes:
        return _range_fields("number", target.header, *bounds(target.low, target.high), target.mean)
    longest = max(map(len, target.classes))
    return category_fields(target.header, target.classes[-1], longest, values=target.classes)


def category_fields(
    about: str,
    example: object,
    longest: int,
    *,
    values: Sequence[str] = (),
    form: str = "",
    nullable: bool = False,
) -> Fields:
    """Return the fields of a category, without those that have their default."""
    length = longest if longest > USUAL_LENGTH else 0
    more = {"form": form, "values": values, "max_length": length, "nullable": nullable}
    given = {name: value for name, value in more.items() if value}
    return {"type": "category", "about": about, **given, "example": str(example)}


def _range_fields(
    kind: str, about: str, low: object, high: object, example: object, *, nullable: bool = False
) -> Fields:
    gaps = {"nullable": True} if nullable else {}
    return {"type": kind, "about": about, "min": low, "max": high, "example": example} | gaps


def bounds(low: float, high: float, above: float = MARGIN) -> tuple[float, float]:
    """Return rounded bounds beyond the observed range; the lower one is 0 if no value was negative."""
    span = min((high - low) or abs(high) or 1.0, WIDEST)
    digits = -math.floor(math.log10(span))
    below = round(math.floor((low - MARGIN * span) * 10**digits) / 10**digits, max(digits, 0))
    above = round(math.ceil((high + above * span) * 10**digits) / 10**digits, max(digits, 0))
    return (0.0 if low >= 0 > below else below), above

"""Fields of a column in the contract, and formatting of values in YAML."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fivestage.scaffold.column_profiles import ColumnProfile

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


def fields_of(column: ColumnProfile, *, grows: bool = False) -> Fields:
    """Return a column's contract fields; bounds lie beyond the observed range, far above if it `grows`."""
    fields: Fields = {"type": column.kind, "about": column.header}
    if column.kind in ("category", "text"):
        prose = column.kind == "text"
        longest = max(PROSE_LENGTH, 4 * column.longest) if prose else 2 * column.longest
        more: Fields = {
            "form": "integer" if column.whole else "",
            "values": () if prose else column.levels,
            "max_length": longest if longest > USUAL_LENGTH else 0,
            "nullable": column.nullable,
        }
        given = {name: value for name, value in more.items() if value}  # others have their default
        example = int(column.example) if column.whole else column.example
        return fields | {"type": "category", **given, "example": str(example)}
    kind: Any = int if column.kind == "integer" else float
    counts = column.kind == "integer" and column.low >= 0 and column.distinct > FEW_STEPS
    if column.kind == "timestamp":
        kind = timestamp
        low, high = min(column.low, max(column.low - FAR, EARLIEST)), column.high + FAR
    elif column.kind == "integer" and column.identifier:  # new rows have new ones
        low, high = 0 if column.low >= 0 else -LARGEST_IDENTIFIER, LARGEST_IDENTIFIER
    else:
        low, high = bounds(column.low, column.high, above=GROWTH if grows or counts else MARGIN)
    fields |= {"min": kind(low), "max": kind(high), "example": kind(column.example)}
    return fields | ({"nullable": True} if column.nullable else {})


def timestamp(seconds: float) -> datetime:
    """Return the date and time of epoch seconds."""
    return datetime.fromtimestamp(int(seconds), UTC)


def bounds(low: float, high: float, above: float = MARGIN) -> tuple[float, float]:
    """Return rounded bounds beyond the observed range; the lower one is 0 if no value was negative."""
    span = min((high - low) or abs(high) or 1.0, WIDEST)
    digits = -math.floor(math.log10(span))
    below = round(math.floor((low - MARGIN * span) * 10**digits) / 10**digits, max(digits, 0))
    above = round(math.ceil((high + above * span) * 10**digits) / 10**digits, max(digits, 0))
    return (0.0 if low >= 0 > below else below), above

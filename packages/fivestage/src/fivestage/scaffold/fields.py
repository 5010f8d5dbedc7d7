"""A column's fields in the contract, as YAML text."""

import json
import math
from datetime import date
from typing import Any

import numpy as np

from fivestage.contract.contract import iso
from fivestage.scaffold.column_profiles import ColumnProfile
from fivestage.scaffold.target import Target

MARGIN = 1.0  # of a number's range, beyond which a value is refused
GROWTH = 99.0  # the same above what counts or goes up with time, as it will go on doing
FEW_STEPS = 20  # whole numbers with more values than this count something; with fewer they are grades
LARGEST_IDENTIFIER = 2**53  # below, a float holds every whole number
FAR = 100 * 365 * 86_400  # seconds beyond the timestamps seen, in which one is accepted
EARLIEST = -2_208_988_800  # 1900, before which a timestamp is one only where others have been seen
USUAL_LENGTH = 32  # characters of a category, where the contract names no other
PROSE_LENGTH = 1000
POSITIONAL = (1e-4, 1e16)  # between which a number is written without an exponent


def quoted(value: object) -> str:
    """A value as YAML, texts in quotes that no parser takes for something else."""
    return json.dumps(value, ensure_ascii=not isinstance(value, str) or not value.isprintable())


def fields_of(column: ColumnProfile, *, nullable: bool = True, grows: bool = False) -> dict[str, Any]:
    """A column's fields in the contract; bounds lie well beyond what was seen, far above if it `grows`."""
    about = quoted(column.header)
    gaps = {"nullable": "true"} if nullable and column.missing else {}
    if column.kind in ("category", "text"):
        prose = column.kind == "text"
        longest = max(PROSE_LENGTH if prose else USUAL_LENGTH, (4 if prose else 2) * column.longest)
        listed = f"[{', '.join(quoted(level) for level in column.levels)}]"
        levels = {"values": listed} if column.levels else {}
        length = {"max_length": longest} if longest > USUAL_LENGTH else {}
        fields: dict[str, Any] = {"type": "category", "about": about, **levels, **length, **gaps}
        return fields | {"example": quoted(str(column.example))}
    if column.kind == "timestamp":
        low, high = min(column.low, max(column.low - FAR, EARLIEST)), column.high + FAR
        return timestamp_fields(about, iso(int(low)), iso(int(high)), iso(int(column.example))) | gaps
    counts = column.kind == "integer" and column.low >= 0 and column.distinct > FEW_STEPS
    low, high = bounds(column.low, column.high, above=GROWTH if grows or counts else MARGIN)
    numbers = {"min": low, "max": high, "example": float(column.example)}
    shown = {name: plain(value, whole=column.kind == "integer") for name, value in numbers.items()}
    return {"type": column.kind, "about": about, **shown, **gaps}


def key_fields(column: ColumnProfile) -> dict[str, Any]:
    """The fields of what identifies a row or an entity: of these there will be more."""
    if column.kind == "integer":
        low = 0 if column.low >= 0 else -LARGEST_IDENTIFIER
        return fields_of(column) | {"min": low, "max": LARGEST_IDENTIFIER}
    form = {"form": "integer"} if column.whole else {}
    longest = max(USUAL_LENGTH, 2 * column.longest)
    length = {"max_length": longest} if longest > USUAL_LENGTH else {}
    gaps = {"nullable": "true"} if column.missing else {}
    return {
        "type": "category",
        "about": quoted(column.header),
        **form,
        **length,
        **gaps,
        "example": quoted(str(int(column.example) if column.whole else column.example)),
    }


def row_fields() -> dict[str, Any]:
    """The fields of the number that rows get which nothing tells apart."""
    about = quoted("tells a row from the others; any number")
    return {"type": "integer", "about": about, "min": 0, "max": LARGEST_IDENTIFIER, "example": 1}


def decision_time_fields(near: date) -> dict[str, Any]:
    """The fields of a decision time that the table does not have."""
    start, end = (f"{near.year + years}-01-01T00:00:00Z" for years in (-10, 100))
    return timestamp_fields(quoted("decision time"), start, end, f"{near}T00:00:00Z")


def timestamp_fields(about: str, low: str, high: str, example: str) -> dict[str, Any]:
    """The fields of a timestamp."""
    return {"type": "timestamp", "about": about, "min": low, "max": high, "example": example}


def label_fields(target: Target) -> dict[str, Any]:
    """The fields of the outcome, where the service is told of it."""
    about = quoted(target.header)
    if not target.classes:
        low, high = bounds(target.low, target.high)
        shown = (plain(value, whole=False) for value in (low, high, target.mean))
        return {"type": "number", "about": about, **dict(zip(("min", "max", "example"), shown, strict=True))}
    longest = max(USUAL_LENGTH, *(len(one) for one in target.classes))
    length = {"max_length": longest} if longest > USUAL_LENGTH else {}
    values = f"[{', '.join(quoted(one) for one in target.classes)}]"
    example = quoted(target.classes[-1])
    return {"type": "category", "about": about, "values": values, **length, "example": example}


def plain(value: float, *, whole: bool) -> int | str:
    """A number as YAML reads it: an exponent with a point and a sign."""
    if whole:
        return int(value)
    if value == 0 or POSITIONAL[0] <= abs(value) < POSITIONAL[1]:
        return np.format_float_positional(value, trim="-")
    return np.format_float_scientific(value, trim="0")


def bounds(low: float, high: float, above: float = MARGIN) -> tuple[float, float]:
    """Rounded bounds beyond the values seen; what was never negative may not become so."""
    span = (high - low) or abs(high) or 1.0
    digits = -math.floor(math.log10(span))
    below = round(math.floor((low - MARGIN * span) * 10**digits) / 10**digits, max(digits, 0))
    above = round(math.ceil((high + above * span) * 10**digits) / 10**digits, max(digits, 0))
    return (0.0 if low >= 0 > below else below), above

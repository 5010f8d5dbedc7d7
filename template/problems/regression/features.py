"""What is known of a row at its decision time. Written by `make init`; yours to edit.

Each function sees single values or whole columns (`core.columns`), so that training and service run the same
lines.
"""

from collections.abc import Callable, Mapping
from typing import Any

from core.columns import Row, Value
from core.windows import Fact, Past

Reference = Mapping[str, Mapping[str, Any]]
Features = dict[str, Value]

COLUMNS = (
    "age",
    "sex",
    "bmi",
    "bp",
    "s1",
    "s2",
    "s3",
    "s4",
    "s5",
    "s6",
)
REACH_HOURS = 336  # no window looks further back; with room for the rows that prove a copy of the model


def outcome_facts(event: Row, reference: Reference) -> list[Fact]:
    """What became of a row: without entities it is no one's history."""
    return []


FACTS: dict[str, Callable[[Row, Reference], list[Fact]]] = {"outcome": outcome_facts}


def columns(row: Row, at: Value, past: Past, reference: Reference) -> Features:
    """The columns as they are."""
    return {name: row[name] for name in COLUMNS}


SETS: dict[str, Callable[[Row, Value, Past, Reference], Features]] = {
    "columns": columns,
}

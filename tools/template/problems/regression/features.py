"""What is known of a row at its decision time. Written by `make init`; yours to edit.

Each function sees single values or whole columns (`fivestage.common.columns`), so that training
and service run the same lines.
"""

from fivestage.common.columns import Row, Value
from fivestage.features.definitions import EventMapper, FeatureDefinitions, Features, FeatureSet, Reference
from fivestage.features.stores import LoggedEvent, PointInTimeView

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


def outcome_facts(event: Row, reference: Reference) -> list[LoggedEvent]:
    """What became of a row: without entities it is no one's history."""
    return []


EVENTS: dict[str, EventMapper] = {"outcome": outcome_facts}


def columns(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> Features:
    """The columns as they are."""
    return {name: row[name] for name in COLUMNS}


SETS: dict[str, FeatureSet] = {
    "columns": columns,
}

FEATURES = FeatureDefinitions(EVENTS, SETS, REACH_HOURS)

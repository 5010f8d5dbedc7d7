"""Your features: add one to a function below, or a function of your own to SETS.

Each function gets the values of one row from the service, and whole columns from training. Both run these
same lines, so use arithmetic and the helpers of `fivestage.common.columns`, not `if`. Nothing that became
known after `at` can be seen.
"""

from fivestage.common.columns import Row, Value
from fivestage.features.definitions import FeatureDefinitions, Reference
from fivestage.features.stores import AdditiveEvent, PointInTimeView

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
# The service keeps this much of the past, and no window may look further back: no feature looks back yet; the
# holdout window's 14 days, whose last rows are predicted again at each start, to see that the model is whole.
LOOKBACK_HOURS = 14 * 24


def outcome_events(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """What an outcome adds to the history of each entity: nothing, as there are no entities (KEYS)."""
    return []


EVENTS = {"outcome": outcome_events}


def columns(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> dict[str, Value]:
    """The columns as they are."""
    return {name: row[name] for name in COLUMNS}


SETS = {
    "columns": columns,
}

FEATURES = FeatureDefinitions(EVENTS, SETS, LOOKBACK_HOURS)

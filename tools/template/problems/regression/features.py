"""Your features: add one to a function below, or add a function to SETS.

Each function gets the values of one row in the service and whole columns in training. Both run this same
code, so use arithmetic and the helpers of `fivestage.common.columns`, not `if`. Nothing that became known
after `at` is visible.
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
# The service keeps this much history, and no window may be longer: no feature looks back yet; the
# holdout window's 14 days, whose last rows are predicted again at each start to check the model.
LOOKBACK_HOURS = 14 * 24


def outcome_events(event: Row, reference: Reference) -> list[AdditiveEvent]:
    """Return the events that an outcome adds to each entity's history: none without entities (KEYS)."""
    return []


EVENTS = {"outcome": outcome_events}


def columns(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> dict[str, Value]:
    """Return the columns unchanged."""
    return {name: row[name] for name in COLUMNS}


SETS = {
    "columns": columns,
}

FEATURES = FeatureDefinitions(EVENTS, SETS, LOOKBACK_HOURS)

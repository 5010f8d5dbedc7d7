"""The row and the view that feature sets receive in training; they explain mistakes in the feature code."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fivestage.common.columns import Floats, Ints
from fivestage.common.errors import UserError, did_you_mean
from fivestage.features.stores import HOUR, OfflineFeatureStore, WindowQuery

FILE = "problem/features.py"
COLUMN_ERRORS = (  # of numpy, and of Python where a text column is looked up in a set or used as a key
    "truth value of an array",
    "arrays can be converted to Python scalars",
    "unhashable type: 'Strings'",
)


@contextmanager
def for_whole_columns(function: str) -> Iterator[None]:
    """Explain errors of code that is written for single values, such as an `if`, but receives columns."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not any(words in str(error) for words in COLUMN_ERRORS):
            raise
        raise UserError(
            f"{function} of {FILE} treats a whole column as one value: training passes columns. Instead of "
            "if, and, or, not, in, min, max and math, use arithmetic and the helpers of "
            "fivestage.common.columns: lookup, clip, later, length."
        ) from error


class CheckedRow(dict[str, Any]):
    """A row that explains access to a column it does not have."""

    def __init__(self, columns: Mapping[str, Any], feature_set: str) -> None:
        super().__init__(columns)
        self._set = feature_set

    def __missing__(self, name: str) -> Any:
        raise UserError(
            f"The feature set {self._set!r} of {FILE} reads row[{name!r}], which is not a column of the "
            f"contract: only its columns are known at the decision.{did_you_mean(name, self)}"
        )


class CheckedView:
    """A point-in-time view that refuses unknown logs, and windows longer than the service keeps events.

    Args:
        past: the store to query.
        at: the rows' decision times, epoch seconds.
        feature_set: the name of the feature set, for messages.
        lookback_hours: the `lookback_hours` of the definitions.
        logs: the names of all logs; None if they are unknown, because some kinds of event have no events.
    """

    def __init__(
        self,
        past: OfflineFeatureStore,
        at: Ints,
        feature_set: str,
        lookback_hours: float,
        logs: Collection[str] | None,
    ) -> None:
        self._past, self._at, self._set, self._logs = past, at, feature_set, logs
        self._lookback = lookback_hours

    def window(self, log: str, key: Any, at: Ints, hours: float, width: int = 0) -> tuple[Floats, ...]:
        """See `PointInTimeView.window`."""
        self._require(log, at, hours)
        return self._past.window(log, key, at, hours, width)

    def windows(self, query: WindowQuery, keys: Mapping[str, Any], at: Ints) -> list[tuple[Floats, ...]]:
        """See `PointInTimeView.windows`."""
        for log, hours in query.windows:
            self._require(log, at, hours)
        return self._past.windows(query, keys, at)

    def latest(self, log: str, key: Any, at: Ints, hours: float, width: int) -> tuple[Floats, ...]:
        """See `PointInTimeView.latest`."""
        self._require(log, at, hours)
        return self._past.latest(log, key, at, hours, width)

    def _require(self, log: str, at: Ints, hours: float) -> None:
        if self._logs is not None and log not in self._logs:
            known = ", ".join(sorted(self._logs)) or "none"
            raise UserError(
                f"The feature set {self._set!r} of {FILE} queries the log {log!r}, which no function in "
                f"EVENTS adds to. The logs are: {known}.{did_you_mean(log, self._logs)}"
            )
        earlier = 0.0 if at is self._at else float(np.max(self._at - at, initial=0)) / HOUR
        if earlier + hours > self._lookback:
            raise UserError(
                f"The feature set {self._set!r} of {FILE} looks {earlier + hours:g} hours back in the log "
                f"{log!r}, further than LOOKBACK_HOURS, which is {self._lookback:g}: the service keeps no "
                f"older events. Raise LOOKBACK_HOURS in {FILE}, or shorten the window."
            )

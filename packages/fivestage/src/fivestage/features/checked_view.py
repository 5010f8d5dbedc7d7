"""The row and the view that feature sets receive in training; they explain mistakes in the feature code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fivestage.common.columns import Floats, Ints
from fivestage.common.errors import UserError, did_you_mean
from fivestage.features.stores import HOUR, OfflineFeatureStore, WindowQuery

FILE = "problem/features.py"
QUERIES = ("window", "windows", "latest")  # of a point-in-time view
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


class UnknownColumnError(UserError):
    """A feature set reads a column that the contract of its row lacks."""

    reads = ""  # says which set reads which column


class CheckedRow(dict[str, Any]):
    """A row that explains access to a column it does not have."""

    def __init__(self, columns: Mapping[str, Any], feature_set: str) -> None:
        super().__init__(columns)
        self._set = feature_set

    def __missing__(self, name: str) -> Any:
        reads = f"The feature set {self._set!r} of {FILE} reads row[{name!r}]"
        error = UnknownColumnError(
            f"{reads}, which is not a column of the contract: only its columns are known at the "
            f"decision.{did_you_mean(name, self)}"
        )
        error.reads = reads
        raise error


class CheckedView:
    """A point-in-time view that refuses what the service cannot answer: other queries, logs and windows.

    Args:
        past: the store to query.
        at: the rows' decision times, epoch seconds.
        feature_set: the name of the feature set, for messages.
        lookback_hours: the `lookback_hours` of the definitions.
        complete: whether every kind of event has events, so that the store has all logs.
    """

    def __init__(
        self, past: OfflineFeatureStore, at: Ints, feature_set: str, lookback_hours: float, *, complete: bool
    ) -> None:
        self._past, self._at, self._lookback, self._complete = past, at, lookback_hours, complete
        self._where = f"The feature set {feature_set!r} of {FILE}"

    def __getattr__(self, name: str) -> Any:
        raise UserError(
            f"{self._where} uses past.{name}, which the service does not have: use {', '.join(QUERIES)}."
            f"{did_you_mean(name, QUERIES)}"
        )

    def window(self, log: str, key: Any, at: Ints, hours: float, width: int = 0) -> tuple[Floats, ...]:
        """See `PointInTimeView.window`."""
        self._require_kept(log, at, hours)
        return self._past.window(log, key, at, hours, width)

    def windows(self, query: WindowQuery, keys: Mapping[str, Any], at: Ints) -> list[tuple[Floats, ...]]:
        """See `PointInTimeView.windows`."""
        return [self.window(log, keys[log], at, hours, query.width) for log, hours in query.windows]

    def latest(self, log: str, key: Any, at: Ints, hours: float, width: int) -> tuple[Floats, ...]:
        """See `PointInTimeView.latest`."""
        self._require_kept(log, at, hours)
        return self._past.latest(log, key, at, hours, width)

    def _require_kept(self, log: str, at: Ints, hours: float) -> None:
        """Raise a UserError for an unknown log, or for events that the service has forgotten."""
        logs = self._past.logs
        if self._complete and log not in logs:
            raise UserError(
                f"{self._where} queries the log {log!r}, which no function in EVENTS adds to. The logs are: "
                f"{', '.join(sorted(logs)) or 'none'}.{did_you_mean(log, logs)}"
            )
        earlier = 0.0 if at is self._at else float(np.max(self._at - at, initial=0)) / HOUR
        if earlier + hours > self._lookback:
            raise UserError(
                f"{self._where} looks {earlier + hours:g} hours back in the log {log!r}, further than "
                f"LOOKBACK_HOURS, which is {self._lookback:g}: the service keeps no older events. Raise "
                f"LOOKBACK_HOURS in {FILE}, or shorten the window."
            )

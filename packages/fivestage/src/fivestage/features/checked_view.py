"""The row and the view that feature sets receive in training; they explain mistakes in the feature code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fivestage.common.columns import Ints
from fivestage.common.errors import UserError, did_you_mean
from fivestage.features.stores import HOUR, EventLog, OfflineFeatureStore

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


class CheckedView(OfflineFeatureStore):
    """A point-in-time view that refuses unknown logs, and windows longer than the service keeps events.

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
        super().__init__(past.logs)
        self._at, self._set, self._lookback, self._complete = at, feature_set, lookback_hours, complete

    def log(self, name: str, at: Ints, hours: float) -> EventLog | None:
        """See `OfflineFeatureStore.log`."""
        if self._complete and name not in self.logs:
            known = ", ".join(sorted(self.logs)) or "none"
            raise UserError(
                f"The feature set {self._set!r} of {FILE} queries the log {name!r}, which no function in "
                f"EVENTS adds to. The logs are: {known}.{did_you_mean(name, self.logs)}"
            )
        earlier = 0.0 if at is self._at else float(np.max(self._at - at, initial=0)) / HOUR
        if earlier + hours > self._lookback:
            raise UserError(
                f"The feature set {self._set!r} of {FILE} looks {earlier + hours:g} hours back in the log "
                f"{name!r}, further than LOOKBACK_HOURS, which is {self._lookback:g}: the service keeps no "
                f"older events. Raise LOOKBACK_HOURS in {FILE}, or shorten the window."
            )
        return super().log(name, at, hours)

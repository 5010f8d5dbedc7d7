"""What a feature set sees in training: the row and past as in service, with a sentence for each mistake."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fivestage.common.columns import Floats, Ints
from fivestage.common.errors import UserError, did_you_mean
from fivestage.features.stores import HOUR, OfflineFeatureStore, WindowQuery

FILE = "problem/features.py"
OF_COLUMNS = (  # numpy's own words, and Python's of a text column in a set or as a key
    "truth value of an array",
    "arrays can be converted to Python scalars",
    "unhashable type: 'Strings'",
)


@contextmanager
def for_whole_columns(function: str) -> Iterator[None]:
    """Explain what numpy says of code that is written for single values, such as an `if`."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not any(words in str(error) for words in OF_COLUMNS):
            raise
        raise UserError(
            f"{function} of {FILE} decides on a whole column as if it were one value: training passes "
            "columns. In place of if, and, or, not, in, min, max and math use arithmetic and the helpers of "
            "fivestage.common.columns: lookup, clip, later, length."
        ) from error


class CheckedRow(dict[str, Any]):
    """A row that says which of its columns is unknown."""

    def __init__(self, columns: Mapping[str, Any], feature_set: str) -> None:
        super().__init__(columns)
        self._set = feature_set

    def __missing__(self, name: str) -> Any:
        raise UserError(
            f"The feature set {self._set!r} of {FILE} reads row[{name!r}], which is not a column of the "
            f"contract: what stands there under columns is known at the decision.{did_you_mean(name, self)}"
        )


class CheckedView:
    """A point-in-time view that refuses logs without events, and windows beyond the history that is kept.

    Args:
        past: what is known.
        at: the rows' decision times, epoch seconds.
        feature_set: which one asks.
        reach_hours: what its definitions promise.
        logs: the names of all logs; None where some kind of event has none, whose logs are unknown.
    """

    def __init__(
        self,
        past: OfflineFeatureStore,
        at: Ints,
        feature_set: str,
        reach_hours: float,
        logs: Collection[str] | None,
    ) -> None:
        self._past, self._at, self._set, self._reach, self._logs = past, at, feature_set, reach_hours, logs

    def window(self, log: str, key: Any, at: Ints, hours: float, width: int = 0) -> tuple[Floats, ...]:
        """See `PointInTimeView.window`."""
        self._require(log, at, hours)
        return self._past.window(log, key, at, hours, width)

    def windows(self, asked: WindowQuery, keys: Mapping[str, Any], at: Ints) -> list[tuple[Floats, ...]]:
        """See `PointInTimeView.windows`."""
        for log, hours in asked.of:
            self._require(log, at, hours)
        return self._past.windows(asked, keys, at)

    def latest(self, log: str, key: Any, at: Ints, hours: float, width: int) -> tuple[Floats, ...]:
        """See `PointInTimeView.latest`."""
        self._require(log, at, hours)
        return self._past.latest(log, key, at, hours, width)

    def _require(self, log: str, at: Ints, hours: float) -> None:
        if self._logs is not None and log not in self._logs:
            known = ", ".join(sorted(self._logs)) or "none"
            raise UserError(
                f"The feature set {self._set!r} of {FILE} asks for the log {log!r}, which no function of "
                f"EVENTS adds to: there is {known}.{did_you_mean(log, self._logs)}"
            )
        before = 0.0 if at is self._at else float(np.max(self._at - at, initial=0)) / HOUR
        if before + hours > self._reach:
            raise UserError(
                f"The feature set {self._set!r} of {FILE} looks {before + hours:g} hours back in the log "
                f"{log!r}, further than REACH_HOURS, which is {self._reach:g}: the service keeps no older "
                f"events. Raise REACH_HOURS in {FILE}, or shorten the window."
            )

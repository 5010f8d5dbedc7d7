"""A project's features: what each kind of event adds to the log, and the sets that are computed from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fivestage.common.columns import Row, Strings, Value
from fivestage.features.stores import (
    HOUR,
    LoggedEvent,
    OfflineFeatureStore,
    PointInTimeView,
    UnlearnableEventError,
    WindowQuery,
    converted,
)

Reference = Mapping[str, Mapping[str, Any]]  # tables that do not change: column, then key
Features = dict[str, Value]
EventMapper = Callable[[Row, Reference], Sequence[LoggedEvent]]
FeatureSet = Callable[[Row, Value, PointInTimeView, Reference], Features]
Frame = Any  # columns by name: a data frame, which the service does not know, or a dictionary of lists

TEXT = "OUST"  # numpy's kinds
UNDEFINED = (ArithmeticError, ValueError)  # what arithmetic raises that has no result
SPARE_HOURS = 24  # events may count from later on than they were known, by this


@dataclass(frozen=True)
class FeatureDefinitions:
    """The features of a project, used by training, serving and monitoring alike.

    Args:
        events: for each kind of event of the contract, what it adds to the log.
        sets: named groups of features, each a function of a row, its decision time (epoch seconds), the
            point-in-time view and the reference tables.
        reach_hours: no window looks further back than this.
    """

    events: Mapping[str, EventMapper]
    sets: Mapping[str, FeatureSet]
    reach_hours: float

    @property
    def lookback_seconds(self) -> int:
        """No feature sees what was known longer ago."""
        return round((self.reach_hours + SPARE_HOURS) * HOUR)

    def offline_store(self, events: Mapping[str, Frame], reference: Reference) -> OfflineFeatureStore:
        """All events, by kind, as one past for a batch."""
        return OfflineFeatureStore.of(
            logged
            for kind, frame in events.items()
            if len(frame)
            for logged in self.events[kind](columns_of(frame), reference)
        )

    def logged(self, kind: str, event: Row, reference: Reference) -> list[LoggedEvent]:
        """What one event adds to the log, proven to be learnable.

        Args:
            kind: of the contract's events.
            event: its columns; timestamps are epoch seconds.
            reference: the tables that do not change.

        Returns:
            The events of the log.

        Raises:
            UnlearnableEventError: when the history could not take one of them in.
        """
        try:
            found = list(self.events[kind](event, reference))
        except (ArithmeticError, TypeError, ValueError) as error:
            raise UnlearnableEventError(f"An event of the kind {kind} cannot be counted: {error}.") from error
        for one in found:
            converted(one)
        return found

    def compute(
        self, sets: Iterable[str], row: Row, at: Value, past: PointInTimeView, reference: Reference
    ) -> Features:
        """The named sets' features, for one row or for columns of rows."""
        features: Features = {}
        for name in sets:
            features.update(self.sets[name](row, at, past, reference))
        return features

    def compute_undefined(
        self, sets: Iterable[str], row: Row, at: int, past: PointInTimeView, reference: Reference
    ) -> tuple[Features, set[str]]:
        """One row's features where `compute` failed, as a division by zero does, by numpy's arithmetic.

        That is the arithmetic of whole columns, so that what is undefined there is missing here.

        Returns:
            The features that could be computed, and the names of those that have no value; of a set that
            fails all the same, its own name.
        """
        scalars = {
            name: value if isinstance(value, str) else np.float64(value) for name, value in row.items()
        }
        features: Features = {}
        undefined: set[str] = set()
        for name in sets:
            try:
                features.update(self.sets[name](row, at, past, reference))
            except UNDEFINED:
                try:
                    with np.errstate(all="ignore"):
                        found = self.sets[name](scalars, at, _NumpyView(past), reference)
                except UNDEFINED:
                    undefined.add(name)
                    continue
                infinite = {one for one, value in found.items() if _is_infinite(value)}
                missing = {one for one, value in found.items() if value != value}  # noqa: PLR0124 (NaN)
                undefined |= infinite or missing
                features.update(found | dict.fromkeys(infinite, float("nan")))
        return features, undefined


class _NumpyView:
    """A point-in-time view whose numbers are numpy's, which divide by zero."""

    def __init__(self, past: PointInTimeView) -> None:
        self._past = past

    def window(self, log: str, key: Any, at: Value, hours: float, width: int = 0) -> tuple[Value, ...]:
        return tuple(map(np.float64, self._past.window(log, key, at, hours, width)))

    def windows(self, asked: WindowQuery, keys: Mapping[str, Any], at: Value) -> list[tuple[Value, ...]]:
        return [tuple(map(np.float64, one)) for one in self._past.windows(asked, keys, at)]

    def latest(self, log: str, key: Any, at: Value, hours: float, width: int) -> tuple[Value, ...]:
        return tuple(map(np.float64, self._past.latest(log, key, at, hours, width)))


def _is_infinite(value: Value) -> bool:
    return not isinstance(value, str) and bool(np.isinf(value))


def columns_of(frame: Frame) -> dict[str, Any]:
    """Columns of a table in the form features see: text as `Strings`, numbers as arrays.

    A data frame is such a table; so is a dictionary of lists.
    """
    columns: dict[str, Any] = {}
    for name in frame:
        column = frame[name]
        if hasattr(column, "factorize") and column.dtype.kind in TEXT:  # a data frame's, which is faster
            codes, distinct = column.factorize(use_na_sentinel=False)
            columns[name] = _texts(Strings(codes, tuple(distinct)))
            continue
        values = np.asarray(column)
        columns[name] = _texts(Strings.of(values.tolist())) if values.dtype.kind in TEXT else values
    return columns


def _texts(found: Strings) -> Strings:
    """Text of which some may be missing, which data frames and JSON write in several ways: empty then."""
    distinct: tuple[Any, ...] = found.values
    if all(isinstance(one, str) for one in distinct):
        return found
    texts = Strings.of("" if one is None or one != one else one for one in distinct)  # noqa: PLR0124 (NaN)
    return Strings(texts.codes[found.codes], texts.values)

"""A project's features: what each kind of event adds to the logs, and the feature sets computed from them."""

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

Reference = Mapping[str, Mapping[str, Any]]  # static tables: values by column, then key
Features = dict[str, Value]
EventMapper = Callable[[Row, Reference], Sequence[LoggedEvent]]
FeatureSet = Callable[[Row, Value, PointInTimeView, Reference], Features]
Frame = Any  # columns by name: a data frame, or a dictionary of lists in the service, which has no pandas

TEXT = "OUST"  # kinds of numpy's dtypes
UNDEFINED = (ArithmeticError, ValueError)  # raised by arithmetic without a result, such as 1 / 0
SPARE_HOURS = 24  # a logged event may take effect up to this long after its event became known


@dataclass(frozen=True)
class FeatureDefinitions:
    """The features of a project, used by training, serving and monitoring alike.

    Args:
        events: for each kind of event in the contract, the function that maps it to logged events.
        sets: named groups of features, each a function of a row, its decision time (epoch seconds), the
            point-in-time view and the reference tables.
        lookback_hours: the longest time that a window looks back.
    """

    events: Mapping[str, EventMapper]
    sets: Mapping[str, FeatureSet]
    lookback_hours: float

    @property
    def lookback_seconds(self) -> int:
        """The age, in seconds, beyond which no event affects a feature."""
        return round((self.lookback_hours + SPARE_HOURS) * HOUR)

    def offline_store(self, events: Mapping[str, Frame], reference: Reference) -> OfflineFeatureStore:
        """Build an offline store from tables of events, by kind."""
        return OfflineFeatureStore.of(
            logged
            for kind, frame in events.items()
            if len(frame)
            for logged in self.events[kind](columns_of(frame), reference)
        )

    def logged(self, kind: str, event: Row, reference: Reference) -> list[LoggedEvent]:
        """Map an event to the logged events that it adds, and check that a store can hold them.

        Args:
            kind: the kind of event, as the contract names it.
            event: its columns; timestamps are epoch seconds.
            reference: the static tables.

        Returns:
            The logged events.

        Raises:
            UnlearnableEventError: when a store cannot hold one of them.
        """
        try:
            logged = list(self.events[kind](event, reference))
        except (ArithmeticError, TypeError, ValueError) as error:
            raise UnlearnableEventError(f"An event of the kind {kind} cannot be logged: {error}.") from error
        for one in logged:
            converted(one)
        return logged

    def compute(
        self, sets: Iterable[str], row: Row, at: Value, past: PointInTimeView, reference: Reference
    ) -> Features:
        """Compute the features of the named sets, for one row or for columns of rows."""
        features: Features = {}
        for name in sets:
            features.update(self.sets[name](row, at, past, reference))
        return features

    def compute_undefined(
        self, sets: Iterable[str], row: Row, at: int, past: PointInTimeView, reference: Reference
    ) -> tuple[Features, set[str]]:
        """Compute one row's features with numpy's arithmetic, after `compute` has failed.

        Numpy does not raise on a division by zero. Whole columns use the same arithmetic, so a feature that
        is undefined offline is missing online.

        Returns:
            The features that could be computed, and the names of those without a value; for a set that fails
            again, the name of the set.
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
                        computed = self.sets[name](scalars, at, _NumpyView(past), reference)
                except UNDEFINED:
                    undefined.add(name)
                    continue
                infinite = {one for one, value in computed.items() if _is_infinite(value)}
                missing = {one for one, value in computed.items() if value != value}  # noqa: PLR0124 (NaN)
                undefined |= infinite or missing
                features.update(computed | dict.fromkeys(infinite, float("nan")))
        return features, undefined


class _NumpyView:
    """A point-in-time view that returns numpy's numbers, which can be divided by zero."""

    def __init__(self, past: PointInTimeView) -> None:
        self._past = past

    def window(self, log: str, key: Any, at: Value, hours: float, width: int = 0) -> tuple[Value, ...]:
        return tuple(map(np.float64, self._past.window(log, key, at, hours, width)))

    def windows(self, query: WindowQuery, keys: Mapping[str, Any], at: Value) -> list[tuple[Value, ...]]:
        return [tuple(map(np.float64, one)) for one in self._past.windows(query, keys, at)]

    def latest(self, log: str, key: Any, at: Value, hours: float, width: int) -> tuple[Value, ...]:
        return tuple(map(np.float64, self._past.latest(log, key, at, hours, width)))


def _is_infinite(value: Value) -> bool:
    return not isinstance(value, str) and bool(np.isinf(value))


def columns_of(frame: Frame) -> dict[str, Any]:
    """Convert a data frame, or a dictionary of lists, to what features receive: `Strings` and arrays."""
    columns: dict[str, Any] = {}
    for name in frame:
        column = frame[name]
        if hasattr(column, "factorize") and column.dtype.kind in TEXT:  # faster for data frames
            codes, distinct = column.factorize(use_na_sentinel=False)
            columns[name] = _texts(Strings(codes, tuple(distinct)))
            continue
        values = np.asarray(column)
        columns[name] = _texts(Strings.of(values.tolist())) if values.dtype.kind in TEXT else values
    return columns


def _texts(column: Strings) -> Strings:
    """Replace missing texts, which may be None or NaN, with empty ones."""
    distinct: tuple[Any, ...] = column.values
    if all(isinstance(one, str) for one in distinct):
        return column
    texts = Strings.of("" if one is None or one != one else one for one in distinct)  # noqa: PLR0124 (NaN)
    return Strings(texts.codes[column.codes], texts.values)

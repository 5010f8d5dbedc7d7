"""A project's features: what each kind of event adds to the log, and the sets that are computed from it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fivestage.common.columns import Row, Strings, Value
from fivestage.features.stores import HOUR, LoggedEvent, OfflineFeatureStore, PointInTimeView

Reference = Mapping[str, Mapping[str, Any]]  # tables that do not change: column, then key
Features = dict[str, Value]
EventMapper = Callable[[Row, Reference], list[LoggedEvent]]
FeatureSet = Callable[[Row, Value, PointInTimeView, Reference], Features]
Frame = Any  # columns by name: a data frame, which the service does not know, or a dictionary of lists

TEXT = "OUST"  # numpy's kinds
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

    def compute(
        self, sets: Iterable[str], row: Row, at: Value, past: PointInTimeView, reference: Reference
    ) -> Features:
        """The named sets' features, for one row or for columns of rows."""
        features: Features = {}
        for name in sets:
            features.update(self.sets[name](row, at, past, reference))
        return features


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

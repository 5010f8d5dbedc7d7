"""Point-in-time feature stores: logs of events by the time they became known, and windows over them.

Values of an `AdditiveEvent` add up: windows return the number of events and the sums of their values. A
`LatestValue` replaces earlier ones: `latest` returns the last. Additive values are whole numbers, so that
sums are exact in any order, and the `OfflineFeatureStore` (whole columns) and the `OnlineFeatureStore`
(single rows) agree to the last bit.
"""

import math
import operator
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fivestage.common.columns import Floats, Ints, Strings, Value
from fivestage.common.errors import UserError
from fivestage.common.native import library
from fivestage.features.compiled_windows import SOURCE, CompiledWindows

Part = str | int
Key = Part | tuple[Part, ...]
HOUR = 3600
MISSING = float("nan")
DENSE = 4  # up to this ratio of the numbers' range to their count, counting is faster than sorting


@dataclass(frozen=True, slots=True)
class AdditiveEvent:
    """An event, or columns of events, whose values add up per key; it counts from `at` (epoch seconds) on."""

    log: str
    key: Any
    at: Value
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class LatestValue:
    """An event, or columns of events, that replaces its key's earlier one from `at` (epoch seconds) on."""

    log: str
    key: Any
    at: Value
    values: tuple[Value, ...]


LoggedEvent = AdditiveEvent | LatestValue


class UnlearnableEventError(UserError):
    """An event that a log cannot store, such as an additive event with a missing value."""


def converted(event: LoggedEvent) -> "tuple[int, array[Any]]":
    """Convert an event's time and values to the types that stores keep, or raise if that is not possible."""
    additive = isinstance(event, AdditiveEvent)
    try:
        at = int(event.at)
        values = array("q", map(int, event.values)) if additive else array("d", event.values)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnlearnableEventError(
            f"The log {event.log!r} cannot store {event.values} as of {event.at}: {error}."
        ) from error
    if additive and list(values) != list(event.values):
        raise UnlearnableEventError(
            f"The log {event.log!r} adds up {event.values}, which are not whole numbers: sums would depend "
            "on the order of events. Round them in problem/features.py."
        )
    return at, values


@dataclass(frozen=True, eq=False, slots=True)
class WindowQuery:
    """Several windows that are queried together, which is faster."""

    width: int  # number of sums per window
    windows: tuple[tuple[str, float], ...]  # log and length in hours of each


class PointInTimeView(Protocol):
    """The queries that features can make; events that became known after `at` are ignored."""

    def window(self, log: str, key: Any, at: Value, hours: float, width: int = 0) -> tuple[Value, ...]:
        """Count and sums of the first `width` values over (at - hours, at]; 0 for values that events lack."""
        ...

    def windows(self, query: WindowQuery, keys: Mapping[str, Any], at: Value) -> list[tuple[Value, ...]]:
        """The same for several windows, given the key of each log."""
        ...

    def latest(self, log: str, key: Any, at: Value, hours: float, width: int) -> tuple[Value, ...]:
        """Values of the key's last event; NaN if it is `hours` old or older."""
        ...


@dataclass(slots=True)
class Series:
    """The events of one key, in order of time."""

    width: int  # number of values per event
    additive: bool
    times: "array[int]" = field(default_factory=lambda: array("q"))
    # Additive: the cumulative sums before the first event and after each; else the values of each event.
    numbers: "array[Any]" = field(init=False)
    address: int = field(init=False)  # of `struct`
    struct: "array[int]" = field(init=False, repr=False)  # the struct Series of windows.c

    def __post_init__(self) -> None:
        self.numbers = array("q", [0] * self.width) if self.additive else array("d")
        self.struct = array("q", (0, 0, 0, self.width))
        self.address = self.struct.buffer_info()[0]

    def add(self, at: int, values: "array[Any]") -> None:
        """Insert an event, as returned by `converted`, in order of time."""
        if not self.times or at >= self.times[-1]:  # most events arrive in order
            self._append(at, values)
        else:
            self._insert(self.known(at), at, values)
        self.update_struct()

    def _append(self, at: int, values: "array[Any]") -> None:
        # What can fail comes first, because windows.c reads as many sums as there are times.
        if self.additive and self.width:
            values = array("q", map(operator.add, self.numbers[-self.width :], values))
        self.times.append(at)
        self.numbers.extend(values)

    def _insert(self, index: int, at: int, values: "array[Any]") -> None:
        width = self.width
        self.times.insert(index, at)
        start = index * width
        if not self.additive:
            self.numbers[start:start] = values
            return
        self.numbers[start:start] = self.numbers[start : start + width]
        if width:
            after = np.frombuffer(self.numbers, dtype=np.int64)[start + width :].reshape(-1, width)
            after += np.array(values, dtype=np.int64)

    def forget(self, before: int) -> None:
        """Drop events known at or before a time; windows subtract cumulative sums, so they do not change."""
        count = self.known(before)
        del self.times[:count], self.numbers[: count * self.width]
        self.update_struct()

    def update_struct(self) -> None:
        """Store the addresses of the arrays, which can move when they grow."""
        self.struct[0], self.struct[2] = self.times.buffer_info()
        self.struct[1] = self.numbers.buffer_info()[0]

    def known(self, at: float) -> int:
        """The number of events known at a time; most queries are after the last."""
        times = self.times
        return len(times) if not times or times[-1] <= at else bisect_right(times, at)


class OnlineFeatureStore:
    """Online feature store: takes in events one at a time and answers queries for one row at a time."""

    def __init__(self) -> None:
        self.forgotten = 0  # epoch seconds up to which events were dropped
        self._logs: dict[str, dict[Key, Series]] = {}
        self._packed: dict[str, EventLog] = {}
        self._compiled: dict[WindowQuery, CompiledWindows] = {}

    def add(self, event: LoggedEvent) -> None:
        """Add one event, or raise and change nothing.

        Raises:
            UnlearnableEventError: when the log cannot store the event, see `converted`, or when the number or
                type of its values differs from the key's earlier events.
        """
        at, values = converted(event)
        additive = isinstance(event, AdditiveEvent)
        log = self._logs.setdefault(event.log, {})
        series = log.get(event.key)
        if series is None:
            series = log[event.key] = Series(len(values), additive)
        elif (series.width, series.additive) != (len(values), additive):
            raise UnlearnableEventError(
                f"The log {event.log!r} cannot store {event.values}: the key's earlier events have values of "
                "another number or type."
            )
        series.add(at, values)
        self._packed.pop(event.log, None)

    def forget(self, before: int) -> None:
        """Drop events known at or before a time, which no window reaches any more."""
        self.forgotten = before
        for log in self._logs.values():
            for key in [key for key, series in log.items() if series.times[-1] <= before]:
                del log[key]
            for series in log.values():
                series.forget(before)
        self._packed.clear()

    def window(self, log: str, key: Key, at: int, hours: float, width: int = 0) -> tuple[float, ...]:
        """See `PointInTimeView.window`."""
        try:
            series = self._logs[log][key]
        except KeyError:
            return (0,) * (width + 1)
        end = series.known(at)
        start = bisect_right(series.times, at - hours * HOUR, 0, end)
        totals, step = series.numbers, series.width
        first, last = start * step, end * step
        sums = [totals[last + i] - totals[first + i] for i in range(min(width, step))]
        return (end - start, *sums, *(0,) * (width - step))

    def windows(self, query: WindowQuery, keys: Mapping[str, Key], at: int) -> list[tuple[float, ...]]:
        """See `PointInTimeView.windows`."""
        compiled = self._compiled.get(query)
        if compiled is None:
            code = library(SOURCE, "windows")
            if code is None:
                return [self.window(log, keys[log], at, hours, query.width) for log, hours in query.windows]
            windows = [(log, math.ceil(hours * HOUR)) for log, hours in query.windows]
            logs = {log: self._logs.setdefault(log, {}) for log, _ in windows}
            compiled = self._compiled[query] = CompiledWindows(windows, query.width, logs, code)
        return compiled.compute(keys, at)

    def latest(self, log: str, key: Key, at: int, hours: float, width: int) -> tuple[float, ...]:
        """See `PointInTimeView.latest`."""
        series = self._logs.get(log, {}).get(key)
        if series is None or (end := series.known(at)) == 0 or series.times[end - 1] <= at - hours * HOUR:
            return (MISSING,) * width
        return tuple(series.numbers[(end - 1) * series.width : end * series.width])

    def table(self) -> "OfflineFeatureStore":
        """The same events as an offline store; only logs that have changed are converted again."""
        for name, log in self._logs.items():
            if name not in self._packed and log:
                self._packed[name] = _pack(log)
        return OfflineFeatureStore(self._packed)


def _pack(log: dict[Key, Series]) -> "EventLog":
    series = list(log.values())
    width, additive = series[0].width, series[0].additive
    counts = np.array([len(one.times) for one in series])
    kind = np.int64 if additive else np.float64
    values = np.concatenate([np.frombuffer(one.numbers, dtype=kind) for one in series]).astype(np.float64)
    if additive:
        ends = np.cumsum(counts + 1)[:-1] - 1  # between one key's last sum and the next key's first
        rows = int(counts.sum()) + len(counts)
        values = np.delete(np.diff(values.reshape(rows, width), axis=0), ends, axis=0)
    times = np.concatenate([np.frombuffer(one.times, dtype=np.int64) for one in series])
    starts = np.concatenate([[0], np.cumsum(counts)])
    return EventLog(tuple(log), starts, times, values.reshape(len(times), width), additive=additive)


class EventLog:
    """All events of a log in arrays, sorted by key, then by time; the events of one key are its segment."""

    def __init__(
        self, keys: Sequence[Key], starts: Ints, times: Ints, values: Floats, *, additive: bool
    ) -> None:
        self.additive, self.keys, self.times = additive, keys, times
        self.starts = starts  # of each key's segment, and the end of the last
        self.values = values  # events x values
        self.index = {key: number for number, key in enumerate(keys)}
        low, high = (int(times.min()), int(times.max())) if len(times) else (0, 0)
        self._before, self._range = low - 1, high - low + 2
        segment = np.repeat(np.arange(len(keys)), np.diff(starts))
        # Key and time combined into one ascending number.
        self._order = segment * self._range + (times - self._before)
        self.totals = np.zeros((len(times) + 1, values.shape[1]))  # cumulative sums of the values
        if additive:
            np.cumsum(values, axis=0, out=self.totals[1:])
        self._last_keys: tuple[Any, ...] = ()
        self._last_segments: Ints | None = None
        self._last_at: NDArray[Any] | None = None
        self._last_ends: Ints | None = None

    def segments(self, key: Any) -> Ints:
        """For each row, the segment of its key, or -1; cached because several windows share their keys."""
        columns = key if isinstance(key, tuple) else (key,)
        known = self._last_keys
        same = len(known) == len(columns) and all(map(operator.is_, known, columns))
        if self._last_segments is None or not same:
            codes, keys = _encode_keys(key)
            found = np.array([self.index.get(one, -1) for one in keys], dtype=np.int64)[codes]
            self._last_keys, self._last_segments, self._last_at = columns, found, None
        return self._last_segments

    def places(self, segment: Ints, at: NDArray[Any]) -> Ints:
        """For each row, the index after the last event of its segment that was known at `at`."""
        offset = np.clip(np.floor(at - self._before), 0, self._range - 1).astype(np.int64)
        indices: Ints = np.searchsorted(self._order, segment * self._range + offset, side="right")
        return indices

    def ends(self, segment: Ints, at: NDArray[Any]) -> Ints:
        """`places` at the decision times, cached because several windows share them."""
        if self._last_ends is None or self._last_at is not at or self._last_segments is not segment:
            self._last_at, self._last_ends = at, self.places(segment, at)
        return self._last_ends


class OfflineFeatureStore:
    """Offline feature store: holds all events at once and answers queries for whole columns of rows."""

    def __init__(self, logs: dict[str, EventLog]) -> None:
        self.logs = logs

    @classmethod
    def of(cls, events: Iterable[LoggedEvent]) -> "OfflineFeatureStore":
        """Build a store from columns of events."""
        by_log: dict[str, list[LoggedEvent]] = {}
        for event in events:
            by_log.setdefault(event.log, []).append(event)
        return cls({name: _event_log(columns) for name, columns in by_log.items()})

    def window(self, log: str, key: Any, at: Ints, hours: float, width: int = 0) -> tuple[Floats, ...]:
        """See `PointInTimeView.window`."""
        block = self.logs.get(log)
        if block is None:
            return (np.zeros(len(at)),) * (width + 1)
        segment = block.segments(key)
        end = block.ends(segment, at)
        start = block.places(segment, at - hours * HOUR)
        known = segment >= 0
        available = min(width, block.values.shape[1])
        sums = (np.where(known, block.totals[end, i] - block.totals[start, i], 0.0) for i in range(available))
        zeros = (np.zeros(len(at)),) * (width - available)
        return (np.where(known, end - start, 0).astype(np.float64), *sums, *zeros)

    def windows(self, query: WindowQuery, keys: Mapping[str, Any], at: Ints) -> list[tuple[Floats, ...]]:
        """See `PointInTimeView.windows`."""
        return [self.window(log, keys[log], at, hours, query.width) for log, hours in query.windows]

    def latest(self, log: str, key: Any, at: Ints, hours: float, width: int) -> tuple[Floats, ...]:
        """See `PointInTimeView.latest`."""
        block = self.logs.get(log)
        if block is None or not len(block.times):
            return (np.full(len(at), MISSING),) * width
        segment = block.segments(key)
        last = block.places(segment, at) - 1
        valid = (segment >= 0) & (last >= block.starts[segment])
        valid &= block.times[last] > at - hours * HOUR
        return tuple(np.where(valid, block.values[last, i], MISSING) for i in range(width))

    def recent(self, log: str, key: Any, at: Ints, count: int) -> tuple[Ints, Floats, NDArray[np.bool_]]:
        """The last `count` events of each row's key known at `at`, oldest first: times, values, existence."""
        block = self.logs.get(log)
        if block is None or not len(block.times):
            zeros = np.zeros((len(at), count), dtype=np.int64)
            return zeros, np.zeros((len(at), count, 0)), zeros.astype(bool)
        segment = block.segments(key)
        places = block.places(segment, at)[:, None] + np.arange(-count, 0)
        exists = (segment >= 0)[:, None] & (places >= block.starts[segment][:, None])
        places = np.where(exists, places, 0)
        return block.times[places], block.values[places], exists

    def history(self) -> OnlineFeatureStore:
        """The same events as an online store, to which more can be added."""
        online = OnlineFeatureStore()
        for name, log in self.logs.items():
            by_key = online._logs.setdefault(name, {})  # noqa: SLF001 (the other half of this module)
            width = log.values.shape[1]
            for key, start, end in zip(
                log.keys, log.starts[:-1].tolist(), log.starts[1:].tolist(), strict=True
            ):
                series = by_key[key] = Series(width, log.additive)
                series.times = array("q", log.times[start:end].tobytes())
                if log.additive:
                    series.numbers = array("q", log.totals[start : end + 1].astype(np.int64).tobytes())
                else:
                    series.numbers = array("d", log.values[start:end].tobytes())
                series.update_struct()
        return online


def _encode_column(column: Strings | Ints) -> tuple[Ints, Sequence[Part]]:
    if isinstance(column, Strings):
        return column.codes, column.values
    distinct, codes = _distinct(column)
    return codes, distinct.tolist()


def _distinct(numbers: Ints) -> tuple[Ints, Ints]:
    """Distinct numbers in ascending order, and each number's index among them."""
    low, high = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
    if high - low > DENSE * len(numbers):
        return np.unique(numbers, return_inverse=True)
    seen = np.zeros(high - low + 1, dtype=bool)
    seen[numbers - low] = True
    indices = np.cumsum(seen) - 1
    return np.flatnonzero(seen) + low, indices[numbers - low]


def _encode_keys(key: Any) -> tuple[Ints, list[Key]]:
    """A code per row for its key, and the key of each code."""
    columns = [_encode_column(column) for column in (key if isinstance(key, tuple) else (key,))]
    combined = columns[0][0]
    for codes, values in columns[1:]:
        combined = combined * len(values) + codes
    rest, key_codes = _distinct(combined)
    parts: list[list[Part]] = []
    for _, values in reversed(columns):
        rest, code = np.divmod(rest, len(values))
        parts.insert(0, [values[i] for i in code])
    return key_codes, list(zip(*parts, strict=True)) if len(columns) > 1 else list(parts[0])


def _event_log(events: list[LoggedEvent]) -> EventLog:
    numbers: dict[Key, int] = {}
    segments, times, values = [], [], []
    for event in events:
        codes, keys = _encode_keys(event.key)
        segments.append(
            np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)[codes]
        )
        times.append(np.asarray(event.at, dtype=np.int64))
        rows = [np.broadcast_to(np.asarray(value, dtype=np.float64), len(codes)) for value in event.values]
        values.append(np.column_stack(rows) if rows else np.zeros((len(codes), 0)))
    segment, time, value = np.concatenate(segments), np.concatenate(times), np.concatenate(values)
    additive = isinstance(events[0], AdditiveEvent)
    if additive and not np.array_equal(value, np.rint(value)):
        raise UnlearnableEventError(
            f"The log {events[0].log!r} adds up values that are missing or not whole numbers: sums would "
            "depend on the order of events. Round them, or fill them in, in problem/features.py."
        )
    by_name = sorted(range(len(numbers)), key=list(numbers).__getitem__)
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[by_name] = np.arange(len(numbers))
    segment = rank[segment]
    # Sort by time, then stably by key: times are a few ascending runs, which are merged, and keys are small.
    order = np.argsort(time, kind="stable")
    order = order[np.argsort(segment[order].astype(np.min_scalar_type(len(numbers))), kind="stable")]
    names = list(numbers)
    starts = np.searchsorted(segment[order], np.arange(len(numbers) + 1))
    return EventLog([names[i] for i in by_name], starts, time[order], value[order], additive=additive)

"""What was known at a moment: logs of facts by the time they became known, and windows over them.

An `AdditiveEvent` counts: windows return how many there were and the sums of their values. A `LatestValue`
replaces: `latest` returns the last one. Additive values are whole numbers, so that sums are exact in any
order and the `OfflineFeatureStore` (a table) and the `OnlineFeatureStore` (a row) agree to the last bit.
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Any, Protocol, cast

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
CLOSE = 4  # times as many places as numbers: so far, counting beats sorting


@dataclass(frozen=True, slots=True)
class AdditiveEvent:
    """Facts that add up under a key, counting from `at` (epoch seconds) on."""

    log: str
    key: Any
    at: Value
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class LatestValue:
    """Facts of which the last one holds, from `at` (epoch seconds) on."""

    log: str
    key: Any
    at: Value
    values: tuple[Value, ...]


LoggedEvent = AdditiveEvent | LatestValue


class UnlearnableEventError(UserError):
    """An event that the history cannot take in, such as one that counts a missing value."""


def converted(event: LoggedEvent) -> "tuple[int, array[Any]]":
    """When an event counts from, and its values as the store keeps them; nothing is stored yet."""
    additive = isinstance(event, AdditiveEvent)
    try:
        at = int(event.at)
        values = array("q", map(int, event.values)) if additive else array("d", event.values)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnlearnableEventError(
            f"The history {event.log!r} cannot take in {event.values} as of {event.at}: {error}."
        ) from error
    if additive and list(values) != list(event.values):
        raise UnlearnableEventError(
            f"The history {event.log!r} counts {event.values}, which are no whole numbers: their sums would "
            "depend on their order."
        )
    return at, values


@dataclass(frozen=True, eq=False, slots=True)
class WindowQuery:
    """Windows that are asked together, which is faster: of which logs, and how many hours back."""

    width: int  # sums of each
    of: tuple[tuple[str, float], ...]


class PointInTimeView(Protocol):
    """What features may ask; `at` is the moment of the decision, and nothing after it is seen."""

    def window(self, log: str, key: Any, at: Value, hours: float, width: int = 0) -> tuple[Value, ...]:
        """Count and sums of the first `width` values over (at - hours, at]; 0 for values that facts lack."""
        ...

    def windows(self, asked: WindowQuery, keys: Mapping[str, Any], at: Value) -> list[tuple[Value, ...]]:
        """The same for many windows, with the key of each log."""
        ...

    def latest(self, log: str, key: Any, at: Value, hours: float, width: int) -> tuple[Value, ...]:
        """The last reading's values, missing where it is `hours` old or older."""
        ...


@dataclass(slots=True)
class Series:
    """One key's facts in order of time."""

    width: int  # values of a fact
    tally: bool
    times: list[int] = field(default_factory=list)
    stamps: "array[int]" = field(default_factory=lambda: array("q"))  # the times once more, packed
    numbers: "array[Any]" = field(
        init=False
    )  # a reading's values; a tally's totals before, between and after
    asked: int | None = None  # the moment of the last question, and how many facts were known then
    end: int = 0
    place: int = field(init=False)  # address of `seen`
    seen: "array[int]" = field(init=False, repr=False)  # see Series of windows.c

    def __post_init__(self) -> None:
        self.numbers = array("q", [0] * self.width) if self.tally else array("d")
        self.seen = array("q", (0, 0, 0, self.width))
        self.place = self.seen.buffer_info()[0]

    def add(self, at: int, values: "array[Any]") -> None:
        """Put a fact, as `converted` returns it, where its time belongs."""
        if not self.times or at >= self.times[-1]:  # most come in order
            self._append(at, values)
        else:
            self._insert(bisect_right(self.times, at), at, values)
        self.changed()

    def _append(self, at: int, values: "array[Any]") -> None:
        # What can fail comes first: windows.c reads as many totals as there are times.
        if self.tally and self.width:
            values = array("q", map(add, self.numbers[-self.width :], values))
        self.stamps.append(at)
        self.numbers.extend(values)
        self.times.append(at)

    def _insert(self, place: int, at: int, values: "array[Any]") -> None:
        width = self.width
        self.times.insert(place, at)
        self.stamps.insert(place, at)
        here = place * width
        if not self.tally:
            self.numbers[here:here] = values
            return
        self.numbers[here:here] = self.numbers[here : here + width]
        if width:
            after = np.frombuffer(self.numbers, dtype=np.int64)[here + width :].reshape(-1, width)
            after += np.array(values, dtype=np.int64)

    def forget(self, before: int) -> None:
        """Drop what became known at or before a moment; sums are differences, so they stay the same."""
        gone = bisect_right(self.times, before)
        del self.times[:gone], self.stamps[:gone], self.numbers[: gone * self.width]
        self.changed()

    def changed(self) -> None:
        """Arrays that have grown may lie elsewhere."""
        self.asked, seen = None, self.seen
        seen[0], seen[2] = self.stamps.buffer_info()
        seen[1] = self.numbers.buffer_info()[0]


class OnlineFeatureStore:
    """The stream's side of the past: facts one at a time, questions one row at a time."""

    def __init__(self) -> None:
        self.forgotten = 0  # up to here, epoch seconds
        self._logs: dict[str, dict[Key, Series]] = {}
        self._packed: dict[str, EventLog] = {}
        self._compiled: dict[WindowQuery, CompiledWindows] = {}

    def add(self, fact: LoggedEvent) -> None:
        """Take in one event, or nothing of it.

        Raises:
            UnlearnableEventError: see `converted`; or for other values than the key's earlier events have.
        """
        at, values = converted(fact)
        additive = isinstance(fact, AdditiveEvent)
        log = self._logs.setdefault(fact.log, {})
        series = log.get(fact.key)
        if series is None:
            series = log[fact.key] = Series(len(values), additive)
        elif (series.width, series.tally) != (len(values), additive):
            raise UnlearnableEventError(f"The history {fact.log!r} holds other values than {fact.values}.")
        series.add(at, values)
        self._packed.pop(fact.log, None)

    def forget(self, before: int) -> None:
        """Drop what no window reaches any more."""
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
        times = series.times
        if series.asked == at:
            end = series.end
        else:
            series.asked, series.end = at, (end := bisect_right(times, at))
        start = bisect_right(times, at - hours * HOUR, 0, end)
        totals, step = series.numbers, series.width
        first, last = start * step, end * step
        sums = [totals[last + i] - totals[first + i] for i in range(min(width, step))]
        return (end - start, *sums, *(0,) * (width - step))

    def windows(self, asked: WindowQuery, keys: Mapping[str, Key], at: int) -> list[tuple[float, ...]]:
        """See `PointInTimeView.windows`."""
        compiled = self._compiled.get(asked)
        if compiled is None:
            code = library(SOURCE)
            if code is None:
                return [self.window(log, keys[log], at, hours, asked.width) for log, hours in asked.of]
            windows = [(log, math.ceil(hours * HOUR)) for log, hours in asked.of]
            logs = {log: self._logs.setdefault(log, {}) for log, _ in windows}
            compiled = self._compiled[asked] = CompiledWindows(windows, asked.width, logs, code)
        return compiled.answer(keys, at)

    def latest(self, log: str, key: Key, at: int, hours: float, width: int) -> tuple[float, ...]:
        """See `PointInTimeView.latest`."""
        series = self._logs.get(log, {}).get(key)
        place = bisect_right(series.times, at) if series else 0
        if series is None or place == 0 or series.times[place - 1] <= at - hours * HOUR:
            return (MISSING,) * width
        return tuple(series.numbers[(place - 1) * series.width : place * series.width])

    def table(self) -> "OfflineFeatureStore":
        """The same facts for questions by the column; only logs that have changed are packed again."""
        for name, log in self._logs.items():
            if name not in self._packed and log:
                self._packed[name] = _packed(log)
        return OfflineFeatureStore(self._packed)


def _packed(keyed: dict[Key, Series]) -> "EventLog":
    series = list(keyed.values())
    width, tally = series[0].width, series[0].tally
    counts = np.array([len(one.times) for one in series])
    kind = np.int64 if tally else np.float64
    values = np.concatenate([np.frombuffer(one.numbers, dtype=kind) for one in series]).astype(np.float64)
    if tally:
        ends = np.cumsum(counts + 1)[:-1] - 1  # between one key's last total and the next one's first
        rows = int(counts.sum()) + len(counts)
        values = np.delete(np.diff(values.reshape(rows, width), axis=0), ends, axis=0)
    times = np.concatenate([np.frombuffer(one.stamps, dtype=np.int64) for one in series])
    starts = np.concatenate([[0], np.cumsum(counts)])
    return EventLog(tally, tuple(keyed), starts, times, values.reshape(len(times), width))


@dataclass(frozen=True, slots=True)
class EventLog:
    """All keys' facts of one log in one block, sorted by key and then by time."""

    tally: bool
    keys: tuple[Key, ...]
    starts: Ints  # of each key's facts, and the end of the last
    times: Ints
    values: Floats  # facts x values
    index: dict[Key, int] = field(init=False, repr=False)
    order: Ints = field(init=False, repr=False)  # key and time in one number that sorts as they do
    totals: Floats = field(init=False, repr=False)
    span: tuple[int, int] = field(init=False)
    asked: list[Any] = field(init=False, repr=False)  # the last keys and segments, the moments and their ends

    def __post_init__(self) -> None:
        low, high = (int(self.times.min()), int(self.times.max())) if len(self.times) else (0, 0)
        segment = np.repeat(np.arange(len(self.keys)), np.diff(self.starts))
        put = object.__setattr__
        put(self, "index", {key: number for number, key in enumerate(self.keys)})
        put(self, "span", (low - 1, high - low + 2))
        put(self, "order", segment * self.span[1] + (self.times - self.span[0]))
        totals = np.zeros((len(self.times) + 1, self.values.shape[1]))
        if self.tally:
            np.cumsum(self.values, axis=0, out=totals[1:])
        put(self, "totals", totals)
        put(self, "asked", [(), None, None, None])

    def places(self, segment: Ints, at: NDArray[Any]) -> Ints:
        """For each row, how many facts in the block come before the end of its key's facts known at `at`."""
        offset = np.clip(np.floor(at - self.span[0]), 0, self.span[1] - 1).astype(np.int64)
        found: Ints = np.searchsorted(self.order, segment * self.span[1] + offset, side="right")
        return found

    def ends(self, segment: Ints, at: NDArray[Any]) -> Ints:
        """The same for the moment of the decision, which several windows share."""
        last = self.asked
        if last[1] is not segment or last[2] is not at:
            last[2:] = at, self.places(segment, at)
        return cast("Ints", last[3])


class OfflineFeatureStore:
    """The batch's side of the past: all facts at once, questions for a whole column of rows."""

    def __init__(self, logs: dict[str, EventLog]) -> None:
        self.logs = logs

    @classmethod
    def of(cls, facts: Iterable[LoggedEvent]) -> "OfflineFeatureStore":
        """Sort columns of facts into logs."""
        parts: dict[str, list[LoggedEvent]] = {}
        for fact in facts:
            parts.setdefault(fact.log, []).append(fact)
        return cls({name: _log(columns) for name, columns in parts.items()})

    def window(self, log: str, key: Any, at: Ints, hours: float, width: int = 0) -> tuple[Floats, ...]:
        """See `PointInTimeView.window`."""
        block = self.logs.get(log)
        if block is None:
            return (np.zeros(len(at)),) * (width + 1)
        segment = _segments(block, key)
        end = block.ends(segment, at)
        start = block.places(segment, at - hours * HOUR)
        known = segment >= 0
        held = min(width, block.values.shape[1])
        sums = (np.where(known, block.totals[end, i] - block.totals[start, i], 0.0) for i in range(held))
        none = (np.zeros(len(at)),) * (width - held)
        return (np.where(known, end - start, 0).astype(np.float64), *sums, *none)

    def windows(self, asked: WindowQuery, keys: Mapping[str, Any], at: Ints) -> list[tuple[Floats, ...]]:
        """See `PointInTimeView.windows`."""
        return [self.window(log, keys[log], at, hours, asked.width) for log, hours in asked.of]

    def latest(self, log: str, key: Any, at: Ints, hours: float, width: int) -> tuple[Floats, ...]:
        """See `PointInTimeView.latest`."""
        block = self.logs.get(log)
        if block is None or not len(block.times):
            return (np.full(len(at), MISSING),) * width
        segment = _segments(block, key)
        place = block.places(segment, at) - 1
        fresh = (segment >= 0) & (place >= block.starts[segment])
        fresh &= block.times[place] > at - hours * HOUR
        return tuple(np.where(fresh, block.values[place, i], MISSING) for i in range(width))

    def recent(self, log: str, key: Any, at: Ints, count: int) -> tuple[Ints, Floats, NDArray[np.bool_]]:
        """The last events of each row's key that were known at its moment, the oldest first."""
        block = self.logs.get(log)
        if block is None or not len(block.times):
            none = np.zeros((len(at), count), dtype=np.int64)
            return none, np.zeros((len(at), count, 0)), none.astype(bool)
        segment = _segments(block, key)
        places = block.places(segment, at)[:, None] + np.arange(-count, 0)
        found = (segment >= 0)[:, None] & (places >= block.starts[segment][:, None])
        places = np.where(found, places, 0)
        return block.times[places], block.values[places], found

    def history(self) -> OnlineFeatureStore:
        """The same facts, ready to be streamed onto."""
        history = OnlineFeatureStore()
        shared: dict[int, int] = {}  # an event's facts share its time, in memory too
        for name, log in self.logs.items():
            into = history._logs.setdefault(name, {})  # noqa: SLF001 (the other half of this module)
            width = log.values.shape[1]
            for key, start, end in zip(
                log.keys, log.starts[:-1].tolist(), log.starts[1:].tolist(), strict=True
            ):
                series = into[key] = Series(width, log.tally)
                series.times = [shared.setdefault(at, at) for at in log.times[start:end].tolist()]
                series.stamps = array("q", log.times[start:end].tobytes())
                if log.tally:
                    series.numbers = array("q", log.totals[start : end + 1].astype(np.int64).tobytes())
                else:
                    series.numbers = array("d", log.values[start:end].tobytes())
                series.changed()
        return history


def _coded(column: Strings | Ints) -> tuple[Ints, Sequence[Part]]:
    if isinstance(column, Strings):
        return column.codes, column.values
    distinct, codes = _distinct(column)
    return codes, distinct.tolist()


def _distinct(numbers: Ints) -> tuple[Ints, Ints]:
    """The distinct whole numbers in order, and each one's place in them; by counting where they lie close."""
    low, high = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
    if high - low > CLOSE * len(numbers):
        return np.unique(numbers, return_inverse=True)
    seen = np.zeros(high - low + 1, dtype=bool)
    seen[numbers - low] = True
    places = np.cumsum(seen) - 1
    return np.flatnonzero(seen) + low, places[numbers - low]


def _combined(key: Any) -> tuple[Ints, list[Key]]:
    """A number per row for its key, and each number's key."""
    columns = [_coded(column) for column in (key if isinstance(key, tuple) else (key,))]
    number = columns[0][0]
    for codes, values in columns[1:]:
        number = number * len(values) + codes
    rest, numbers = _distinct(number)
    parts: list[list[Part]] = []
    for _, values in reversed(columns):
        rest, code = np.divmod(rest, len(values))
        parts.insert(0, [values[i] for i in code])
    return numbers, list(zip(*parts, strict=True)) if len(columns) > 1 else list(parts[0])


def _segments(log: EventLog, key: Any) -> Ints:
    """For each row, its key's number in the log, or -1."""
    columns = key if isinstance(key, tuple) else (key,)
    last, segments = log.asked[:2]
    if len(last) != len(columns) or any(one is not other for one, other in zip(last, columns, strict=True)):
        codes, keys = _combined(key)
        segments = np.array([log.index.get(one, -1) for one in keys], dtype=np.int64)[codes]
        log.asked[:] = columns, segments, None, None
    return cast("Ints", segments)


def _log(facts: list[LoggedEvent]) -> EventLog:
    numbers: dict[Key, int] = {}
    segments, times, values = [], [], []
    for fact in facts:
        codes, keys = _combined(fact.key)
        segments.append(
            np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)[codes]
        )
        times.append(np.asarray(fact.at, dtype=np.int64))
        rows = [np.broadcast_to(np.asarray(value, dtype=np.float64), len(codes)) for value in fact.values]
        values.append(np.column_stack(rows) if rows else np.zeros((len(codes), 0)))
    segment, time, value = np.concatenate(segments), np.concatenate(times), np.concatenate(values)
    tally = isinstance(facts[0], AdditiveEvent)
    if tally and not np.array_equal(value, np.rint(value)):
        raise UnlearnableEventError(
            f"The history {facts[0].log!r} counts values that are missing or no whole numbers: their sums "
            "would depend on their order. Round them, or fill them in, in problem/features.py."
        )
    by_name = sorted(range(len(numbers)), key=list(numbers).__getitem__)
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[by_name] = np.arange(len(numbers))
    segment = rank[segment]
    # By time and then by key; times come in few runs, which the stable sort merges, and keys are small.
    order = np.argsort(time, kind="stable")
    order = order[np.argsort(segment[order].astype(np.min_scalar_type(len(numbers))), kind="stable")]
    names = list(numbers)
    starts = np.searchsorted(segment[order], np.arange(len(numbers) + 1))
    return EventLog(tally, tuple(names[i] for i in by_name), starts, time[order], value[order])

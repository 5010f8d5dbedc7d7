"""Compute all windows of a row with one call into windows.c, on the series of the `OnlineFeatureStore`."""

import ctypes
import struct
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

SOURCE = Path(__file__).with_name("windows.c")


class Addressed(Protocol):
    """A series of events that windows.c can read."""

    address: int  # of its struct Series


class CompiledWindows:
    """Windows given by log and length in seconds, with `width` sums each; not thread-safe."""

    def __init__(
        self,
        windows: Sequence[tuple[str, int]],
        width: int,
        logs: Mapping[str, Mapping[Any, Addressed]],
        code: ctypes.PyDLL,
    ) -> None:
        names = list(dict.fromkeys(log for log, _ in windows))
        self._series_of = [(name, logs[name].get) for name in names]
        self._query = array("q", [0] * (1 + len(names)))
        plan = [number for log, seconds in windows for number in (names.index(log), seconds)]
        self._plan = array("q", plan)
        out = array("d", [0] * ((1 + width) * len(windows)))
        self._out, self._unpack = out, struct.Struct(f"{1 + width}d").iter_unpack
        self._fill = struct.Struct(f"{len(self._query)}q").pack_into
        self._function = code.windows
        self._function.argtypes = (ctypes.c_void_p,) * 2 + (ctypes.c_int64,) * 2 + (ctypes.c_void_p,)
        self._function.restype = None
        query_address, plan_address = self._query.buffer_info()[0], self._plan.buffer_info()[0]
        self._arguments = (query_address, plan_address, len(windows), width, out.buffer_info()[0])

    def compute(self, keys: Mapping[str, Any], at: int) -> list[tuple[float, ...]]:
        """The count and sums of each window."""
        series = [get(keys[log]) for log, get in self._series_of]
        self._fill(self._query, 0, at, *[one.address if one else 0 for one in series])
        self._function(*self._arguments)
        return list(self._unpack(self._out))

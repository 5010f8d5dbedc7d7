"""Scores rows with the tables of `tree_tables.py` in a few lines of C, the same code for every model."""

import ctypes
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fivestage.artifact.tree_tables import Forest
from fivestage.common.columns import Floats

SOURCE = Path(__file__).with_name("trees.c")


class _Forest(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("features", "trees", "leaves", "outputs")),
        *((name, ctypes.c_void_p) for name in ("first", "category", "thresholds", "alive", "values")),
        *((name, ctypes.c_void_p) for name in ("ends", "bases")),
    )


class CompiledForest:
    """Computes a forest's margins, one per output; use it from one thread at a time."""

    def __init__(self, forest: Forest, library: ctypes.PyDLL) -> None:
        tables = (forest.first, forest.category, forest.thresholds, forest.alive, forest.values)
        self._arrays = (*tables, forest.ends, forest.bases)
        features, (trees, leaves), outputs = len(forest.category), forest.values.shape, len(forest.ends)
        addresses = (_address(array) for array in self._arrays)
        self._struct = _Forest(features, trees, leaves, outputs, *addresses)
        self._scratch = np.empty(trees, dtype=forest.alive.dtype)
        self._row, self._out = np.empty(features), np.empty(outputs)
        self._shape = () if outputs == 1 else (outputs,)
        self._read: Callable[[], Any] = self._out.item if outputs == 1 else self._out.tolist
        self._fill = struct.Struct(f"{features}d").pack_into
        self._function = library.margins32 if forest.alive.itemsize == 4 else library.margins64  # noqa: PLR2004 (bytes)
        self._function.argtypes = (ctypes.c_void_p,) * 2 + (ctypes.c_int64,) + (ctypes.c_void_p,) * 2
        self._function.restype = None
        self._forest, self._temporary = ctypes.addressof(self._struct), _address(self._scratch)
        self._one_row = (self._forest, _address(self._row), 1, self._temporary, _address(self._out))

    def margin(self, values: Sequence[float]) -> Any:
        """Return the margin of one row: a number, or a list with one number per output."""
        self._fill(self._row.data, 0, *values)
        self._function(*self._one_row)
        return self._read()

    def margins(self, rows: Floats) -> Floats:
        """Return the margins of rows x features: one per row, or rows x outputs."""
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        out = np.empty((len(rows), *self._shape))
        self._function(self._forest, _address(rows), len(rows), self._temporary, _address(out))
        return out


def _address(array: NDArray[Any]) -> int:
    return array.ctypes.data

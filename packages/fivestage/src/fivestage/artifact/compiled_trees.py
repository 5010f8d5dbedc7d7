"""Scores rows with trees in a few lines of C, the same code for every model."""

import ctypes
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fivestage.artifact.trees import Trees
from fivestage.common.columns import Floats, Ints

SOURCE = Path(__file__).with_name("trees.c")
LANES = 8  # trees that trees.c walks at a time
NODE = np.dtype([("threshold", np.float64), ("split", np.uint32), ("left", np.int32)])


class CompiledTrees:
    """Computes the margins of trees, one per output; use it from one thread at a time."""

    def __init__(self, trees: Trees, library: ctypes.PyDLL) -> None:
        features, (sums, width) = trees.features, trees.bases.shape
        nodes = np.empty(len(trees.left), dtype=NODE)
        # A split on categories becomes a column of the row: 0 for left, 1 for right.
        splits = trees.threshold[trees.category].astype(np.int64)
        column, split_feature = trees.feature.copy(), np.zeros(len(trees.matched), dtype=np.int64)
        column[trees.category], split_feature[splits] = features + splits, trees.feature[trees.category]
        nodes["threshold"] = np.where(trees.category, 0.5, trees.threshold)
        nodes["split"] = 2 * column + ~trees.missing_left
        nodes["left"] = trees.left
        depths = _depths(trees)
        numbers = np.argsort(-depths, kind="stable")
        padding = np.arange(-len(numbers) % LANES)  # the last tree again, with a place of its own
        order = np.append(numbers, np.full(len(padding), numbers[-1]))
        self.outputs = outputs = sums * width
        self._arrays = (
            nodes,
            np.ascontiguousarray(trees.value),
            split_feature,
            np.ascontiguousarray(trees.matched),
            trees.roots[order],
            depths[order],
            np.append(numbers, len(numbers) + padding),
            np.ascontiguousarray(trees.ends),
            np.ascontiguousarray(trees.bases),
            np.empty(features + len(split_feature)),
            np.empty(len(order), dtype=np.int64),
        )
        sizes = (features, len(order), sums, width, *reversed(trees.matched.shape))
        self._struct = (ctypes.c_int64 * 17)(*sizes, *map(_address, self._arrays))
        self._row, self._out = np.empty(features), np.empty(outputs)
        self._shape = () if outputs == 1 else (outputs,)
        self._read: Callable[[], Any] = self._out.item if outputs == 1 else self._out.tolist
        self._fill = struct.Struct(f"{features}d").pack_into
        self._function = library.margins
        self._function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
        self._function.restype = None
        self._trees = ctypes.addressof(self._struct)
        self._one_row = (self._trees, _address(self._row), 1, _address(self._out))

    def margin(self, values: Sequence[float]) -> Any:
        """Return the margin of one row: a number, or a list with one number per output."""
        self._fill(self._row.data, 0, *values)
        self._function(*self._one_row)
        return self._read()

    def margins(self, rows: Floats) -> Floats:
        """Return the margins of rows x features: one per row, or rows x outputs."""
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        out = np.empty((len(rows), *self._shape))
        self._function(self._trees, _address(rows), len(rows), _address(out))
        return out


def _depths(trees: Trees) -> Ints:
    """The number of splits on the longest path of each tree."""
    depths = np.zeros(len(trees.roots), dtype=np.int64)
    tree, node, leaf = np.arange(len(depths)), trees.roots, trees.is_leaf()
    while len(node):
        tree, node = tree[~leaf[node]], trees.left[node[~leaf[node]]]
        depths[tree] += 1  # once per tree and level
        tree, node = np.repeat(tree, 2), np.ravel([node, node + 1], order="F")
    return depths


def _address(array: NDArray[Any]) -> int:
    return array.ctypes.data

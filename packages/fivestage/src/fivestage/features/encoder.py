"""Encode text features as numbers, and stack features into the matrix that a model receives."""

from collections.abc import Mapping, Sequence

import numpy as np

from fivestage.common.columns import Floats, Value, lookup

UNKNOWN = float("nan")
BLOCK = 4_096


def encode(features: Mapping[str, Value], categories: Mapping[str, Mapping[str, float]]) -> dict[str, Value]:
    """Encode text features with the numbers of training; a value that training did not have becomes NaN."""
    return {
        name: lookup(categories[name], value, UNKNOWN) if name in categories else value
        for name, value in features.items()
    }


def matrix(encoded: Mapping[str, Value], names: Sequence[str], rows: int) -> Floats:
    """Stack encoded columns into rows x features, in the order of `names`; infinite values become NaN."""
    table = np.empty((rows, len(names)))
    if rows <= BLOCK:
        for index, name in enumerate(names):
            table[:, index] = encoded[name]
    else:  # in blocks that fit into the processor's cache
        columns = [np.asarray(encoded[name], dtype=np.float64) for name in names]
        for start in range(0, rows, BLOCK):
            block = slice(start, start + BLOCK)
            for index, column in enumerate(columns):
                table[block, index] = column[block] if column.ndim else column
    table[np.isinf(table)] = UNKNOWN
    return table

"""Text features as numbers, and features as the matrix that a model sees."""

from collections.abc import Mapping, Sequence

import numpy as np

from fivestage.common.columns import Floats, Value, lookup

UNKNOWN = float("nan")
BLOCK = 4_096


def encode(features: Mapping[str, Value], categories: Mapping[str, Mapping[str, float]]) -> dict[str, Value]:
    """Text features as the numbers they were trained with; missing where training never saw the value."""
    return {
        name: lookup(categories[name], value, UNKNOWN) if name in categories else value
        for name, value in features.items()
    }


def matrix(encoded: Mapping[str, Value], names: Sequence[str], rows: int) -> Floats:
    """Encoded columns as rows x features, in the order of training; what is infinite is missing."""
    table = np.empty((rows, len(names)))
    if rows <= BLOCK:
        for place, name in enumerate(names):
            table[:, place] = encoded[name]
    else:  # as many rows at a time as the processor's cache holds
        columns = [np.asarray(encoded[name], dtype=np.float64) for name in names]
        for start in range(0, rows, BLOCK):
            block = slice(start, start + BLOCK)
            for place, column in enumerate(columns):
                table[block, place] = column[block] if column.ndim else column
    table[np.isinf(table)] = UNKNOWN
    return table

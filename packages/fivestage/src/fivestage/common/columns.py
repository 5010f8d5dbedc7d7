"""Operations for feature code that accept either a single value or a whole column.

Feature code is written once: online it receives a float, an int or a str, offline arrays and `Strings`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# A number online, a column offline. `Any`, because the same arithmetic works on both.
Value = Any
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Strings:
    """A dictionary-encoded text column; `==` compares row by row, as with an array."""

    codes: Ints
    values: tuple[str, ...]

    def __eq__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return np.asarray(
            self.texts() == (other.texts() if isinstance(other, Strings) else other), dtype=bool
        )

    def __ne__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return ~(self == other)

    __hash__ = None  # type: ignore[assignment]

    def texts(self) -> NDArray[np.object_]:
        """Decode the column: one text per row."""
        return np.array(self.values, dtype=object)[self.codes]

    @classmethod
    def of(cls, items: Iterable[str]) -> Self:
        """Encode texts, numbering distinct ones in order of first appearance."""
        known: dict[str, int] = {}
        codes = np.fromiter((known.setdefault(item, len(known)) for item in items), dtype=np.int64)
        return cls(codes, tuple(known))

    def __len__(self) -> int:
        return len(self.codes)


def lookup(table: Mapping[str, Any], key: str | Strings | None, default: Any) -> Value:
    """Look up a key, or a column of keys, in a table.

    Args:
        table: values by key.
        key: one text, a column of texts, or None for a missing text.
        default: the value for missing texts and for keys not in the table; a text if the table's values are.

    Returns:
        For one key, its value. For a column, `Strings` if the default is a text, else a float64 array with
        one value per row.

    Raises:
        ValueError: when the default is a number, but a value found for a column is not.
    """
    if key is None:
        return default
    if isinstance(key, str):
        return table.get(key, default)
    results = [table.get(value, default) for value in key.values]
    if isinstance(default, str):
        strings = Strings.of(results)
        return Strings(strings.codes[key.codes], strings.values)
    return np.array(results, dtype=np.float64)[key.codes]


def clip(value: Value, low: float, high: float) -> Value:
    """Limit a value to a range.

    Args:
        value: one number or a whole column.
        low: the lower bound, in the value's unit.
        high: the upper bound, in the value's unit.

    Returns:
        The limited value; one number or a column, like `value`.
    """
    if isinstance(value, np.ndarray):
        return np.clip(value, low, high)
    return low if value < low else min(value, high)


def later(first: Value, second: Value) -> Value:
    """The later of two times.

    Args:
        first: epoch seconds, one value or a whole column.
        second: epoch seconds; one value, or a column if `first` is one.

    Returns:
        Epoch seconds, one value or a column, like `first`.
    """
    if isinstance(first, np.ndarray):
        return np.maximum(first, second)
    return max(first, second)


def length(value: str | Strings | None) -> Value:
    """Number of characters of a text; 0 if it is missing."""
    if isinstance(value, Strings):
        lengths = [length(one) for one in value.values]
        return np.array(lengths)[value.codes]
    return float(len(value)) if isinstance(value, str) else 0.0  # missing values of a column are not str


def fill_empty_columns(features: Floats) -> Floats:
    """Fill columns (of rows x features) that are entirely NaN with zeros: scikit-learn cannot bin them.

    The column is constant, so no tree splits on it.
    """
    empty = np.isnan(features).all(axis=0)
    return np.where(empty, 0.0, features) if empty.any() else features

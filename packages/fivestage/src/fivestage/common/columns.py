"""One value or a whole column: the few operations that features need, on either.

Feature code is written once. Online it sees a float, an int or a str; over a year it sees arrays and
`Strings`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# A number online, a column of them in a batch. `Any`, since arithmetic on either reads the same.
Value = Any
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Strings:
    """A text column as codes into its distinct values; `==` compares each row, as with an array."""

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
        """The text of each row."""
        return np.array(self.values, dtype=object)[self.codes]

    @classmethod
    def of(cls, items: Iterable[str]) -> Self:
        """Number the values in order of first appearance."""
        known: dict[str, int] = {}
        codes = np.fromiter((known.setdefault(item, len(known)) for item in items), dtype=np.int64)
        return cls(codes, tuple(known))

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: NDArray[Any]) -> Self:
        """The column at some rows, by index or mask."""
        return type(self)(self.codes[rows], self.values)


def lookup(table: Mapping[str, Any], key: str | Strings | None, default: Any) -> Value:
    """The table's value for a key, or for a column of keys; a missing one is in no table.

    Args:
        table: values by key.
        key: one text, a column of them, or None where the text is missing.
        default: the value for a key that is not in the table; a text where the table's values are texts.

    Returns:
        For one key, its value as it stands in the table. For a column, `Strings` if the default is a text,
        else a float64 array with one value a row.

    Raises:
        ValueError: when a column's value is no number although the default is one.
    """
    if key is None:
        return default
    if isinstance(key, str):
        return table.get(key, default)
    found = [table.get(value, default) for value in key.values]
    if isinstance(default, str):
        strings = Strings.of(found)
        return Strings(strings.codes[key.codes], strings.values)
    return np.array(found, dtype=np.float64)[key.codes]


def clip(value: Value, low: float, high: float) -> Value:
    """The value held between two bounds.

    Args:
        value: one number or a whole column.
        low: the lower bound, in the value's unit.
        high: the upper bound, in the value's unit.

    Returns:
        One number or an array of the same length, within both bounds.
    """
    if isinstance(value, np.ndarray):
        return np.clip(value, low, high)
    return low if value < low else min(value, high)


def later(first: Value, second: Value) -> Value:
    """The later of two moments.

    Args:
        first: epoch seconds, one value or a whole column.
        second: epoch seconds; one value, or a column if `first` is one.

    Returns:
        Epoch seconds, one value or a column, as `first` is.
    """
    if isinstance(first, np.ndarray):
        return np.maximum(first, second)
    return max(first, second)


def length(value: str | Strings | None) -> Value:
    """Characters of a text, 0 of a missing one."""
    if isinstance(value, Strings):
        lengths = [length(one) for one in value.values]
        return np.array(lengths)[value.codes]
    return float(len(value)) if isinstance(value, str) else 0.0  # a missing one of a column is no text


def with_values(features: Floats) -> Floats:
    """Rows x features, with zeros in columns without any value: scikit-learn cannot bin such a one.

    As it is the same in every row, no tree splits by it.
    """
    empty = np.isnan(features).all(axis=0)
    return np.where(empty, 0.0, features) if empty.any() else features

"""Time and memory of a lookup by key, measured up to a million keys and extrapolated to a billion."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fivestage.features.stores import AdditiveEvent, OnlineFeatureStore, Series
from tools.bench.study.sample import best_seconds

KEYS = (1_000, 100_000, 1_000_000)
BILLION = 1_000_000_000
LOOKUPS = 200_000
FACTS = 4  # events per key, as for an entity that occurs now and then
HISTORY_KEYS = 100_000
HISTORY = f"our history, {FACTS} facts a key"


def measure() -> dict[str, Any]:
    """Return bytes per key and nanoseconds per lookup: hash map, sorted arrays, online feature store."""
    draw = np.random.default_rng(0)
    lines = []
    for keys in KEYS:
        numbers_of_keys = draw.integers(0, keys, LOOKUPS).tolist()
        names = [f"entity-{number:09d}" for number in range(keys)]
        names_to_find = [names[number] for number in numbers_of_keys]
        table = dict(zip(names, np.arange(keys, dtype=float).tolist(), strict=True))
        size = sys.getsizeof(table) + sum(map(sys.getsizeof, names)) + keys * sys.getsizeof(0.5)
        lines.append(line("dict, text to number", keys, size, _looked_up(table, names_to_find)))
        numbers, values = np.arange(0, 7 * keys, 7), np.arange(keys, dtype=float)
        at = np.array(numbers_of_keys) * 7
        lines.append(
            line(
                "sorted arrays, one batch",
                keys,
                numbers.nbytes + values.nbytes,
                _searched(numbers, values, at),
            )
        )
    history, bytes_a_key = _history(HISTORY_KEYS)
    numbers_of_keys = draw.integers(0, HISTORY_KEYS, LOOKUPS // 4).tolist()

    def windows() -> None:
        for number in numbers_of_keys:
            history.window("seen", number, 10_000, 24, 1)

    lines.append(
        line(
            HISTORY,
            HISTORY_KEYS,
            bytes_a_key * HISTORY_KEYS,
            best_seconds(windows) / len(numbers_of_keys),
        )
    )
    billion = {one["what"]: one["bytes_a_key"] * BILLION / 2**30 for one in lines}
    return {"lines": lines, "history": HISTORY, "drawn_on_to": BILLION, "billion": billion}


def line(what: str, keys: int, held: float, seconds: float) -> dict[str, Any]:
    """Return one measurement."""
    return {"what": what, "keys": keys, "bytes_a_key": held / keys, "nanoseconds": seconds * 1e9}


def _looked_up(table: dict[str, float], names_to_find: list[str]) -> float:
    def work() -> None:
        for name in names_to_find:
            table[name]

    return best_seconds(work) / len(names_to_find)


def _searched(numbers: Any, values: Any, at: Any) -> float:
    return best_seconds(lambda: values[np.searchsorted(numbers, at)]) / len(at)


def _history(keys: int) -> tuple[OnlineFeatureStore, float]:
    """Create a store with some events per key, and return it with the bytes per key."""
    history = OnlineFeatureStore()
    for fact in range(FACTS):
        for key in range(keys):
            history.add(AdditiveEvent("seen", key, 1000 * fact + key % 1000, (1,)))
    log = history._logs["seen"]  # noqa: SLF001 (to measure its size)
    size = sys.getsizeof(log) + sum(map(_bytes_of, log.values()))
    return history, size / keys


def _bytes_of(series: Series) -> int:
    parts: list[Callable[[], int]] = [
        series.times.__sizeof__,
        series.numbers.__sizeof__,
        series.struct.__sizeof__,
    ]
    return sys.getsizeof(series) + sum(part() for part in parts)

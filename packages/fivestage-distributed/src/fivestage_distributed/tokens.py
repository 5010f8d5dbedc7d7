"""Tokenises rows and their history as of the decision time, for any problem with events and keys.

The problem's own features determine which event logs belong to a row, and under which keys, so a project
defines this only once. A token is a column's value, or an event with its bucketed values and age.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import TypeAdapter

from fivestage.common.columns import Floats, Ints, Strings
from fivestage.contract.contract import CategoryColumn, TimestampColumn
from fivestage.features.definitions import Reference, columns_of
from fivestage.features.problem import Problem
from fivestage.features.stores import OfflineFeatureStore, WindowQuery

Tokens = Ints  # rows x positions
BUCKETS = 6  # quantile buckets per value
RARE = 20  # values in fewer rows share one token per field
HOUR, DAY = 3600, 86_400
MISSING = -1


class KeyRecorder:
    """An empty event store that records which logs are queried, and with which keys."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self._empty = OfflineFeatureStore({})

    def window(self, log: str, key: Any, at: Any, hours: float, width: int = 0) -> tuple[Any, ...]:
        self.keys.setdefault(log, key)
        return self._empty.window(log, key, at, hours, width)

    def windows(self, query: WindowQuery, keys: Mapping[str, Any], at: Any) -> list[tuple[Any, ...]]:
        return [self.window(log, keys[log], at, hours, query.width) for log, hours in query.windows]

    def latest(self, log: str, key: Any, at: Any, hours: float, width: int) -> tuple[Any, ...]:
        self.keys.setdefault(log, key)
        return self._empty.latest(log, key, at, hours, width)


@dataclass(frozen=True)
class TokenField:
    """How a column of the contract, or the events of a log, become tokens."""

    edges: tuple[tuple[float, ...], ...]  # bucket edges of each number
    texts: tuple[str, ...]  # the known values of a text column, sorted
    tokens: dict[int, int]  # tokens by code, the number that combines all buckets
    missing: int  # token of a missing value
    rare: int  # token of codes that are not in `tokens`
    width: int  # number of positions in a sequence

    def encode(self, codes: Ints) -> Tokens:
        """Return the tokens of codes."""
        distinct, places = np.unique(codes, return_inverse=True)
        tokens = [
            self.missing if one == MISSING else self.tokens.get(one, self.rare) for one in distinct.tolist()
        ]
        return np.array(tokens, dtype=np.int64)[places].reshape(codes.shape)


@dataclass(frozen=True)
class Vocabulary:
    """The fields of a sequence and their tokens."""

    fields: dict[str, TokenField]  # fields by name, in the order of their positions
    classes: tuple[int, ...]  # tokens of the label's classes
    answer: int  # token at whose position the label is predicted
    size: int  # number of distinct tokens
    events: int  # number of events per log


@dataclass(frozen=True)
class RawField:
    """A field's values: numbers (rows x positions x numbers) or texts; `found` marks those not missing."""

    numbers: Floats
    found: NDArray[np.bool_]
    texts: NDArray[Any] | None = None
    of_event: bool = False


def raw_fields(
    problem: Problem, rows: pd.DataFrame, store: OfflineFeatureStore, reference: Reference, count: int
) -> dict[str, RawField]:
    """Return the field values of rows, from their columns and their events."""
    fields = {}
    for name, column in problem.contract.columns.items():
        values: pd.Series[Any] = rows[name]
        if isinstance(column, CategoryColumn):
            texts = values.fillna("").astype(str).to_numpy(dtype=object)[:, None]
            fields[name] = RawField(np.zeros((*texts.shape, 0)), texts != "", texts)
            continue
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)[:, None]
        known = ~np.isnan(numbers)
        if isinstance(column, TimestampColumn):
            fields[f"{name}, hour"] = RawField((numbers % DAY // HOUR)[..., None], known)
            fields[f"{name}, day of the week"] = RawField((numbers // DAY % 7)[..., None], known)
        else:
            fields[name] = RawField(numbers[..., None], known)
    at = rows["decision_at"].to_numpy(dtype=np.int64)
    recorder, definitions = KeyRecorder(), problem.features
    definitions.compute(definitions.sets, columns_of(rows), at, recorder, reference)
    for log, key in recorder.keys.items():
        if log not in store.logs:
            continue
        if store.logs[log].additive:
            times, counted, known = store.recent(log, key, at, count)
            age = (at[:, None] - times)[..., None]
            fields[log] = RawField(np.concatenate([counted, age], axis=2), known, of_event=True)
        else:
            _, readings, known = store.recent(log, key, at, 1)
            for place in range(readings.shape[2]):
                one = readings[..., place : place + 1]
                fields[f"{log}, {place}"] = RawField(one, known & ~np.isnan(one[..., 0]), of_event=True)
    return fields


def learn_vocabulary(raw: Mapping[str, RawField], classes: int, count: int) -> Vocabulary:
    """Learn the buckets and tokens from training rows."""
    size = classes + 1
    fields = {}
    for name, one in raw.items():
        edges = tuple(
            tuple(np.unique(np.quantile(known, np.arange(1, BUCKETS) / BUCKETS)).tolist())
            if len(known)
            else ()
            for known in (one.numbers[..., place][one.found] for place in range(one.numbers.shape[2]))
        )
        if name.endswith((", hour", ", day of the week")):
            edges = (tuple(np.arange(1.0, 24.0).tolist()),)
        texts = () if one.texts is None else tuple(sorted({str(text) for text in one.texts[one.found]}))
        codes, counts = np.unique(_codes(one, edges, texts)[one.found], return_counts=True)
        kept = codes[counts >= RARE].tolist()
        tokens = {code: size + 2 + place for place, code in enumerate(kept)}
        fields[name] = TokenField(edges, texts, tokens, missing=size, rare=size + 1, width=one.found.shape[1])
        size += 2 + len(kept)
    return Vocabulary(fields, tuple(range(classes)), classes, size, count)


def encode(raw: Mapping[str, RawField], vocabulary: Vocabulary) -> Tokens:
    """Encode rows as token sequences of equal length; the last position is for predicting the label."""
    rows = len(next(iter(raw.values())).found)
    columns = []
    for name, one in vocabulary.fields.items():
        if name in raw:
            columns.append(one.encode(_codes(raw[name], one.edges, one.texts)))
        else:
            columns.append(np.full((rows, one.width), one.missing, dtype=np.int64))
    columns.append(np.full((rows, 1), vocabulary.answer, dtype=np.int64))
    return np.concatenate(columns, axis=1)


def event_positions(raw: Mapping[str, RawField]) -> NDArray[np.bool_]:
    """Return a mask of the positions that hold events rather than columns of the row."""
    widths = [(one.found.shape[1], one.of_event) for one in raw.values()]
    return np.array([of_event for width, of_event in widths for _ in range(width)] + [False])


def _codes(one: RawField, edges: Sequence[Sequence[float]], texts: Sequence[str]) -> Ints:
    """Return one code per position: all buckets combined, or a text's index; -1 if missing."""
    if one.texts is not None:
        places = {text: place for place, text in enumerate(texts)}
        strings = Strings.of(one.texts[:, 0].tolist())
        known = np.array([places.get(text, len(texts)) for text in strings.values], dtype=np.int64)
        codes = known[strings.codes][:, None]
    else:
        codes = np.zeros(one.found.shape, dtype=np.int64)
        for place, bounds in enumerate(edges):
            bucket = np.searchsorted(np.asarray(bounds), one.numbers[..., place], side="right")
            codes = codes * (len(bounds) + 1) + bucket
    return np.where(one.found, codes, MISSING)


def vocabulary_to_json(vocabulary: Vocabulary) -> str:
    """Serialise a vocabulary, to store it with a model."""
    return TypeAdapter(Vocabulary).dump_json(vocabulary).decode()


def vocabulary_from_json(text: str) -> Vocabulary:
    """Deserialise a vocabulary."""
    return TypeAdapter(Vocabulary).validate_json(text)

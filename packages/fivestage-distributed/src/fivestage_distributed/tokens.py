"""Rows and their past as tokens, as of the decision and not later, for any problem with events and keys.

Which logs matter to a row, and under which keys, is what the problem's own features ask for; so a project
says it once. A token is a value of a column, or an event with its bucketed values and age.
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
BUCKETS = 6  # of a value, of equal mass
RARE = 20  # rows with a token; what fewer have is one token of its field
HOUR, DAY = 3600, 86_400
MISSING = -1


class KeyRecorder:
    """A past in which nothing has happened, that notes which logs are asked for and under which keys."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self._nothing = OfflineFeatureStore({})

    def window(self, log: str, key: Any, at: Any, hours: float, width: int = 0) -> tuple[Any, ...]:
        self.keys.setdefault(log, key)
        return self._nothing.window(log, key, at, hours, width)

    def windows(self, query: WindowQuery, keys: Mapping[str, Any], at: Any) -> list[tuple[Any, ...]]:
        return [self.window(log, keys[log], at, hours, query.width) for log, hours in query.windows]

    def latest(self, log: str, key: Any, at: Any, hours: float, width: int) -> tuple[Any, ...]:
        self.keys.setdefault(log, key)
        return self._nothing.latest(log, key, at, hours, width)


@dataclass(frozen=True)
class TokenField:
    """How a column of the contract, or the events of a log, become tokens.

    Args:
        edges: of the buckets of each number.
        texts: the values of a text, in their order.
        tokens: by the number that all buckets together make; others are `rare`, none at all is `missing`.
        missing: token where there is nothing.
        rare: token of what few rows have.
        width: positions that it takes.
    """

    edges: tuple[tuple[float, ...], ...]
    texts: tuple[str, ...]
    tokens: dict[int, int]
    missing: int
    rare: int
    width: int

    def encode(self, codes: Ints) -> Tokens:
        """Tokens of combined buckets."""
        distinct, places = np.unique(codes, return_inverse=True)
        found = [
            self.missing if one == MISSING else self.tokens.get(one, self.rare) for one in distinct.tolist()
        ]
        return np.array(found, dtype=np.int64)[places].reshape(codes.shape)


@dataclass(frozen=True)
class Vocabulary:
    """All fields, in the order of the positions.

    Args:
        fields: by name.
        classes: tokens of the label's classes.
        answer: the token at whose position the label is predicted.
        size: number of tokens.
        events: of each log.
    """

    fields: dict[str, TokenField]
    classes: tuple[int, ...]
    answer: int
    size: int
    events: int


@dataclass(frozen=True)
class RawField:
    """A field before tokens: numbers (rows x positions x numbers) or texts, and where there is one."""

    numbers: Floats
    found: NDArray[np.bool_]
    texts: NDArray[Any] | None = None
    of_event: bool = False


def raw_fields(
    problem: Problem, rows: pd.DataFrame, store: OfflineFeatureStore, reference: Reference, count: int
) -> dict[str, RawField]:
    """What the tokens of rows are made of."""
    found = {}
    for name, column in problem.contract.columns.items():
        values: pd.Series[Any] = rows[name]
        if isinstance(column, CategoryColumn):
            texts = values.fillna("").astype(str).to_numpy(dtype=object)[:, None]
            found[name] = RawField(np.zeros((*texts.shape, 0)), texts != "", texts)
            continue
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)[:, None]
        known = ~np.isnan(numbers)
        if isinstance(column, TimestampColumn):
            found[f"{name}, hour"] = RawField((numbers % DAY // HOUR)[..., None], known)
            found[f"{name}, day of the week"] = RawField((numbers // DAY % 7)[..., None], known)
        else:
            found[name] = RawField(numbers[..., None], known)
    at = rows["decision_at"].to_numpy(dtype=np.int64)
    recorder, definitions = KeyRecorder(), problem.features
    definitions.compute(definitions.sets, columns_of(rows), at, recorder, reference)
    for log, key in recorder.keys.items():
        if log not in store.logs:
            continue
        if store.logs[log].additive:
            times, counted, known = store.recent(log, key, at, count)
            age = (at[:, None] - times)[..., None]
            found[log] = RawField(np.concatenate([counted, age], axis=2), known, of_event=True)
        else:
            _, readings, known = store.recent(log, key, at, 1)
            for place in range(readings.shape[2]):
                one = readings[..., place : place + 1]
                found[f"{log}, {place}"] = RawField(one, known & ~np.isnan(one[..., 0]), of_event=True)
    return found


def learn_vocabulary(raw: Mapping[str, RawField], classes: int, count: int) -> Vocabulary:
    """Buckets and tokens of rows to learn from."""
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
        codes, often = np.unique(_codes(one, edges, texts)[one.found], return_counts=True)
        kept = codes[often >= RARE].tolist()
        tokens = {code: size + 2 + place for place, code in enumerate(kept)}
        fields[name] = TokenField(edges, texts, tokens, missing=size, rare=size + 1, width=one.found.shape[1])
        size += 2 + len(kept)
    return Vocabulary(fields, tuple(range(classes)), classes, size, count)


def encode(raw: Mapping[str, RawField], vocabulary: Vocabulary) -> Tokens:
    """Rows as sequences of equal length, the last position asking for the label."""
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
    """Which positions of a sequence are of events, rather than of the row's columns."""
    widths = [(one.found.shape[1], one.of_event) for one in raw.values()]
    return np.array([of_event for width, of_event in widths for _ in range(width)] + [False])


def _codes(one: RawField, edges: Sequence[Sequence[float]], texts: Sequence[str]) -> Ints:
    """The buckets of all numbers, or the place of a text, as one number; -1 where there is nothing."""
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
    """To be kept with a model."""
    return TypeAdapter(Vocabulary).dump_json(vocabulary).decode()


def vocabulary_from_json(text: str) -> Vocabulary:
    """As it was kept."""
    return TypeAdapter(Vocabulary).validate_json(text)

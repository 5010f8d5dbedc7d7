"""The engine: decoded rows in, probabilities and decisions out. It knows nothing of HTTP."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import treelite

from core.columns import Floats, Ints, Row, Strings, Value, lookup
from core.windows import Fact, History, Past, Table
from problem.features import FACTS, SETS, Reference
from serving.artifact import Artifact, Calibration

UNKNOWN = float("nan")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A probability, and the decision that is cheaper at it."""

    probability: float
    decision: str
    unknown: tuple[str, ...] = ()  # features whose category training never saw


def columns_of(frame: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a table in the form features see: text as `Strings`, numbers as arrays.

    A data frame is such a table; so is a dictionary of lists.
    """
    columns: dict[str, Any] = {}
    for name in frame:
        values = np.asarray(frame[name])
        text = values.dtype.kind in "OUST"
        columns[name] = Strings.of(values.tolist()) if text else values
    return columns


def facts_of(kind: str, event: Row, reference: Reference) -> list[Fact]:
    """What an event, or a column of them, adds to the history."""
    return FACTS[kind](event, reference)


def table_of(events: Mapping[str, Mapping[str, Any]], reference: Reference) -> Table:
    """All events, by kind, as one past for a batch."""
    return Table.of(
        fact
        for kind, frame in events.items()
        if len(frame)
        for fact in FACTS[kind](columns_of(frame), reference)
    )


def features_of(
    sets: Iterable[str], row: Row, at: Value, past: Past, reference: Reference
) -> dict[str, Value]:
    """The named sets' features, for one row or for columns of rows."""
    features: dict[str, Value] = {}
    for name in sets:
        features.update(SETS[name](row, at, past, reference))
    return features


def encode(features: Mapping[str, Value], categories: Mapping[str, Mapping[str, float]]) -> dict[str, Value]:
    """Text features as the numbers they were trained with; missing where training never saw the value."""
    return {
        name: lookup(categories[name], value, UNKNOWN) if name in categories else value
        for name, value in features.items()
    }


def matrix(encoded: Mapping[str, Value], names: Sequence[str], rows: int) -> Floats:
    """Encoded columns as rows x features, in the order of training."""
    table = np.empty((rows, len(names)))
    for place, name in enumerate(names):
        table[:, place] = encoded[name]
    return table


class Scorer:
    """The artifact's trees and calibration."""

    def __init__(self, model: bytes, calibration: Calibration) -> None:
        self._model = treelite.Model.deserialize_bytes(model)
        self._calibration = calibration

    def margin(self, features: Floats) -> Floats:
        """Sum of the trees' leaves for each row of features."""
        found = treelite.gtil.predict(self._model, features, nthread=1, pred_margin=True)
        return np.asarray(found, dtype=np.float64).reshape(len(features))

    def probability(self, features: Floats) -> Floats:
        """Calibrated probability for each row of features."""
        return self._calibration.probability(self.margin(features))


class Engine:
    """An artifact made ready: it hears of events and answers rows."""

    def __init__(self, artifact: Artifact, history: History | None = None) -> None:
        self.artifact = artifact
        self.history = history or artifact.history.history()
        self._scorer = Scorer(artifact.model, artifact.calibration)
        self._decision = artifact.contract.decision

    def observe(self, kind: str, event: Row) -> None:
        """Take in one event; timestamps are epoch seconds."""
        for fact in FACTS[kind](event, self.artifact.reference):
            self.history.add(fact)

    def features(self, row: Row) -> dict[str, float | str]:
        """One row's features before encoding, as of its decision time."""
        at = row[self._decision.time_column] - self._decision.lead_seconds
        return features_of(self.artifact.sets, row, at, self.history, self.artifact.reference)

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """Answer rows; timestamps are epoch seconds, and the past is what has been observed."""
        artifact = self.artifact
        found = [self.features(row) for row in rows]
        encoded = [encode(features, artifact.categories) for features in found]
        table = np.array([[one[name] for name in artifact.features] for one in encoded], dtype=np.float64)
        return [
            self._answer(probability, features)
            for probability, features in zip(self._scorer.probability(table).tolist(), found, strict=True)
        ]

    def _answer(self, probability: float, features: Mapping[str, Any]) -> Prediction:
        known = self.artifact.categories
        unknown = tuple(name for name in known if features[name] not in known[name])
        act = probability >= self.artifact.threshold
        return Prediction(probability, self._decision.act if act else self._decision.wait, unknown)


def predict_table(artifact: Artifact, rows: Mapping[str, Any], past: Table, at: Ints) -> Floats:
    """The artifact's probabilities for a table of rows, with each row's past as of its decision time."""
    features = features_of(artifact.sets, columns_of(rows), at, past, artifact.reference)
    encoded = encode(features, artifact.categories)
    return Scorer(artifact.model, artifact.calibration).probability(
        matrix(encoded, artifact.features, len(at))
    )

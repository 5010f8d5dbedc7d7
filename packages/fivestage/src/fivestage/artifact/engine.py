"""The engine: decoded rows in, forecasts and decisions out. It knows nothing of HTTP."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from msgspec.structs import replace

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.predictions import form_of
from fivestage.artifact.scorer import Contributions, Scorer
from fivestage.artifact.shapley import strongest
from fivestage.common.clock import DAY
from fivestage.common.columns import Floats, Ints, Row, Value
from fivestage.features.definitions import UNDEFINED, FeatureDefinitions, Frame, columns_of
from fivestage.features.encoder import UNKNOWN, encode, matrix
from fivestage.features.stores import (
    HOUR,
    LoggedEvent,
    OfflineFeatureStore,
    OnlineFeatureStore,
)

logger = logging.getLogger("serving")
MANY = 48  # rows from which on columns are faster than one row after another
MANY_STALE = 500  # the same where the history has changed since, and must be packed again for columns
REASONS = 5  # that are told
RECENT = 1000  # facts, of which the earliest is taken for the present: a wild date moves nothing
LATE_HOURS = 7 * 24  # requests may come a week late


class Engine:
    """An artifact made ready: it hears of events and answers rows."""

    def __init__(
        self, artifact: Artifact, definitions: FeatureDefinitions, history: OnlineFeatureStore | None = None
    ) -> None:
        self.artifact = artifact
        self.definitions = definitions
        self._kept = round((definitions.reach_hours + LATE_HOURS) * HOUR)  # seconds before the present
        self.history = history or artifact.history.history()
        self.scorer = Scorer(artifact.models, artifact.calibration)
        self.form = form_of(artifact.contract)
        self._answer = self.form.prediction
        self._explainers: list[Contributions] = []  # of each output, once asked for
        self._stale = True  # whether the history has changed since it was last asked by the column
        self.undefined: Counter[str] = Counter()  # rows for which a feature, or a set of them, had no value
        self._recent: list[int] = []  # when the last facts became known
        self._time = artifact.contract.decision.time_column
        self._lead = artifact.contract.decision.lead_seconds
        get = itemgetter(*artifact.features)
        self._names = get if len(artifact.features) > 1 else lambda features: (get(features),)
        self._categories = tuple(artifact.categories.items())

    def observe(self, kind: str, event: Row) -> None:
        """Take in one event; timestamps are epoch seconds."""
        self.learn(self.definitions.logged(kind, event, self.artifact.reference))

    def learn(self, facts: Iterable[LoggedEvent]) -> None:
        """Take in facts, and forget those that no window reaches any more."""
        self._stale = True
        for fact in facts:
            self.history.add(fact)
            self._recent.append(int(fact.at))
        if len(self._recent) >= RECENT:
            before = int(min(time.time(), *self._recent)) - self._kept
            self._recent.clear()
            if before >= self.history.forgotten + DAY:
                self.history.forget(before)

    def features(self, row: Row) -> dict[str, float | str]:
        """One row's features before encoding, as of its decision time."""
        at = row[self._time] - self._lead
        asked = self.artifact.sets, row, at, self.history, self.artifact.reference
        try:
            return self.definitions.compute(*asked)
        except UNDEFINED:
            features, undefined = self.definitions.compute_undefined(*asked)
        for name in undefined - set(self.undefined):
            logger.warning("the feature %s has no value for some rows: it counts as missing there", name)
        self.undefined.update(undefined)
        return {name: features.get(name, UNKNOWN) for name in self.artifact.features}

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        """Answer rows; timestamps are epoch seconds, and the past is what has been observed."""
        if len(rows) < (MANY_STALE if self._stale else MANY):
            return [self._one(row) for row in rows]
        self._stale = False
        columns = columns_of({name: [row[name] for row in rows] for name in rows[0]})
        return self._many(columns, columns[self._time] - self._lead)

    def explain(self, rows: Sequence[Row], found: Sequence[Any]) -> list[Any]:
        """The same predictions with what moved them: exact Shapley values.

        Raises:
            UnsupportedError: when the model cannot be explained.
        """
        artifact, names = self.artifact, self.artifact.features
        if not self._explainers:
            self._explainers = self.scorer.explainers()
        explained = []
        for row, prediction in zip(rows, found, strict=True):
            features = self.features(row)
            encoded = encode(features, artifact.categories)
            values = np.array([encoded[name] for name in names], dtype=float)
            added, average = np.zeros(len(names)), 0.0
            weights = artifact.calibration.weights(self.form.forecast(prediction))
            # Of a number, a model may have a score for the value alone: the others weigh nothing.
            for weight, explainer in zip(weights, self._explainers, strict=False):
                if weight:
                    added += weight * explainer.contributions(values)
                    average += weight * explainer.base
            first = strongest(added, REASONS).tolist()
            moved = [(names[i], _shown(features[names[i]]), added[i].item()) for i in first]
            rest = float(added.sum() - added[first].sum())
            reasons = self.form.reasons(prediction, average, moved, rest)
            explained.append(replace(prediction, reasons=reasons))
        return explained

    def _one(self, row: Row) -> Any:
        features = self.features(row)
        unknown: tuple[str, ...] = ()
        for name, codes in self._categories:
            code = codes.get(features[name])  # type: ignore[arg-type]
            if code is None:
                unknown += (name,)
                code = UNKNOWN
            features[name] = code
        return self._answer(self.scorer.one(self._names(features)), unknown)

    def _many(self, columns: Mapping[str, Any], at: Ints) -> list[Any]:
        artifact = self.artifact
        features = self.definitions.compute(
            artifact.sets, columns, at, self.history.table(), artifact.reference
        )
        encoded = encode(features, artifact.categories)
        margins = self.scorer.margins(matrix(encoded, artifact.features, len(at))).tolist()
        # Not by the column: numpy's exp is another in the last bit, and one row and many answer the same.
        found = map(artifact.calibration.of_one, margins)
        unknown: dict[int, tuple[str, ...]] = {}
        for name, _ in self._categories:
            for row in np.flatnonzero(np.isnan(encoded[name])).tolist():
                unknown[row] = (*unknown.get(row, ()), name)
        return [self._answer(forecast, unknown.get(row, ())) for row, forecast in enumerate(found)]


def _shown(value: Value) -> float | str | None:
    return value if isinstance(value, str) else None if value != value else float(value)  # noqa: PLR0124 (NaN)


def predict_table(
    artifact: Artifact, definitions: FeatureDefinitions, rows: Frame, past: OfflineFeatureStore, at: Ints
) -> Floats:
    """The artifact's forecasts for a table of rows, with each row's past as of its decision time."""
    features = definitions.compute(artifact.sets, columns_of(rows), at, past, artifact.reference)
    encoded = encode(features, artifact.categories)
    return Scorer(artifact.models, artifact.calibration).forecast(matrix(encoded, artifact.features, len(at)))

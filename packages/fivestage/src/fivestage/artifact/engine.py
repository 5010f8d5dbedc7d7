"""The engine: decoded rows in, forecasts and decisions out. It knows nothing of HTTP."""

import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from msgspec.structs import replace

from fivestage.artifact.additive import AdditiveExplainer
from fivestage.artifact.artifact import Artifact
from fivestage.artifact.predictions import form_of
from fivestage.artifact.required_features import require_features, require_names
from fivestage.artifact.shapley import Explainer, strongest
from fivestage.common.clock import DAY
from fivestage.common.columns import Floats, Ints, Row, Value
from fivestage.features.definitions import UNDEFINED, FeatureDefinitions, Features, Frame, columns_of
from fivestage.features.encoder import UNKNOWN, encode, matrix
from fivestage.features.stores import (
    HOUR,
    LoggedEvent,
    OfflineFeatureStore,
)

logger = logging.getLogger("serving")
MANY = 48  # rows from which on columns are faster than one row after another
MANY_STALE = 500  # the same where the history has changed since, and must be packed again for columns
REASONS = 5  # that are told
RECENT = 1000  # facts, of which the earliest is taken for the present: a wild date moves nothing
LATE_HOURS = 7 * 24  # requests may come a week late
GAP_HOURS = 24  # after the last known event, or a tenth of the longest window: later rows lack recent events


class Engine:
    """An artifact made ready: it hears of events and answers rows.

    Raises:
        MissingFeatureError: when the definitions lack a feature of the artifact.
    """

    def __init__(self, artifact: Artifact, definitions: FeatureDefinitions) -> None:
        require_features(artifact, definitions)
        self.artifact = artifact
        self.definitions = definitions
        self._kept = round((definitions.reach_hours + LATE_HOURS) * HOUR)  # seconds before the present
        self.history = artifact.history.history()
        self.scorer = artifact.scorer
        self.form = form_of(artifact.contract)
        self._answer = self.form.prediction
        self._explainers: Sequence[Explainer | AdditiveExplainer] = ()  # of each output, once asked for
        self._stale = True  # whether the history has changed since it was last asked by the column
        self.undefined: Counter[str] = Counter()  # rows for which a feature, or a set of them, had no value
        self._reported: set[str] = set()
        self._recent: list[int] = []  # when the last facts became known
        logged = [log.times for log in artifact.history.logs.values() if len(log.times)]
        self._first = min(
            (int(times.min()) for times in logged), default=None
        )  # what the history begins with
        self._last = artifact.as_of  # when the last event became known
        self._set_coverage()
        self._time = artifact.contract.decision.time_column
        self._lead = artifact.contract.decision.lead_seconds
        get = itemgetter(*artifact.features)
        self._names = get if len(artifact.features) > 1 else lambda features: (get(features),)
        self._categories = tuple(artifact.categories.items())

    def continue_from(self, other: "Engine") -> None:
        """Go on with the history of the engine that served before."""
        self.history, self._first, self._last = other.history, other._first, other._last  # noqa: SLF001
        self._set_coverage()

    def facts(self, kind: str, event: Row) -> list[LoggedEvent]:
        """What one event adds to the history; timestamps are epoch seconds."""
        return self.definitions.logged(kind, event, self.artifact.reference)

    def observe(self, kind: str, event: Row) -> None:
        """Take in one event; timestamps are epoch seconds."""
        self.learn(self.facts(kind, event))

    def learn(self, facts: Iterable[LoggedEvent]) -> None:
        """Take in facts, and forget those that no window reaches any more."""
        self._stale, now = True, time.time()
        for fact in facts:
            self.history.add(fact)
            self._recent.append(int(fact.at))
            if self._last < fact.at <= now:
                self._last = int(fact.at)
        if len(self._recent) >= RECENT:
            before = int(min(time.time(), *self._recent)) - self._kept
            self._recent.clear()
            if before >= self.history.forgotten + DAY:
                self.history.forget(before)
        self._set_coverage()

    def features(self, row: Row) -> dict[str, float | str]:
        """One row's features before encoding, as of its decision time."""
        at = row[self._time] - self._lead
        asked = self.artifact.sets, row, at, self.history, self.artifact.reference
        try:
            return self.definitions.compute(*asked)
        except UNDEFINED:
            features, undefined = self.definitions.compute_undefined(*asked)
        for name in undefined - self._reported:
            logger.warning("the feature %s has no value for some rows: it counts as missing there", name)
        self._reported |= undefined
        self.undefined.update(undefined)
        return {name: features.get(name, UNKNOWN) for name in self.artifact.features}

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        """Answer rows; timestamps are epoch seconds, and the past is what has been observed."""
        if self.prefers_columns(len(rows)):
            return self.predict_columns(rows)
        return [self._one(row) for row in rows]

    def prefers_columns(self, rows: int) -> bool:
        """Whether so many rows are answered sooner by the column than one after another."""
        return rows >= (MANY_STALE if self._stale else MANY)

    def predict_columns(self, rows: Sequence[Row]) -> list[Any]:
        """Answer rows by the column; one thread at a time, while another may call `predict` with few rows."""
        self._stale = False
        columns = columns_of({name: [row[name] for row in rows] for name in rows[0]})
        at = columns[self._time] - self._lead
        found = self._many(columns, at)
        for place in np.flatnonzero((at < self._begin) | (at > self._end)).tolist():
            found[place] = self._noted(found[place], rows[place])
        return found

    def explain(self, rows: Sequence[Features], found: Sequence[Any]) -> list[Any]:
        """The predictions of rows with what moved them: exact Shapley values."""
        artifact, names = self.artifact, self.artifact.features
        if not self._explainers:
            self._explainers = self.scorer.explainers()
        explained = []
        for features, prediction in zip(rows, found, strict=True):
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
        return self._noted(self._answer(self.scorer.one(self._names(features)), unknown), row)

    def _noted(self, prediction: Any, row: Row) -> Any:
        """The prediction, saying so where its row is decided far from what the history covers."""
        at = row[self._time] - self._lead
        if self._begin <= at <= self._end:
            return prediction
        seconds = at - (self._last if at > self._last else self._begin)
        return replace(prediction, history_gap_hours=round(seconds / HOUR, 1))

    def _set_coverage(self) -> None:
        """Decisions from when to when the history covers: all that windows reach back to, and no long gap."""
        if self._first is None:
            self._begin, self._end = -math.inf, math.inf
            return
        reach = round(self.definitions.reach_hours * HOUR)
        self._begin = min(max(self._first, self.history.forgotten) + reach, self._last)
        self._end = self._last + round(max(GAP_HOURS, self.definitions.reach_hours / 10) * HOUR)

    def _many(self, columns: Mapping[str, Any], at: Ints) -> list[Any]:
        encoded, rows = _encoded(self.artifact, self.definitions, columns, at, self.history.table())
        margins = self.scorer.margins(rows).tolist()
        # Not by the column: numpy's exp is another in the last bit, and one row and many answer the same.
        found = map(self.artifact.calibration.of_one, margins)
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
    return artifact.scorer.forecast(_encoded(artifact, definitions, columns_of(rows), at, past)[1])


def _encoded(
    artifact: Artifact,
    definitions: FeatureDefinitions,
    columns: Mapping[str, Any],
    at: Ints,
    past: OfflineFeatureStore,
) -> tuple[Mapping[str, Any], Floats]:
    """The encoded features of rows, by name and as rows x features."""
    features = definitions.compute(artifact.sets, columns, at, past, artifact.reference)
    require_names(artifact, features)
    encoded = encode(features, artifact.categories)
    return encoded, matrix(encoded, artifact.features, len(at))

"""Inference engine: turns decoded rows into forecasts and decisions, independently of HTTP."""

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
MANY = 48  # rows; from here on, scoring column by column is faster than row by row
MANY_STALE = 500  # the same if the history has changed, as it must first be packed again into columns
REASONS = 5  # features listed in an explanation
RECENT = 1000  # events; the earliest of these counts as the present, so that one wrong date has no effect
LATE_HOURS = 7 * 24  # requests may arrive a week late
GAP_HOURS = 24  # after the last event (a tenth of the lookback, if longer), rows lack recent events


class Engine:
    """Serves an artifact: takes in events and predicts rows.

    Raises:
        MissingFeatureError: if the definitions lack a feature of the artifact.
    """

    def __init__(self, artifact: Artifact, definitions: FeatureDefinitions) -> None:
        require_features(artifact, definitions)
        self.artifact = artifact
        self.definitions = definitions
        self._retention = round((definitions.lookback_hours + LATE_HOURS) * HOUR)  # seconds of events kept
        self.history = artifact.history.history()
        self.scorer = artifact.scorer
        self.form = form_of(artifact.contract)
        self._answer = self.form.prediction
        self._explainers: Sequence[Explainer | AdditiveExplainer] = ()  # one per output, built on first use
        self._stale = True  # whether the history has changed since it was last packed into columns
        self.undefined: Counter[str] = Counter()  # rows without a value, by feature or feature set
        self._reported: set[str] = set()
        self._recent: list[int] = []  # times at which the newest events became known
        logged = [log.times for log in artifact.history.logs.values() if len(log.times)]
        # The times at which the history's first and last event became known.
        self._first = min((int(times.min()) for times in logged), default=None)
        self._last = artifact.as_of
        self._set_coverage()
        self._time = artifact.contract.decision.time_column
        self._lead = artifact.contract.decision.lead_seconds
        get = itemgetter(*artifact.features)
        self._feature_values = get if len(artifact.features) > 1 else lambda features: (get(features),)
        self._categories = tuple(artifact.categories.items())

    def continue_from(self, other: "Engine") -> None:
        """Take over the history of the engine that served before."""
        self.history, self._first, self._last = other.history, other._first, other._last  # noqa: SLF001
        self._set_coverage()

    def logged_events(self, kind: str, event: Row) -> list[LoggedEvent]:
        """Return the entries that an event adds to the history; timestamps are epoch seconds."""
        return self.definitions.logged(kind, event, self.artifact.reference)

    def observe(self, kind: str, event: Row) -> None:
        """Add an event to the history; timestamps are epoch seconds."""
        self.add_events(self.logged_events(kind, event))

    def add_events(self, events: Iterable[LoggedEvent]) -> None:
        """Add events to the history, and drop those too old for every window."""
        self._stale, now = True, time.time()
        for event in events:
            self.history.add(event)
            self._recent.append(int(event.at))
            if self._last < event.at <= now:
                self._last = int(event.at)
        if len(self._recent) >= RECENT:
            before = int(min(time.time(), *self._recent)) - self._retention
            self._recent.clear()
            if before >= self.history.forgotten + DAY:
                self.history.forget(before)
        self._set_coverage()

    def features(self, row: Row) -> dict[str, float | str]:
        """Return one row's features before encoding, as of its decision time."""
        at = row[self._time] - self._lead
        inputs = self.artifact.sets, row, at, self.history, self.artifact.reference
        try:
            return self.definitions.compute(*inputs)
        except UNDEFINED:
            features, undefined = self.definitions.compute_undefined(*inputs)
        for name in undefined - self._reported:
            logger.warning("the feature %s has no value for some rows: it is treated as missing there", name)
        self._reported |= undefined
        self.undefined.update(undefined)
        return {name: features.get(name, UNKNOWN) for name in self.artifact.features}

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        """Predict rows from the events observed so far; timestamps are epoch seconds."""
        if self.prefers_columns(len(rows)):
            return self.predict_columns(rows)
        return [self._predict_row(row) for row in rows]

    def prefers_columns(self, rows: int) -> bool:
        """Whether this number of rows is scored faster column by column than row by row."""
        return rows >= (MANY_STALE if self._stale else MANY)

    def predict_columns(self, rows: Sequence[Row]) -> list[Any]:
        """Predict rows column by column.

        Only one thread may call this at a time; another may call `predict` with few rows meanwhile.
        """
        self._stale = False
        columns = columns_of({name: [row[name] for row in rows] for name in rows[0]})
        at = columns[self._time] - self._lead
        predictions = self._score_columns(columns, at)
        for index in np.flatnonzero((at < self._begin) | (at > self._end)).tolist():
            predictions[index] = self._with_history_gap(predictions[index], rows[index])
        return predictions

    def explain(self, rows: Sequence[Features], predictions: Sequence[Any]) -> list[Any]:
        """Return the predictions with their explanations, which are exact Shapley values."""
        artifact, names = self.artifact, self.artifact.features
        if not self._explainers:
            self._explainers = self.scorer.explainers()
        explained = []
        for features, prediction in zip(rows, predictions, strict=True):
            encoded = encode(features, artifact.categories)
            values = np.array([encoded[name] for name in names], dtype=float)
            contributions, average = np.zeros(len(names)), 0.0
            weights = artifact.calibration.weights(self.form.forecast(prediction))
            # A regression model may have only the score of the expected value; the other weights are 0.
            for weight, explainer in zip(weights, self._explainers, strict=False):
                if weight:
                    contributions += weight * explainer.contributions(values)
                    average += weight * explainer.base
            top = strongest(contributions, REASONS).tolist()
            listed = [(names[i], _json_value(features[names[i]]), contributions[i].item()) for i in top]
            rest = float(contributions.sum() - contributions[top].sum())
            reasons = self.form.reasons(prediction, average, listed, rest)
            explained.append(replace(prediction, reasons=reasons))
        return explained

    def _predict_row(self, row: Row) -> Any:
        features = self.features(row)
        unknown: tuple[str, ...] = ()
        for name, codes in self._categories:
            code = codes.get(features[name])  # type: ignore[arg-type]
            if code is None:
                unknown += (name,)
                code = UNKNOWN
            features[name] = code
        prediction = self._answer(self.scorer.forecast_one(self._feature_values(features)), unknown)
        return self._with_history_gap(prediction, row)

    def _with_history_gap(self, prediction: Any, row: Row) -> Any:
        """Add the hours between the decision and the period that the history covers, if it lies outside."""
        at = row[self._time] - self._lead
        if self._begin <= at <= self._end:
            return prediction
        seconds = at - (self._last if at > self._last else self._begin)
        return replace(prediction, history_gap_hours=round(seconds / HOUR, 1))

    def _set_coverage(self) -> None:
        """Set the period of decisions for which the history is complete and recent enough."""
        if self._first is None:
            self._begin, self._end = -math.inf, math.inf
            return
        lookback = round(self.definitions.lookback_hours * HOUR)
        self._begin = min(max(self._first, self.history.forgotten) + lookback, self._last)
        self._end = self._last + round(max(GAP_HOURS, self.definitions.lookback_hours / 10) * HOUR)

    def _score_columns(self, columns: Mapping[str, Any], at: Ints) -> list[Any]:
        encoded, rows = _encoded(self.artifact, self.definitions, columns, at, self.history.table())
        margins = self.scorer.margins(rows).tolist()
        # Row by row: numpy's exp may differ in the last bit, and the number of rows must not change a result.
        forecasts = map(self.artifact.calibration.forecast_one, margins)
        unknown: dict[int, tuple[str, ...]] = {}
        for name, _ in self._categories:
            for row in np.flatnonzero(np.isnan(encoded[name])).tolist():
                unknown[row] = (*unknown.get(row, ()), name)
        return [self._answer(forecast, unknown.get(row, ())) for row, forecast in enumerate(forecasts)]


def _json_value(value: Value) -> float | str | None:
    return value if isinstance(value, str) else None if value != value else float(value)  # noqa: PLR0124 (NaN)


def predict_table(
    artifact: Artifact, definitions: FeatureDefinitions, rows: Frame, past: OfflineFeatureStore, at: Ints
) -> Floats:
    """Return the artifact's forecasts for a table of rows, each as of its decision time (epoch seconds)."""
    return artifact.scorer.forecast(_encoded(artifact, definitions, columns_of(rows), at, past)[1])


def _encoded(
    artifact: Artifact,
    definitions: FeatureDefinitions,
    columns: Mapping[str, Any],
    at: Ints,
    past: OfflineFeatureStore,
) -> tuple[Mapping[str, Any], Floats]:
    """Return the encoded features of rows, by name and as rows x features."""
    features = definitions.compute(artifact.sets, columns, at, past, artifact.reference)
    require_names(artifact, features)
    encoded = encode(features, artifact.categories)
    return encoded, matrix(encoded, artifact.features, len(at))

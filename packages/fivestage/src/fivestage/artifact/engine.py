"""The engine: decoded rows in, forecasts and decisions out. It knows nothing of HTTP."""

import time
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
from msgspec.structs import replace

from fivestage.artifact.artifact import Artifact, Parity
from fivestage.artifact.calibration import Calibrator
from fivestage.artifact.compiled_trees import SOURCE, CompiledForest
from fivestage.artifact.predictions import form_of
from fivestage.artifact.shapley import Explainer, strongest
from fivestage.artifact.tree_tables import Ensemble, UnsupportedError, forest_of
from fivestage.common.clock import DAY
from fivestage.common.columns import Floats, Ints, Row, Value
from fivestage.common.errors import UserError
from fivestage.common.native import library
from fivestage.features.definitions import FeatureDefinitions, Frame, columns_of
from fivestage.features.encoder import UNKNOWN, encode, matrix
from fivestage.features.stores import (
    HOUR,
    LoggedEvent,
    OfflineFeatureStore,
    OnlineFeatureStore,
)

MANY = 48  # rows from which on columns are faster than one row after another
MANY_STALE = 500  # the same where the history has changed since, and must be packed again for columns
TOLERANCE = 1e-9  # of margins; of large ones, a share. The same leaves are added in another order
REASONS = 5  # that are told
RECENT = 1000  # facts, of which the earliest is taken for the present: a wild date moves nothing
LATE_HOURS = 7 * 24  # requests may come a week late


class TreeScorer(Protocol):
    """What answers rows of features with margins."""

    def margin(self, values: Sequence[float]) -> Any:
        """The margin of one row: a number, or a list of one for each output."""
        ...

    def margins(self, rows: Floats) -> Floats:
        """The margins of rows x features: one a row, or rows x outputs."""
        ...


class Scorer:
    """The artifact's trees and calibration."""

    def __init__(self, models: Ensemble, calibration: Calibrator) -> None:
        self._calibration = calibration
        self._trees, self.why_slow = _run(models)  # why they are not compiled; empty when they are

    def margins(self, features: Floats) -> Floats:
        """Sums of the trees' leaves for each row of features: one, or one for each output."""
        return self._trees.margins(features)

    def forecast(self, features: Floats) -> Floats:
        """The forecast for each row of features, see `fivestage.contract.cost_model`."""
        return self._calibration.forecast(self.margins(features))

    def one(self, features: Sequence[float]) -> Any:
        """The forecast for one row of features: a number, or a list of them."""
        return self._calibration.of_one(self._trees.margin(features))

    def require(self, parity: Parity) -> None:
        """Hold the trees against the model that they were made from.

        Raises:
            UserError: when they answer otherwise, or there are no rows to ask them.
        """
        found, expected = self.margins(parity.rows), parity.margins
        if not expected.size or found.shape != expected.shape:
            raise UserError("The artifact has no answers of the original model to hold its trees against.")
        worst = float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())
        if not worst <= TOLERANCE:
            raise UserError(
                f"The trees answer otherwise than the model they were made from (by up to {worst:.2g}): "
                "train again, with the versions of treelite and scikit-learn that requirements.lock names."
            )


def _run(models: Ensemble) -> tuple[TreeScorer, str]:
    """What answers for the trees: compiled tables, or treelite's interpreter and why."""
    code = library(SOURCE)
    try:
        if code is not None:
            return CompiledForest(forest_of(models), code), ""
        why_slow = "their code could not be compiled here"
    except UnsupportedError as error:
        why_slow = str(error)
    from fivestage.artifact.treelite_checkpoint import Interpreter

    return Interpreter(models.checkpoints), why_slow


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
        self._explainers: list[Explainer] = []  # of each output, once asked for
        self._stale = True  # whether the history has changed since it was last asked by the column
        self._recent: list[int] = []  # when the last facts became known
        self._time = artifact.contract.decision.time_column
        self._lead = artifact.contract.decision.lead_seconds
        get = itemgetter(*artifact.features)
        self._names = get if len(artifact.features) > 1 else lambda features: (get(features),)
        self._categories = tuple(artifact.categories.items())

    def observe(self, kind: str, event: Row) -> None:
        """Take in one event; timestamps are epoch seconds."""
        self.learn(self.definitions.events[kind](event, self.artifact.reference))

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
        return self.definitions.compute(self.artifact.sets, row, at, self.history, self.artifact.reference)

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        """Answer rows; timestamps are epoch seconds, and the past is what has been observed."""
        if len(rows) < (MANY_STALE if self._stale else MANY):
            return [self._one(row) for row in rows]
        self._stale = False
        columns = columns_of({name: [row[name] for row in rows] for name in rows[0]})
        return self._many(columns, columns[self._time] - self._lead)

    def explain(self, rows: Sequence[Row], found: Sequence[Any]) -> list[Any]:
        """The same predictions with what moved them: exact Shapley values of the trees.

        Raises:
            UnsupportedError: when the model cannot be explained.
        """
        artifact, names = self.artifact, self.artifact.features
        if not self._explainers:
            self._explainers = [Explainer(output, len(names)) for output in artifact.models.outputs]
        explained = []
        for row, prediction in zip(rows, found, strict=True):
            features = self.features(row)
            encoded = encode(features, artifact.categories)
            values = np.array([encoded[name] for name in names], dtype=float)
            added, average = np.zeros(len(names)), 0.0
            weights = artifact.calibration.weights(self.form.forecast(prediction))
            for weight, explainer in zip(weights, self._explainers, strict=True):
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

"""Loads a model version and verifies it before it serves."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fivestage.artifact.artifact import Artifact, load_artifact
from fivestage.artifact.engine import MANY, Engine
from fivestage.common.errors import UserError
from fivestage.features.definitions import FeatureDefinitions
from fivestage.features.stores import LoggedEvent, UnlearnableEventError
from fivestage.serving.decoders import Intake, Plain, events_intake, rows_intake
from fivestage.serving.served_version import ServedVersion

logger = logging.getLogger("serving")


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded version with all that a request needs; a request finishes on the version it started with."""

    version: str
    digest: str
    engine: Engine
    rows: Intake
    events: Intake

    @property
    def artifact(self) -> Artifact:
        """The artifact of the version."""
        return self.engine.artifact

    async def predict_between(self, rows: Sequence[Plain]) -> list[Any]:
        """Predict rows in small groups and let other tasks of the event loop run in between."""
        predictions: list[Any] = []
        for start in range(0, len(rows), MANY - 1):  # the engine predicts larger groups by column
            predictions += self.engine.predict(rows[start : start + MANY - 1])
            await asyncio.sleep(0)
        return predictions

    def describe(self) -> dict[str, Any]:
        """Describe the version and its artifact."""
        artifact = self.artifact
        return {
            "version": self.version,
            "digest": self.digest,
            "as_of": artifact.as_of,
            "trained_until": artifact.trained_until,
            "calibration": asdict(artifact.calibration),
            "sets": artifact.sets,
            "features": artifact.features,
            "reach_hours": self.engine.definitions.lookback_hours,
            "forgotten": self.engine.history.forgotten,  # events up to here are no longer kept, epoch seconds
            "lineage": asdict(artifact.lineage),
            "trees": self.engine.scorer.why_slow or "compiled",
            "tolerance": self.engine.scorer.tolerance,
            "contract": {
                "name": artifact.contract.name,
                "digest": artifact.contract.digest,
                "decision": artifact.contract.decision.model_dump(),
                "costs": artifact.contract.costs.model_dump(),
            },
        }


def load_model(named: ServedVersion, definitions: FeatureDefinitions) -> Model:
    """Load a version and verify that it predicts as it did when it was packaged.

    Raises:
        UserError: If the artifact is damaged, has another digest, or predicts differently.
    """
    artifact = load_artifact(named.folder, named.digest)
    rows = rows_intake(artifact.contract)
    model = Model(
        named.version, named.digest, Engine(artifact, definitions), rows, events_intake(artifact.contract)
    )
    model.engine.scorer.require_parity(artifact.parity)
    forecast = model.engine.form.forecast
    observed = [forecast(one) for one in model.engine.predict([smoke.row for smoke in artifact.smoke])]
    expected = [smoke.forecast for smoke in artifact.smoke]
    tolerance = model.engine.scorer.tolerance
    if not np.allclose(observed, expected, rtol=tolerance, atol=tolerance):
        worst = float(np.max(np.abs(np.subtract(observed, expected))))
        raise UserError(
            f"Version {named.version} predicts its smoke-test rows differently than when it was packaged (by "
            f"up to {worst:.2g}): the code of features or trees has changed. Train a new version."
        )
    return model


def replay_events(model: Model, logged: Iterable[tuple[int, str, str]], after: int, since: int) -> int:
    """Replay logged events numbered above `after` and known after `since`; return the last number."""
    for number, kind, body in logged:
        if number > after:
            learn_event(model, number, kind, model.events.read(body.encode())[0], since)
            after = number
    return after


def learn_event(
    model: Model,
    number: int,
    kind: str,
    event: Plain,
    since: int,
    logged_events: Sequence[LoggedEvent] | None = None,
) -> None:
    """Add an event to the history if it was known after `since`; `logged_events` are its entries."""
    if model.artifact.contract.events[kind].known_at(event) > since:
        try:
            if logged_events is None:
                logged_events = model.engine.logged_events(kind, event)
            model.engine.add_events(logged_events)
        except UnlearnableEventError as error:  # logged by a version that could learn it
            logger.warning("skipped event %d: %s", number, error)

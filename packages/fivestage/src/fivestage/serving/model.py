"""A version made ready to serve, or refused."""

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
    """A version with all that a request needs; a request finishes on the one it started with."""

    version: str
    digest: str
    engine: Engine
    rows: Intake
    events: Intake

    @property
    def artifact(self) -> Artifact:
        """What the version was made from."""
        return self.engine.artifact

    async def predict_between(self, rows: Sequence[Plain]) -> list[Any]:
        """Answer rows a few at a time: other work of the event loop comes between."""
        found: list[Any] = []
        for start in range(0, len(rows), MANY - 1):  # of more the engine would ask by the column
            found += self.engine.predict(rows[start : start + MANY - 1])
            await asyncio.sleep(0)
        return found

    def describe(self) -> dict[str, Any]:
        """What it is, and what it was made from."""
        artifact = self.artifact
        return {
            "version": self.version,
            "digest": self.digest,
            "as_of": artifact.as_of,
            "trained_until": artifact.trained_until,
            "calibration": asdict(artifact.calibration),
            "sets": artifact.sets,
            "features": artifact.features,
            "reach_hours": self.engine.definitions.reach_hours,
            "forgotten": self.engine.history.forgotten,  # nothing up to here is known any more, epoch seconds
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
    """Read a version and prove that it answers as it did when it was made.

    Raises:
        UserError: when it is damaged, is not the version that was meant, or answers otherwise.
    """
    artifact = load_artifact(named.folder, named.digest)
    rows = rows_intake(artifact.contract)
    model = Model(
        named.version, named.digest, Engine(artifact, definitions), rows, events_intake(artifact.contract)
    )
    model.engine.scorer.require_parity(artifact.parity)
    forecast = model.engine.form.forecast
    found = [forecast(one) for one in model.engine.predict([smoke.row for smoke in artifact.smoke])]
    wanted = [smoke.forecast for smoke in artifact.smoke]
    tolerance = model.engine.scorer.tolerance
    if not np.allclose(found, wanted, rtol=tolerance, atol=tolerance):
        worst = float(np.max(np.abs(np.subtract(found, wanted))))
        raise UserError(
            f"Version {named.version} answers its smoke rows otherwise than when it was made (by up to "
            f"{worst:.2g}): its features or trees are not those of this service."
        )
    return model


def replay_events(model: Model, logged: Iterable[tuple[int, str, str]], after: int, since: int) -> int:
    """Learn logged events, numbered above `after` and known later than `since`; returns the last number."""
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
    facts: Sequence[LoggedEvent] | None = None,
) -> None:
    """Learn a logged event if it was known later than `since`; `facts`: what it adds, where known."""
    if model.artifact.contract.events[kind].known_at(event) > since:
        try:
            model.engine.add_events(model.engine.logged_events(kind, event) if facts is None else facts)
        except UnlearnableEventError as error:  # logged by a version that took it
            logger.warning("event %d is skipped: %s", number, error)

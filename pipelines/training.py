"""Stages 2 and 3: from raw tables to a champion, and its justification."""

from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from steps.data.adapters import featurise, ingest, probe
from steps.model.adapters import build, choose, contest, crown, examine
from steps.report.adapters import tell_model


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def training(data: str, registry: str, as_of: str, champion: str, tried: list[dict[str, Any]]) -> None:
    """Train as of a day on the data with this hash; the challenger meets the champion."""
    rows, world, _ = ingest(data)
    features = featurise(rows, world)
    probes = probe(rows, world, features, as_of)
    selection = choose(rows, features, as_of, tried)
    version = build(rows, world, features, selection, as_of, data, registry)
    verdict = contest(rows, features, version, probes, as_of, champion)
    crown(version, verdict)


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def evaluation(data: str, registry: str, version: str) -> None:
    """A version on the frozen test window, what each feature set brings, and the model card."""
    rows, world, _ = ingest(data)
    features = featurise(rows, world)
    tell_model(version, examine(rows, world, features, version, registry))

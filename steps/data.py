"""ZenML steps of stage 2."""

from typing import Annotated, Any

import pandas as pd
from zenml import step

from fivestage.common import settings
from fivestage.data.event_tables import EventTables, IngestReport
from fivestage.data.partitioned import Stored
from fivestage.orchestration import caching
from fivestage.training.leakage_probes import LeakageProbes
from problem import PROBLEM

QUARANTINE = settings.VAR / "quarantine"


@step(cache_policy=caching.DATA_CACHE)
def ingest(
    data: str,
) -> tuple[
    Annotated[pd.DataFrame, "rows"],
    Annotated[EventTables, "event_tables"],
    Annotated[IngestReport, "ingested"],
]:
    """Clean the raw tables and validate them against the contract; rows that violate it are quarantined.

    `data` is the hash of the raw files: when it changes, ZenML does not use its cached outputs.
    """
    rows, event_tables, ingested = EventTables.ingest(
        PROBLEM.load(PROBLEM.contract), PROBLEM.contract, QUARANTINE / data[:12], data
    )
    return rows, event_tables, ingested  # three names, as ZenML parses this line for the outputs


@step(cache_policy=caching.DATA_CACHE)
def featurise(rows: pd.DataFrame, event_tables: EventTables) -> Annotated[pd.DataFrame, "features"]:
    """Compute the features of every row from what was known at its decision time."""
    return event_tables.features_of(rows, PROBLEM.features)


@step(cache_policy=caching.DATA_CACHE)
def store(data: str) -> Annotated[Stored, "stored"]:
    """Do the same as `ingest` for partitioned raw tables; rows and events stay on disk."""
    return Stored.ingest(PROBLEM, QUARANTINE / data[:12], data)


@step(cache_policy=caching.DATA_CACHE)
def featurise_stored(stored: Stored) -> Annotated[Stored, "featurised"]:
    """Do the same as `featurise`, a few periods at a time; the features are stored next to the rows."""
    stored.featurise(PROBLEM)
    return stored


@step(cache_policy=caching.DATA_CACHE)
def draw(
    stored: Stored, as_of: str, until: str
) -> tuple[
    Annotated[pd.DataFrame, "rows"],
    Annotated[EventTables, "event_tables"],
    Annotated[IngestReport, "ingested"],
    Annotated[pd.DataFrame, "features"],
]:
    """Sample as many rows decided before `until` as memory holds, and return them with their features."""
    rows, event_tables, features = stored.draw(PROBLEM, as_of, until)
    ingested = stored.ingested
    return rows, event_tables, ingested, features  # names, as ZenML parses this line for the outputs


def prepare_data(data: str, as_of: str, until: str) -> tuple[Any, Any, Any, Any]:
    """Add the steps that make rows, events, counts and features; partitioned tables are sampled to fit."""
    if PROBLEM.parts():
        sampled: tuple[Any, Any, Any, Any] = draw(featurise_stored(store(data)), as_of, until)
        return sampled
    rows, event_tables, ingested = ingest(data)
    return rows, event_tables, ingested, featurise(rows, event_tables)


@step(cache_policy=caching.MODEL_CACHE)
def probe_feature_code(
    rows: pd.DataFrame, event_tables: EventTables
) -> Annotated[LeakageProbes, "code_probes"]:
    """Run the leakage probe of the feature code, whose result does not depend on the training day."""
    return LeakageProbes.of_features(PROBLEM, rows, event_tables)


@step(cache_policy=caching.MODEL_CACHE)
def probe_for_leakage(
    rows: pd.DataFrame, features: pd.DataFrame, code_probes: LeakageProbes, as_of: str
) -> Annotated[LeakageProbes, "probes"]:
    """Run the remaining leakage probes, which fail if the features contain anything from the future."""
    return code_probes.with_data(PROBLEM.contract, rows, features, as_of)

"""ZenML steps of stage 2."""

from typing import Annotated, Any

import pandas as pd
from zenml import step

from fivestage.common import settings
from fivestage.contract.contract import epoch_of
from fivestage.data.event_tables import EventTables, IngestReport, ingest_tables
from fivestage.data.partitioned import Stored
from fivestage.data.sampling import draw_rows
from fivestage.data.splits import windows_at
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
    """Raw tables, cleaned and held against the contract; what breaks it goes to quarantine.

    `data` is the hash of the raw files: another one, and nothing is taken from the cache.
    """
    rows, event_tables, ingested = ingest_tables(
        PROBLEM.load(PROBLEM.contract), PROBLEM.contract, QUARANTINE / data[:12], data
    )
    return rows, event_tables, ingested  # spelled out: ZenML reads the outputs off this line


@step(cache_policy=caching.DATA_CACHE)
def featurise(rows: pd.DataFrame, event_tables: EventTables) -> Annotated[pd.DataFrame, "features"]:
    """What was known of every row at its decision time."""
    return event_tables.features_of(rows, PROBLEM.features)


@step(cache_policy=caching.DATA_CACHE)
def store(data: str) -> Annotated[Stored, "stored"]:
    """The same as `ingest` for raw tables in parts; rows and events stay where they lie."""
    return Stored.ingest(PROBLEM, QUARANTINE / data[:12], data)


@step(cache_policy=caching.DATA_CACHE)
def featurise_stored(stored: Stored) -> Annotated[Stored, "featurised"]:
    """The same as `featurise`, some periods at a time; the features lie beside the rows."""
    stored.featurise(PROBLEM)
    return stored


@step(cache_policy=caching.DATA_CACHE)
def draw(
    stored: Stored, as_of: str, until: str
) -> tuple[
    Annotated[pd.DataFrame, "rows"],
    Annotated[EventTables, "event_tables"],
    Annotated[pd.DataFrame, "features"],
]:
    """As many rows as memory holds, of those decided before a day, and their features."""
    rows, event_tables, features = draw_rows(stored, PROBLEM, epoch_of(as_of), epoch_of(until))
    return rows, event_tables, features


def in_memory(data: str, as_of: str, until: str) -> tuple[Any, Any, Any]:
    """Rows, events and features, in a pipeline; of tables in parts, as many as memory holds till a day."""
    if PROBLEM.parts():
        drawn: tuple[Any, Any, Any] = draw(featurise_stored(store(data)), as_of, until)
        return drawn
    rows, event_tables, _ = ingest(data)
    return rows, event_tables, featurise(rows, event_tables)


@step(cache_policy=caching.MODEL_CACHE)
def probe_features(rows: pd.DataFrame, event_tables: EventTables) -> Annotated[LeakageProbes, "probed"]:
    """The leakage probe of the features' code, which is the same as of any day."""
    return LeakageProbes.of_features(PROBLEM, rows, event_tables)


@step(cache_policy=caching.MODEL_CACHE)
def probe(
    rows: pd.DataFrame, features: pd.DataFrame, probed: LeakageProbes, as_of: str
) -> Annotated[LeakageProbes, "probes"]:
    """All leakage probes: each would fail if anything of the future were in the features."""
    windows = windows_at(rows, PROBLEM.contract.split, epoch_of(as_of))
    return probed.with_data(PROBLEM.contract, rows, features, windows)

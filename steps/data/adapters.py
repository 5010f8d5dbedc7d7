"""ZenML steps of stage 2."""

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
from zenml import step

from core.contract import day, epoch, load_contract
from core.settings import VAR
from problem.dataset import load
from report.results import Probe
from steps.caching import depends_on
from steps.data.features import build_features
from steps.data.probes import (
    future_is_unseen,
    shuffled_labels_give_chance,
    target_is_not_rebuilt,
    windows_do_not_overlap,
)
from steps.data.split import Windows, cut
from steps.data.world import Ingested, World, ingest_tables
from steps.lineage import MODEL_ROOMS
from steps.materializers import FrameMaterializer, RecordMaterializer
from steps.model.fit import feature_matrix, learn_categories, trees_learn

QUARANTINE = VAR / "quarantine"
DATA = depends_on("core", "problem", "serving", "steps/data")  # features run through the engine
MODEL = depends_on(*MODEL_ROOMS)


@dataclass(frozen=True)
class Probes:
    """What each leakage probe found."""

    found: tuple[Probe, ...]


@step(
    cache_policy=DATA,
    output_materializers={
        "rows": FrameMaterializer,
        "world": RecordMaterializer,
        "ingested": RecordMaterializer,
    },
)
def ingest(
    data: str,
) -> tuple[Annotated[pd.DataFrame, "rows"], Annotated[World, "world"], Annotated[Ingested, "ingested"]]:
    """Raw tables, cleaned and held against the contract; what breaks it goes to quarantine.

    `data` is the hash of the raw files: another one, and nothing is taken from the cache.
    """
    rows, world, ingested = ingest_tables(load(), load_contract(), QUARANTINE / data[:12], data)
    return rows, world, ingested  # spelled out: ZenML reads the outputs off this line


@step(cache_policy=DATA, output_materializers=FrameMaterializer)
def featurise(rows: pd.DataFrame, world: World) -> Annotated[pd.DataFrame, "features"]:
    """What was known of every row at its decision time."""
    return build_features(rows, world.events, world.reference)


@step(cache_policy=MODEL, output_materializers=RecordMaterializer)
def probe(
    rows: pd.DataFrame, world: World, features: pd.DataFrame, as_of: str
) -> Annotated[Probes, "probes"]:
    """Leakage probes: each would fail if anything of the future were in the features."""
    contract = load_contract()
    windows = windows_at(rows, as_of)
    label = rows[contract.label.name].to_numpy()
    train = features.iloc[windows.train]
    numbers = feature_matrix(features, learn_categories(train))
    return Probes(
        (
            future_is_unseen(
                lambda some, events: build_features(some, events, world.reference),
                rows,
                world.events,
                contract,
            ),
            target_is_not_rebuilt(train, label[windows.train], contract.gates.suspicious_roc_auc),
            shuffled_labels_give_chance(trees_learn, numbers, label, windows),
            windows_do_not_overlap(rows["decision_at"].to_numpy(), rows["known_at"].to_numpy(), windows),
        )
    )


def windows_at(rows: pd.DataFrame, as_of: str) -> Windows:
    """The contract's windows as they stand at the start of a day (ISO date, UTC)."""
    split = load_contract().split
    return cut(rows["decision_at"].to_numpy(), rows["known_at"].to_numpy(), split, epoch(day(as_of)))

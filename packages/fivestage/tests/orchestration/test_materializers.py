from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from zenml.artifact_stores import LocalArtifactStore, LocalArtifactStoreConfig
from zenml.enums import StackComponentType
from zenml.materializers.dataclass_materializer import DataclassMaterializer
from zenml.materializers.materializer_registry import materializer_registry

from fivestage.data.event_tables import EventTables, IngestReport
from fivestage.data.partitioned import Stored
from fivestage.evaluation.gates import GateVerdict
from fivestage.orchestration.materializers import EventTablesMaterializer, FrameMaterializer
from fivestage.registry.versions import Version
from fivestage.training.leakage_probes import LeakageProbes
from fivestage.training.version_evaluation import VersionEvaluation


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    now = datetime.now(tz=UTC)
    return LocalArtifactStore(
        name="test",
        id=uuid4(),
        config=LocalArtifactStoreConfig(path=str(tmp_path)),
        flavor="local",
        type=StackComponentType.ARTIFACT_STORE,
        user=None,
        created=now,
        updated=now,
    )


def frame(count: int = 50) -> pd.DataFrame:
    numbers = np.arange(count, dtype=np.float64)
    numbers[3] = np.nan
    return pd.DataFrame(
        {
            "number": numbers,
            "whole": np.arange(count, dtype=np.int64),
            "flag": numbers > 7,
            "text": pd.Series(["EWR", None] * (count // 2)),
            "kind": pd.Categorical(["a", "b"] * (count // 2)),
        },
        index=pd.Index(np.arange(count)[::-1], name="leg"),
    )


def test_a_frame_comes_back_as_it_was(store: LocalArtifactStore, tmp_path: Path) -> None:
    FrameMaterializer(str(tmp_path), store).save(frame())
    pd.testing.assert_frame_equal(FrameMaterializer(str(tmp_path), store).load(pd.DataFrame), frame())


def test_what_a_step_writes_into_a_frame_the_next_one_does_not_see(
    store: LocalArtifactStore, tmp_path: Path
) -> None:
    FrameMaterializer(str(tmp_path), store).save(frame())
    spoiled = FrameMaterializer(str(tmp_path), store).load(pd.DataFrame)
    spoiled.loc[:, "number"] = 0.0
    spoiled["more"] = 1
    pd.testing.assert_frame_equal(FrameMaterializer(str(tmp_path), store).load(pd.DataFrame), frame())


def test_event_tables_come_back_as_they_were(store: LocalArtifactStore, tmp_path: Path) -> None:
    events = {"landing": frame(10), "weather": frame(20).drop(columns="kind").iloc[:0]}
    tables = EventTables(events, {"lat": {"JFK": 40.7}, "region": {"JFK": "north"}}, since=7)
    EventTablesMaterializer(str(tmp_path), store).save(tables)
    again = EventTablesMaterializer(str(tmp_path), store).load(EventTables)
    assert list(again.events) == ["landing", "weather"]
    for kind, expected in events.items():
        pd.testing.assert_frame_equal(again.events[kind], expected)
    assert (again.reference, again.since) == (tables.reference, tables.since)


def test_the_hash_follows_the_content(store: LocalArtifactStore, tmp_path: Path) -> None:
    def content_hash(data: pd.DataFrame) -> str | None:
        materializer = FrameMaterializer(str(tmp_path), store)
        materializer.save(data)
        return materializer.compute_content_hash(data)

    touched = frame()
    touched.loc[0, "number"] = 0.5
    assert content_hash(frame()) == content_hash(frame())
    assert content_hash(frame()) != content_hash(touched)


def test_they_are_the_defaults_and_other_records_are_stored_as_json() -> None:
    assert materializer_registry[pd.DataFrame] is FrameMaterializer
    assert materializer_registry[EventTables] is EventTablesMaterializer
    for record in (IngestReport, Stored, LeakageProbes, Version, GateVerdict, VersionEvaluation):
        assert materializer_registry[record] is DataclassMaterializer

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from zenml.artifact_stores import LocalArtifactStore, LocalArtifactStoreConfig
from zenml.enums import StackComponentType
from zenml.materializers.materializer_registry import materializer_registry

from fivestage.orchestration.materializers import FrameMaterializer, RecordMaterializer


@dataclass(frozen=True)
class Part:
    name: str
    at: tuple[float, float]


@dataclass(frozen=True)
class Record:
    events: dict[str, pd.DataFrame]
    parts: tuple[Part, ...]
    counts: dict[str, float]


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


def test_a_record_of_frames_comes_back_as_it_was(store: LocalArtifactStore, tmp_path: Path) -> None:
    record = Record(
        events={"landing": frame(10), "weather": frame(20).drop(columns="kind").iloc[:0]},
        parts=(Part("one", (40.7, -74.2)),),
        counts={"bad": 3.0},
    )
    RecordMaterializer(str(tmp_path), store).save(record)
    again = RecordMaterializer(str(tmp_path), store).load(Record)

    assert isinstance(again, Record)
    assert list(again.events) == ["landing", "weather"]
    pd.testing.assert_frame_equal(again.events["landing"], record.events["landing"])
    pd.testing.assert_frame_equal(again.events["weather"], record.events["weather"])
    assert (again.parts, again.counts) == (record.parts, record.counts)


def test_the_hash_follows_the_content(store: LocalArtifactStore, tmp_path: Path) -> None:
    def content_hash(data: pd.DataFrame) -> str | None:
        materializer = FrameMaterializer(str(tmp_path), store)
        materializer.save(data)
        return materializer.compute_content_hash(data)

    touched = frame()
    touched.loc[0, "number"] = 0.5
    assert content_hash(frame()) == content_hash(frame())
    assert content_hash(frame()) != content_hash(touched)


def test_it_is_the_default_for_frames() -> None:
    assert materializer_registry[pd.DataFrame] is FrameMaterializer


def test_a_record_needs_not_be_named_by_the_step_and_anything_else_is_pickled(
    store: LocalArtifactStore, tmp_path: Path
) -> None:
    assert materializer_registry[Record] is RecordMaterializer
    assert materializer_registry[pd.DataFrame] is FrameMaterializer
    other = RecordMaterializer(str(tmp_path), store)
    other.save(range(3))
    assert other.compute_content_hash(range(3)) is None  # so it is never taken for another one's
    assert RecordMaterializer(str(tmp_path), store).load(range) == range(3)

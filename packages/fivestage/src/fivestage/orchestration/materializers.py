"""Store frames and event tables between steps as Parquet, with a hash, without plots or statistics.

ZenML caches by the hash: if a step runs again with the same result, the steps after it stay cached.
"""

import hashlib
import json
from functools import lru_cache
from typing import Any, ClassVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from zenml.artifact_stores import BaseArtifactStore
from zenml.enums import ArtifactType
from zenml.materializers.base_materializer import BaseMaterializer
from zenml.materializers.materializer_registry import materializer_registry

from fivestage.data.event_tables import EventTables
from fivestage.data.partitions import parquet_of

_FRAME = "frame.parquet"
_RECORD = "record.json"


def _decoded(content: bytes) -> pd.DataFrame:
    # More threads take three times the CPU for the same columns.
    table = pq.read_table(pa.BufferReader(content), use_threads=False)
    frame: pd.DataFrame = table.to_pandas(use_threads=False)
    return frame


# Several steps load the same rows and features; for a year of data, comparing bytes is faster than decoding.
_frame_of = lru_cache(maxsize=2)(_decoded)


class _HashedFiles(BaseMaterializer):
    """A materializer that hashes the files of an artifact while it saves them."""

    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA
    SKIP_REGISTRATION: ClassVar[bool] = True

    def __init__(self, uri: str, artifact_store: BaseArtifactStore | None = None) -> None:
        super().__init__(uri, artifact_store)
        self._digest = hashlib.sha256()

    def compute_content_hash(self, data: Any) -> str | None:  # noqa: ARG002 - ZenML calls it after `save`
        return self._digest.hexdigest()

    def _write(self, name: str, content: pa.Buffer | bytes) -> None:
        self._digest.update(name.encode())
        self._digest.update(content)
        with self.artifact_store.open(f"{self.uri}/{name}", "wb") as file:
            file.write(content)

    def _read(self, name: str) -> bytes:
        with self.artifact_store.open(f"{self.uri}/{name}", "rb") as file:
            content: bytes = file.read()
        return content


class FrameMaterializer(_HashedFiles):
    """Stores a data frame; the default for `pd.DataFrame` once this module is imported."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (pd.DataFrame,)
    SKIP_REGISTRATION: ClassVar[bool] = True

    def save(self, data: pd.DataFrame) -> None:
        self._write(_FRAME, parquet_of(data))

    def load(self, data_type: type[Any]) -> pd.DataFrame:  # noqa: ARG002 - ZenML's signature
        return _frame_of(self._read(_FRAME)).copy(deep=False)  # pandas copies on write


class EventTablesMaterializer(_HashedFiles):
    """Stores tables of events; ZenML itself stores other dataclasses, as JSON."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (EventTables,)
    SKIP_REGISTRATION: ClassVar[bool] = True

    def save(self, data: EventTables) -> None:
        for kind, frame in data.events.items():
            self._write(f"{kind}.parquet", parquet_of(frame))
        record = {"events": list(data.events), "reference": data.reference, "since": data.since}
        self._write(_RECORD, json.dumps(record).encode())

    def load(self, data_type: type[Any]) -> EventTables:  # noqa: ARG002 - ZenML's signature
        record = json.loads(self._read(_RECORD))
        frames = {kind: _decoded(self._read(f"{kind}.parquet")) for kind in record["events"]}
        return EventTables(frames, record["reference"], record["since"])


materializer_registry.register_and_overwrite_type(pd.DataFrame, FrameMaterializer)
materializer_registry.register_and_overwrite_type(EventTables, EventTablesMaterializer)

"""Store frames and records between steps as Parquet and JSON, with a hash, without plots or statistics.

ZenML caches by the hash: if a step runs again with the same result, the steps after it stay cached.
"""

import hashlib
import json
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, ClassVar, get_type_hints

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter
from zenml.artifact_stores import BaseArtifactStore
from zenml.enums import ArtifactType
from zenml.materializers.base_materializer import BaseMaterializer
from zenml.materializers.cloudpickle_materializer import CloudpickleMaterializer
from zenml.materializers.materializer_registry import materializer_registry

from fivestage.data.partitions import parquet_of

_FRAME = "frame.parquet"
_RECORD = "record.json"
_FRAMES = dict[str, pd.DataFrame]


def _decoded(content: bytes) -> pd.DataFrame:
    frame: pd.DataFrame = pq.read_table(pa.BufferReader(content)).to_pandas()
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


class RecordMaterializer(_HashedFiles):
    """Stores a dataclass whose fields are dictionaries of frames, or can be written as JSON.

    The default for all types that ZenML would pickle; those that are not dataclasses are still pickled.
    """

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (object,)
    SKIP_REGISTRATION: ClassVar[bool] = True

    def save(self, data: Any) -> None:
        if not is_dataclass(data):
            return self._pickled.save(data)
        record: dict[str, Any] = {}
        for name, hint in _hints(type(data)).items():
            value = getattr(data, name)
            if hint == _FRAMES:
                for key, frame in value.items():
                    self._write(f"{name}.{key}.parquet", parquet_of(frame))
                record[name] = list(value)
            else:
                record[name] = TypeAdapter(hint).dump_python(value, mode="json")
        return self._write(_RECORD, json.dumps(record).encode())

    def load(self, data_type: type[Any]) -> Any:
        if not is_dataclass(data_type):
            return self._pickled.load(data_type)
        record = json.loads(self._read(_RECORD))
        return data_type(
            **{
                name: {key: _decoded(self._read(f"{name}.{key}.parquet")) for key in record[name]}
                if hint == _FRAMES
                else TypeAdapter(hint).validate_python(record[name])
                for name, hint in _hints(data_type).items()
            }
        )

    def compute_content_hash(self, data: Any) -> str | None:
        return super().compute_content_hash(data) if is_dataclass(data) else None

    @property
    def _pickled(self) -> CloudpickleMaterializer:
        return CloudpickleMaterializer(self.uri, self.artifact_store)


def _hints(record: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(record)
    return {field.name: hints[field.name] for field in fields(record)}


materializer_registry.register_and_overwrite_type(pd.DataFrame, FrameMaterializer)
materializer_registry.register_and_overwrite_type(object, RecordMaterializer)

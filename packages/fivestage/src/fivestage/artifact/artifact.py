"""The model artifact: the files that are evaluated are, byte for byte, the files that are served.

A folder of data without code or pickles: `manifest.json` (contract, features, encoders, calibration, lineage,
smoke rows), `model.npz` (trees, an additive model, or ONNX graphs), `parity.npz` (the original model's raw
scores of rows that cover every kind of value), and `history.npz` (the events known at training).

A manifest is read only if its digest is the registered one. It lists exactly these files, and no file may be
larger than `MAX_BYTES`, compressed or unpacked.
"""

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fivestage.artifact.additive import AdditiveModel
from fivestage.artifact.calibration import CALIBRATIONS, AnyCalibration
from fivestage.artifact.onnx_graphs import OnnxGraphs
from fivestage.artifact.scorer import ModelData, Parity, Scorer
from fivestage.artifact.trees import Trees
from fivestage.common.columns import Floats
from fivestage.common.errors import UserError
from fivestage.common.files import checksum_of
from fivestage.contract.contract import Contract, parse_contract
from fivestage.contract.cost_model import cost_model_of
from fivestage.features.stores import EventLog, Key, OfflineFeatureStore

FORMAT = 6
MANIFEST, MODEL, PARITY, HISTORY = "manifest.json", "model.npz", "parity.npz", "history.npz"
MAX_BYTES = 4 * 2**30  # per unpacked file; a history of some ten million events takes half of it
MAX_MANIFEST_BYTES = 64 * 2**20
_GRAPH = "graph "  # name of the array with an ONNX graph, and its number


class FormatError(UserError):
    """An artifact that this version of the code cannot load."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Digests of what a version was trained from, so that the training can be reproduced."""

    data: str
    contract: str
    lock: str
    code: str


@dataclass(frozen=True, slots=True)
class SmokeRow:
    """A request row and the forecast expected for it from the artifact and its own history."""

    row: dict[str, Any]
    forecast: tuple[float, ...]


@dataclass(frozen=True)
class Artifact:
    """Everything needed to make predictions."""

    contract: Contract
    sets: tuple[str, ...]
    features: tuple[str, ...]
    categories: Mapping[str, Mapping[str, float]]
    reference: Mapping[str, Mapping[str, Any]]
    calibration: AnyCalibration
    as_of: int  # epoch seconds; `history` has the events known until then
    trained_until: int  # epoch seconds; start of the holdout window
    lineage: Lineage
    models: ModelData
    parity: Parity
    history: OfflineFeatureStore
    smoke: tuple[SmokeRow, ...] = ()

    @cached_property
    def scorer(self) -> Scorer:
        """The calibrated models, ready to score; preparing them takes a moment, once."""
        return Scorer(self.models, self.calibration)

    def decide(self, forecast: Floats) -> NDArray[Any]:
        """Return the cheapest decisions by the artifact's contract (`fivestage.contract.cost_model`)."""
        return cost_model_of(self.contract.costs).decide(forecast)


def save_artifact(artifact: Artifact, folder: Path) -> str:
    """Write the artifact completely or not at all, and return its digest.

    Raises:
        UserError: when the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    except OSError as error:
        raise UserError(
            f"{folder.parent} cannot be written: {error.strerror}. Make it writable or choose another folder."
        ) from error
    try:
        kind, model_arrays = _model_arrays(artifact.models)
        tables = {
            MODEL: model_arrays,
            PARITY: _arrays(artifact.parity),
            HISTORY: _history_arrays(artifact.history),
        }
        for name, arrays in tables.items():
            with (scratch / name).open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
        manifest = {
            "format": FORMAT,
            "contract": artifact.contract.model_dump(mode="json"),
            "sets": artifact.sets,
            "features": artifact.features,
            "categories": artifact.categories,
            "reference": artifact.reference,
            "calibration": asdict(artifact.calibration),
            "as_of": artifact.as_of,
            "trained_until": artifact.trained_until,
            "lineage": asdict(artifact.lineage),
            "smoke": [asdict(row) for row in artifact.smoke],
            "model": {"kind": kind, "link": artifact.models.link, "single": artifact.models.single},
            "checksums": {name: checksum_of(scratch / name) for name in tables},
        }
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        scratch.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return artifact_digest(folder)


def load_artifact(folder: Path, digest: str = "") -> Artifact:
    """Load an artifact and verify its checksums.

    Args:
        folder: the artifact's folder.
        digest: SHA-256 that the manifest must have, checked before anything else is read. If empty, the
            manifest is trusted as it is, for example right after it was written.

    Returns:
        The artifact.

    Raises:
        UserError: if it is missing, damaged, not the registered one, or of another format.
    """
    try:
        content = _bounded(folder / MANIFEST, MAX_MANIFEST_BYTES).read_bytes()
        actual = hashlib.sha256(content).hexdigest()
        if digest and actual != digest:
            raise UserError(
                f"{folder} is not the artifact that was registered (digest {actual[:12]}… instead of "
                f"{digest[:12]}…). Download it again."
            )
        manifest = json.loads(content)
        if manifest["format"] != FORMAT:
            raise FormatError(
                f"{folder} has artifact format {manifest['format']}; this code reads {FORMAT}. Train again."
            )
        for name, checksum in _checksums(manifest).items():
            if checksum_of(_bounded(folder / name)) != checksum:
                raise UserError(
                    f"{folder / name} is not the file that was registered (its checksum differs)."
                )
        contract = parse_contract(json.dumps(manifest["contract"]), f"{folder / MANIFEST}: contract")
        return Artifact(
            contract=contract,
            sets=tuple(manifest["sets"]),
            features=tuple(manifest["features"]),
            categories=manifest["categories"],
            reference=manifest["reference"],
            calibration=CALIBRATIONS[contract.task](**manifest["calibration"]),
            as_of=manifest["as_of"],
            trained_until=manifest["trained_until"],
            lineage=Lineage(**manifest["lineage"]),
            models=_model(manifest["model"], _read(folder / MODEL), len(manifest["features"])),
            parity=Parity(**_read(folder / PARITY)),
            history=_history_from(_read(folder / HISTORY)),
            smoke=tuple(SmokeRow(smoke["row"], tuple(smoke["forecast"])) for smoke in manifest["smoke"]),
        )
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{folder} is not a complete artifact ({error}). Train or download it again."
        ) from error


def artifact_digest(folder: Path) -> str:
    """Return the SHA-256 of the manifest, which holds the checksums of all other files."""
    return checksum_of(folder / MANIFEST)


def _checksums(manifest: Mapping[str, Any]) -> dict[str, str]:
    checksums: dict[str, str] = manifest["checksums"]
    if set(checksums) != {MODEL, PARITY, HISTORY}:
        raise ValueError("the manifest does not list the files of an artifact")
    return checksums


def _model_arrays(model: ModelData) -> tuple[str, dict[str, NDArray[Any]]]:
    """Return a model's kind, and its content as named arrays."""
    if isinstance(model, OnnxGraphs):
        return "onnx", {f"{_GRAPH}{i}": np.frombuffer(one, np.uint8) for i, one in enumerate(model.graphs)}
    return "trees" if isinstance(model, Trees) else "additive", _arrays(model)


def _model(entry: Mapping[str, Any], arrays: dict[str, NDArray[Any]], features: int) -> ModelData:
    """Restore what `_model_arrays` has returned."""
    link, single = entry["link"], entry["single"]
    match entry["kind"]:
        case "additive":
            return AdditiveModel(**arrays)
        case "onnx":
            return OnnxGraphs(tuple(graph.tobytes() for graph in arrays.values()), features, link, single)
        case "trees":
            return Trees(**arrays, features=features, link=link, single=single)
    raise ValueError("the manifest describes an unknown kind of model")


def _arrays(record: AdditiveModel | Trees | Parity) -> dict[str, NDArray[Any]]:
    content = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: value for name, value in content.items() if isinstance(value, np.ndarray)}


def _bounded(path: Path, limit: int = MAX_BYTES) -> Path:
    """Return the path of a file, which must not be larger than the limit in bytes."""
    if path.stat().st_size > limit:
        raise ValueError(f"{path.name} is larger than {limit:,} bytes")
    return path


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
            raise ValueError(f"{path.name} unpacks to more than {MAX_BYTES:,} bytes")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _history_arrays(history: OfflineFeatureStore) -> dict[str, NDArray[Any]]:
    """Return the event logs as named arrays; keys are stored as JSON text."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, log in history.logs.items():
        arrays[f"{name}|keys"] = np.frombuffer(json.dumps(log.keys).encode(), dtype=np.uint8)
        arrays[f"{name}|additive"] = np.array(log.additive)
        arrays |= {f"{name}|{part}": getattr(log, part) for part in ("starts", "times", "values")}
    return arrays


def _history_from(arrays: Mapping[str, NDArray[Any]]) -> OfflineFeatureStore:
    """Restore what `_history_arrays` has saved."""
    logs = {}
    for name in dict.fromkeys(array.split("|")[0] for array in arrays):
        additive, starts, times, values = (
            arrays[f"{name}|{part}"] for part in ("additive", "starts", "times", "values")
        )
        keys: list[Key] = [
            tuple(key) if isinstance(key, list) else key
            for key in json.loads(arrays[f"{name}|keys"].tobytes())
        ]
        logs[name] = EventLog(keys, starts, times, values, additive=bool(additive))
    return OfflineFeatureStore(logs)

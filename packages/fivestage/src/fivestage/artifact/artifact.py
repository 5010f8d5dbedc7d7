"""The one artifact: what was evaluated is, byte for byte, what serves.

A folder of data, no code, no pickle: `manifest.json` (contract, features, encoders, calibration, lineage,
smoke rows), the model, `parity.npz` (what the original model answers to rows that try every kind of
value), `history.npz` (what was known when it was made). The model is trees (`model.treelite`, treelite's
checkpoint, and `trees.npz`, the same as arrays, which load faster), an additive model (`additive.npz`), or
ONNX (`model.onnx`).

A manifest is trusted only once its digest is the one that was registered; it names no file but these, and no
file may be larger than `MAX_BYTES`, compressed or not.
"""

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fivestage.artifact.additive import AdditiveModel
from fivestage.artifact.calibration import LINKS, AnyCalibration
from fivestage.artifact.onnx_graphs import OnnxGraphs
from fivestage.artifact.scorer import ModelData, Parity, Scorer
from fivestage.artifact.tree_tables import Ensemble, arrays_of, outputs_of
from fivestage.common.columns import Floats
from fivestage.common.errors import UserError
from fivestage.common.files import checksum_of
from fivestage.contract.contract import Contract, parse_contract
from fivestage.contract.cost_model import cost_model_of
from fivestage.features.stores import EventLog, Key, OfflineFeatureStore

FORMAT = 5
MANIFEST, MODEL = "manifest.json", "model.treelite"
TREES, ADDITIVE, PARITY, HISTORY = "trees.npz", "additive.npz", "parity.npz", "history.npz"
MAX_MODELS = 16  # of one artifact; the four of a number's forecast are the most so far
MAX_BYTES = 4 * 2**30  # of one file, unpacked; a history of some ten million events has half
MAX_MANIFEST_BYTES = 64 * 2**20
_KINDS = {"trees": "treelite", "additive": "", "onnx": "onnx"}  # of models, and how their files' names end


class FormatError(UserError):
    """An artifact that was made for another version of this code."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a version was made from, so that it can be made again."""

    data: str
    contract: str
    lock: str
    code: str


@dataclass(frozen=True, slots=True)
class SmokeRow:
    """A request row and the forecast that it must get from the artifact's own history."""

    row: dict[str, Any]
    forecast: tuple[float, ...]


@dataclass(frozen=True)
class Artifact:
    """Everything a prediction needs."""

    contract: Contract
    sets: tuple[str, ...]
    features: tuple[str, ...]
    categories: Mapping[str, Mapping[str, float]]
    reference: Mapping[str, Mapping[str, Any]]
    calibration: AnyCalibration
    as_of: int
    trained_until: int
    lineage: Lineage
    models: ModelData
    parity: Parity
    history: OfflineFeatureStore
    smoke: tuple[SmokeRow, ...] = ()

    @cached_property
    def scorer(self) -> Scorer:
        """The models and their calibration, ready to answer; to make their tables takes a while."""
        return Scorer(self.models, self.calibration)

    def decide(self, forecast: Floats) -> NDArray[Any]:
        """The decisions of its own contract, see `fivestage.contract.cost_model`."""
        return cost_model_of(self.contract.costs).decide(forecast)


def save_artifact(artifact: Artifact, folder: Path) -> str:
    """Write the artifact whole or not at all, and return its digest.

    Raises:
        UserError: when the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    except OSError as error:
        raise UserError(
            f"{folder.parent} cannot be written: {error.strerror}. Free it or name another."
        ) from error
    try:
        described, files, tables = _model_files(artifact.models)
        for name, content in files.items():
            (scratch / name).write_bytes(content)
        tables |= {
            PARITY: {"rows": artifact.parity.rows, "margins": artifact.parity.margins},
            HISTORY: _arrays(artifact.history),
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
            "model": described,
            "checksums": {name: checksum_of(scratch / name) for name in (*files, *tables)},
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
    """Read an artifact back, refusing one whose files are not those that were written.

    Args:
        folder: where it is.
        digest: what its manifest must have for a digest; nothing else is read before it has. Without one, the
            folder is trusted as it stands, as right after it was written.

    Returns:
        The artifact.

    Raises:
        UserError: when it is missing, damaged, another one, or of another format.
    """
    try:
        content = _bounded(folder / MANIFEST, MAX_MANIFEST_BYTES).read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if digest and found != digest:
            raise UserError(
                f"{folder} is not the artifact that was registered: its digest is {found[:12]}…, and "
                f"{digest[:12]}… is meant. Download it again."
            )
        manifest = json.loads(content)
        if manifest["format"] != FORMAT:
            raise FormatError(
                f"{folder} has artifact format {manifest['format']}; this code reads {FORMAT}. Train again."
            )
        names = _names_of(manifest)
        for name, checksum in manifest["checksums"].items():
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
            calibration=LINKS[contract.task](**manifest["calibration"]),
            as_of=manifest["as_of"],
            trained_until=manifest["trained_until"],
            lineage=Lineage(**manifest["lineage"]),
            models=_model(folder, manifest["model"], names, len(manifest["features"])),
            parity=Parity(**_read(folder / PARITY)),
            history=_table(_read(folder / HISTORY)),
            smoke=tuple(SmokeRow(one["row"], tuple(one["forecast"])) for one in manifest["smoke"]),
        )
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{folder} is not a whole artifact ({error}). Train or download it again.") from error


def artifact_digest(folder: Path) -> str:
    """SHA-256 of the manifest, which holds the checksums of all else."""
    return checksum_of(folder / MANIFEST)


def _model_files(
    model: ModelData,
) -> tuple[dict[str, Any], dict[str, bytes], dict[str, dict[str, NDArray[Any]]]]:
    """What the manifest says of a model, its files, and its tables."""
    match model:
        case AdditiveModel():
            return {"kind": "additive", "files": 0}, {}, {ADDITIVE: model.arrays()}
        case OnnxGraphs():
            kind, files, tables = "onnx", model.graphs, {}
        case Ensemble():
            kind, files, tables = "trees", model.checkpoints, {TREES: arrays_of(model.outputs)}
    described = {"kind": kind, "files": len(files), "link": model.link, "single": model.single}
    return described, dict(zip(_file_names(kind, len(files)), files, strict=True)), tables


def _names_of(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The files of the model that a manifest describes; it may name no others."""
    kind, files = manifest["model"]["kind"], manifest["model"]["files"]
    if kind not in _KINDS or not isinstance(files, int) or not 0 <= files <= MAX_MODELS:
        raise ValueError("the manifest describes a model of no kind that is known")
    tables = {"additive": (ADDITIVE,), "trees": (TREES,), "onnx": ()}[kind]
    names = (*_file_names(kind, files), *tables)
    if set(manifest["checksums"]) != {*names, PARITY, HISTORY}:
        raise ValueError("the manifest names other files than its model has")
    return names


def _file_names(kind: str, files: int) -> tuple[str, ...]:
    """One file for the model, or one for each of several."""
    return tuple(f"model{f'-{number}' if number else ''}.{_KINDS[kind]}" for number in range(files))


def _model(folder: Path, described: Mapping[str, Any], names: Sequence[str], features: int) -> ModelData:
    if described["kind"] == "additive":
        return AdditiveModel(**_read(folder / ADDITIVE))
    files = tuple((folder / name).read_bytes() for name in names[: described["files"]])
    link, single = described["link"], described["single"]
    if described["kind"] == "onnx":
        return OnnxGraphs(files, features, link, single)
    return Ensemble(files, outputs_of(_read(folder / TREES)), features, link, single)


def _bounded(path: Path, most: int = MAX_BYTES) -> Path:
    """The file, unless it is larger than any that was ever written."""
    if path.stat().st_size > most:
        raise ValueError(f"{path.name} is larger than {most:,} bytes")
    return path


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(path) as packed:
        if sum(one.file_size for one in packed.infolist()) > MAX_BYTES:
            raise ValueError(f"{path.name} unpacks to more than {MAX_BYTES:,} bytes")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _arrays(table: OfflineFeatureStore) -> dict[str, NDArray[Any]]:
    """The history as named arrays; keys travel as JSON text."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, log in table.logs.items():
        arrays[f"{name}|keys"] = np.frombuffer(json.dumps(log.keys).encode(), dtype=np.uint8)
        arrays[f"{name}|starts"] = log.starts
        arrays[f"{name}|times"] = log.times
        arrays[f"{name}|{'tally' if log.additive else 'reading'}"] = log.values
    return arrays


def _table(arrays: Mapping[str, NDArray[Any]]) -> OfflineFeatureStore:
    logs = {}
    for name in dict.fromkeys(array.split("|")[0] for array in arrays):
        additive = f"{name}|tally" in arrays
        keys: list[Key] = [
            tuple(key) if isinstance(key, list) else key
            for key in json.loads(arrays[f"{name}|keys"].tobytes())
        ]
        values = arrays[f"{name}|tally" if additive else f"{name}|reading"]
        logs[name] = EventLog(
            additive, tuple(keys), arrays[f"{name}|starts"], arrays[f"{name}|times"], values
        )
    return OfflineFeatureStore(logs)

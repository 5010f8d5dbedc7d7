"""The one artifact: what was evaluated is, byte for byte, what serves.

A folder of data, no code, no pickle: `manifest.json` (contract, features, encoders, calibration, lineage,
smoke rows), `model.treelite` (the trees as treelite's checkpoint), `trees.npz` (the same
as arrays, which load faster), `parity.npz` (what the original model answers to rows that try every kind of
value), `history.npz` (what was known when it was made).
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fivestage.artifact.calibration import LINKS, AnyCalibration
from fivestage.artifact.tree_tables import Ensemble, arrays_of, outputs_of
from fivestage.common.columns import Floats
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, parse_contract
from fivestage.contract.cost_model import cost_model_of
from fivestage.features.stores import EventLog, Key, OfflineFeatureStore

FORMAT = 4
MANIFEST, MODEL = "manifest.json", "model.treelite"
TREES, PARITY, HISTORY = "trees.npz", "parity.npz", "history.npz"


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


@dataclass(frozen=True, slots=True)
class Parity:
    """Encoded rows (rows x features), and their margins (rows, or rows x outputs) by the model as fitted."""

    rows: Floats
    margins: Floats


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
    models: Ensemble
    parity: Parity
    history: OfflineFeatureStore
    smoke: tuple[SmokeRow, ...] = ()

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
        models = [_model_file(number) for number in range(len(artifact.models.checkpoints))]
        for name, model in zip(models, artifact.models.checkpoints, strict=True):
            (scratch / name).write_bytes(model)
        tables = {
            TREES: arrays_of(artifact.models.outputs),
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
            "models": models,
            "checksums": {name: _checksum(scratch / name) for name in (*models, *tables)},
        }
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        scratch.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return artifact_digest(folder)


def load_artifact(folder: Path) -> Artifact:
    """Read an artifact back, refusing one whose files are not those that were written.

    Raises:
        UserError: when it is missing, damaged, or of another format.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise FormatError(
                f"{folder} has artifact format {manifest['format']}; this code reads {FORMAT}. Train again."
            )
        for name, checksum in manifest["checksums"].items():
            if _checksum(folder / name) != checksum:
                raise UserError(
                    f"{folder / name} is not the file that was registered (its checksum differs)."
                )
        trees, parity, history = (_read(folder / name) for name in (TREES, PARITY, HISTORY))
        contract = parse_contract(json.dumps(manifest["contract"]), f"{folder / MANIFEST}: contract")
        checkpoints = tuple((folder / name).read_bytes() for name in manifest["models"])
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
            models=Ensemble(checkpoints, outputs_of(trees), len(manifest["features"])),
            parity=Parity(**parity),
            history=_table(history),
            smoke=tuple(SmokeRow(one["row"], tuple(one["forecast"])) for one in manifest["smoke"]),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder} is not a whole artifact ({error}). Train or download it again.") from error


def artifact_digest(folder: Path) -> str:
    """SHA-256 of the manifest, which holds the checksums of all else."""
    return _checksum(folder / MANIFEST)


def _model_file(number: int) -> str:
    """One file for the trees, or one for each model of several."""
    return MODEL if number == 0 else f"model-{number}.treelite"


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _arrays(table: OfflineFeatureStore) -> dict[str, NDArray[Any]]:
    """The history as named arrays; keys travel as JSON text."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, log in table.logs.items():
        arrays[f"{name}|keys"] = np.frombuffer(json.dumps(log.keys).encode(), dtype=np.uint8)
        arrays[f"{name}|starts"] = log.starts
        arrays[f"{name}|times"] = log.times
        arrays[f"{name}|{'tally' if log.tally else 'reading'}"] = log.values
    return arrays


def _table(arrays: Mapping[str, NDArray[Any]]) -> OfflineFeatureStore:
    logs = {}
    for name in dict.fromkeys(array.split("|")[0] for array in arrays):
        tally = f"{name}|tally" in arrays
        keys: list[Key] = [
            tuple(key) if isinstance(key, list) else key
            for key in json.loads(arrays[f"{name}|keys"].tobytes())
        ]
        values = arrays[f"{name}|tally" if tally else f"{name}|reading"]
        logs[name] = EventLog(tally, tuple(keys), arrays[f"{name}|starts"], arrays[f"{name}|times"], values)
    return OfflineFeatureStore(logs)

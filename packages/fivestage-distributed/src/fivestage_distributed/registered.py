"""The challenger as a registered version for `make score`: a folder of data, without code or pickles."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.tracking import MlflowClient

from fivestage.artifact.artifact import MANIFEST, Lineage, artifact_digest
from fivestage.artifact.calibration import CALIBRATIONS
from fivestage.common.columns import Floats, Ints
from fivestage.common.errors import UserError
from fivestage.common.files import checksum_of
from fivestage.contract.contract import Contract, parse_contract
from fivestage.data.event_tables import EventTables
from fivestage.features.definitions import Reference
from fivestage.features.problem import Problem
from fivestage.registry.pyfunc_model import ARTIFACT
from fivestage.registry.training_runs import TrainingDetails, begin, known_numbers
from fivestage.registry.versions import MODEL, ModelRegistry, Version
from fivestage_distributed.challenger import Challenger, ChallengerConfig, ChallengerResult, gate_lines
from fivestage_distributed.configuration import ModelConfig
from fivestage_distributed.model import Transformer
from fivestage_distributed.tokens import encode, raw_fields, vocabulary_from_json, vocabulary_to_json

WEIGHTS = "weights.npz"


@dataclass(frozen=True)
class RegisteredChallenger:
    """A challenger that scores batches of raw rows (`fivestage.deployment.batch_scoring.BatchModel`)."""

    challenger: Challenger  # the trained challenger
    contract: Contract  # the contract that it was trained for
    reference: Reference  # the reference tables as of its training

    def forecast(self, problem: Problem, rows: pd.DataFrame, events: EventTables, at: Ints) -> Floats:
        """Return calibrated forecasts of rows as of their decision times (epoch seconds)."""
        store = problem.features.offline_store(events.events, self.reference)
        vocabulary = self.challenger.vocabulary
        raw = raw_fields(problem, rows.assign(decision_at=at), store, self.reference, vocabulary.events)
        return self.challenger.forecast(encode(raw, vocabulary))


def save(model: RegisteredChallenger, folder: Path) -> str:
    """Write a challenger to a new folder; return its digest."""
    folder.mkdir(parents=True)
    challenger = model.challenger
    with (folder / WEIGHTS).open("wb") as file:
        np.savez(file, **{name: one.numpy() for name, one in challenger.model.state_dict().items()})
    calibration: Any = challenger.calibration
    manifest = {
        "contract": model.contract.model_dump(mode="json"),
        "reference": model.reference,
        "model": challenger.config.model_dump(),
        "vocabulary": json.loads(vocabulary_to_json(challenger.vocabulary)),
        "calibration": asdict(calibration),
        "weights": checksum_of(folder / WEIGHTS),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return artifact_digest(folder)


def load(folder: Path) -> RegisteredChallenger:
    """Load a challenger from the folder that `save` wrote; the version's tag names this module as loader."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if checksum_of(folder / WEIGHTS) != manifest["weights"]:
        raise UserError(f"{folder / WEIGHTS} is not the file that was registered: its checksum differs.")
    contract = parse_contract(json.dumps(manifest["contract"]), f"{folder / MANIFEST}: contract")
    config = ModelConfig.model_validate(manifest["model"])
    transformer = Transformer(config)
    with np.load(folder / WEIGHTS, allow_pickle=False) as arrays:
        transformer.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    vocabulary = vocabulary_from_json(json.dumps(manifest["vocabulary"]))
    calibration = CALIBRATIONS[contract.task](**manifest["calibration"])
    challenger = Challenger(transformer.eval(), config, vocabulary, calibration)
    return RegisteredChallenger(challenger, contract, manifest["reference"])


def opponent_of(registry: ModelRegistry, as_of: int) -> Version | None:
    """Return the champion or, if it has seen the evaluation days, the newest version that has not.

    Args:
        registry: Registry of the project's model.
        as_of: End of the challenger's training data in epoch seconds.

    Returns:
        A version that the service can serve; None if there is none.
    """
    champion = registry.champion()
    if champion and champion.as_of <= as_of:
        return champion
    earlier = [one for one in registry.versions() if one.as_of <= as_of and not one.loader]
    return max(earlier, key=lambda one: (one.as_of, int(one.version)), default=None)


def register_challenger(
    model: RegisteredChallenger, result: ChallengerResult, config: ChallengerConfig, lineage: Lineage
) -> Version:
    """Register a challenger in MLflow as a version of the project's model.

    It gets no alias, as the service cannot serve it: it is not an artifact.
    """
    registry, client = ModelRegistry(model.contract.name), MlflowClient()
    as_of = str(model.contract.split.test_start)
    with tempfile.TemporaryDirectory() as scratch:
        digest = save(model, Path(scratch) / MODEL / ARTIFACT)
        if known := registry.with_digest(digest):
            return known
        details = TrainingDetails(note=f"transformer: {'passed' if result.passed else 'refused'}")
        run_id = begin(client, registry.name, digest, f"transformer as of {as_of}", details)
        parameters = config.model_dump(mode="json") | {"parameters": result.parameters, "as_of": as_of}
        for key, value in parameters.items():
            client.log_param(run_id, key, value)
        tested = {key: one.value for key, one in result.test.items()}
        for key, number in known_numbers(tested).items():
            client.log_metric(run_id, f"test_{key}", number)
        client.log_metric(run_id, "gates_failed", sum(not gate.passed for gate in result.gates))
        client.log_text(run_id, gate_lines(result), "gates.txt")
        client.log_artifacts(run_id, scratch)
    return registry.add(run_id, lineage, digest, as_of, "A transformer.", loader=__name__)

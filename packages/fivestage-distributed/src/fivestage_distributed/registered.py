"""The challenger as a registered version, which `make score` reads: a folder of data, no code, no pickle."""

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
from fivestage_distributed.challenger import Challenger, ChallengerConfig, Judged, gate_lines
from fivestage_distributed.configuration import ModelConfig
from fivestage_distributed.model import Transformer
from fivestage_distributed.tokens import encode, raw_fields, vocabulary_from_json, vocabulary_to_json

WEIGHTS = "weights.npz"


@dataclass(frozen=True)
class RegisteredChallenger:
    """A challenger with all that a batch of raw rows needs (`fivestage.deployment.batch_scoring.BatchModel`).

    Args:
        challenger: trained.
        contract: that it was trained for.
        reference: the tables that do not change, as of its training.
    """

    challenger: Challenger
    contract: Contract
    reference: Reference

    def forecast(self, problem: Problem, rows: pd.DataFrame, events: EventTables, at: Ints) -> Floats:
        """Calibrated forecasts of rows, from what was known at their decision times (epoch seconds)."""
        store = problem.features.offline_store(events.events, self.reference)
        vocabulary = self.challenger.vocabulary
        raw = raw_fields(problem, rows.assign(decision_at=at), store, self.reference, vocabulary.events)
        return self.challenger.forecast(encode(raw, vocabulary))


def save(model: RegisteredChallenger, folder: Path) -> str:
    """Write it to a new folder."""
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
    """Read what `save` wrote: the loader that the version's tag names."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if checksum_of(folder / WEIGHTS) != manifest["weights"]:
        raise UserError(f"{folder / WEIGHTS} is not the file that was registered (its checksum differs).")
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
    """The champion, or, where it has seen the days that a challenger is judged on, the newest that has not.

    Args:
        registry: of the project's model.
        as_of: end of what the challenger has learnt from, in epoch seconds.

    Returns:
        A version whose artifact the service can serve; None where there is none.
    """
    holder = registry.champion()
    if holder and holder.as_of <= as_of:
        return holder
    found = [one for one in registry.versions() if one.as_of <= as_of and not one.loader]
    return max(found, key=lambda one: (one.as_of, int(one.version)), default=None)


def register_challenger(
    model: RegisteredChallenger, judged: Judged, config: ChallengerConfig, lineage: Lineage
) -> Version:
    """Register it in MLflow as a version of the project's model, beside those that `make train` registers.

    No alias points to it: the service reads artifacts, and cannot serve it.
    """
    registry, client = ModelRegistry(model.contract.name), MlflowClient()
    as_of = str(model.contract.split.test_start)
    with tempfile.TemporaryDirectory() as scratch:
        digest = save(model, Path(scratch) / MODEL / ARTIFACT)
        if known := registry.with_digest(digest):
            return known
        details = TrainingDetails(note=f"transformer: {'passed' if judged.passed else 'refused'}")
        run_id = begin(client, registry.name, digest, f"transformer as of {as_of}", details)
        parameters = config.model_dump(mode="json") | {"parameters": judged.parameters, "as_of": as_of}
        for key, value in parameters.items():
            client.log_param(run_id, key, value)
        for key, number in known_numbers(judged.test.scores).items():
            client.log_metric(run_id, f"test_{key}", number)
        client.log_metric(run_id, "gates_failed", sum(not gate.passed for gate in judged.gates))
        client.log_text(run_id, gate_lines(judged), "gates.txt")
        client.log_artifacts(run_id, scratch)
    return registry.add(run_id, lineage, digest, as_of, "A transformer.", loader=__name__)

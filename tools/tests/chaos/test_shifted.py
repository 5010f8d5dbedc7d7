"""The shifted model of the drill passes every check except the comparison of forecasts."""

import statistics
from pathlib import Path

from fivestage.artifact.artifact import MANIFEST, Artifact, artifact_digest, save_artifact
from fivestage.contract.contract import Contract
from fivestage.serving.model import load_model
from fivestage.serving.served_version import ServedVersion
from problem import PROBLEM
from tests.demo.synthetic_flights import artifact, contract, flights
from tools.chaos.shifted.shift import flatter, shifted

__all__ = ["artifact", "contract", "flights"]


def test_a_shifted_model_loads_as_a_whole_one_and_moves_by_more_than_is_allowed(
    artifact: Artifact, contract: Contract, tmp_path: Path
) -> None:
    folder = tmp_path / "1"
    before = save_artifact(artifact, folder)
    (folder / MANIFEST).write_text(shifted((folder / MANIFEST).read_text()))
    digest = artifact_digest(folder)
    assert digest != before
    model = load_model(ServedVersion(version="1", folder=folder, digest=digest), PROBLEM.features)
    pairs = zip(model.artifact.smoke, artifact.smoke, strict=True)
    moved = statistics.fmean(now.forecast[0] - then.forecast[0] for now, then in pairs)
    assert abs(moved) > contract.gates.max_bias


def test_chances_of_classes_stay_chances() -> None:
    found = flatter([0.9, 0.08, 0.02])
    assert abs(sum(found) - 1) < 1e-9
    assert 0.9 > found[0] > found[1] > found[2] > 0.02

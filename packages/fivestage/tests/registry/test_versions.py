import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import numpy as np
import pytest

from fivestage.artifact.artifact import MODEL, Artifact, artifact_digest
from fivestage.artifact.calibration import Calibration
from fivestage.common.errors import UserError
from fivestage.deployment.local_process import fetch_versions
from fivestage.evaluation.metrics import Answers
from fivestage.orchestration.databases import open_stores
from fivestage.registry.training_runs import TrainingDetails
from fivestage.registry.versions import ModelRegistry, Version
from fivestage.serving.served_version import read_served_version
from fivestage.serving.service_settings import Settings
from fivestage.training.leaderboard import LeaderboardRow
from tests.synthetic import prepared, synthetic_artifact, synthetic_problem

REGISTRY = ModelRegistry("registry-tests")
CHOSEN = LeaderboardRow(
    "boosting", "candidate", {"auc": 0.7, "unknown": math.nan}, chosen=True, started=1.7e9
)
TRIED = TrainingDetails({"leaves": 15}, [CHOSEN])


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return synthetic_artifact("binary")


@pytest.fixture(scope="module", autouse=True)
def stores() -> None:
    open_stores()


@pytest.fixture(scope="module")
def version(artifact: Artifact) -> Version:
    return REGISTRY.register(artifact, TRIED)


@dataclass(frozen=True)
class Noted:
    """Something to keep with a version."""

    numbers: Mapping[str, float]
    pairs: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Never:
    """Something that was not kept."""


def test_the_same_artifact_is_the_same_version(artifact: Artifact, version: Version) -> None:
    assert REGISTRY.register(artifact) == version
    other = REGISTRY.register(replace(artifact, calibration=Calibration(1.1)))
    assert (other.version, version.version) == ("2", "1")
    assert other.digest != version.digest


def test_a_registration_cut_short_goes_on_in_the_same_run(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    another, registry = replace(artifact, calibration=Calibration(1.2)), ModelRegistry("cut-short")
    with monkeypatch.context() as patch:
        patch.setattr("fivestage.registry.versions.MlflowClient.create_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.register(another, TRIED)
    found = registry.register(another, TRIED)
    every = mlflow.search_runs(experiment_names=["cut-short"], output_format="list")
    runs = [run for run in every if run.data.tags.get("stage") == "training"]
    assert ([run.info.run_id for run in runs], len(every)) == ([found.run_id], 2)  # and that of its candidate
    assert runs[0].info.status == "FINISHED"


def test_a_version_whose_features_are_gone_is_opened_for_no_service(version: Version) -> None:
    definitions = synthetic_problem("binary").features
    assert REGISTRY.open(version.version, definitions)[0] == version
    later = replace(definitions, sets={"order": definitions.sets["order"]})
    with pytest.raises(
        UserError, match=r"Version 1 of .* cannot predict: .* no longer has feature set history"
    ):
        REGISTRY.open(version.version, later)


def test_a_version_is_found_as_it_was_registered(artifact: Artifact, version: Version) -> None:
    assert REGISTRY.find(version.version) == version
    assert version.as_of == artifact.as_of


def test_a_registry_that_does_not_answer_is_not_one_without_a_champion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    try:
        for ask in (REGISTRY.champion, REGISTRY.challenger, lambda: REGISTRY.find("1")):
            with pytest.raises(UserError, match=r"The registry at http://127.0.0.1:9 does not answer: "):
                ask()
    finally:
        mlflow.set_tracking_uri(before)


def test_the_champion_is_whoever_holds_the_alias(version: Version) -> None:
    assert ModelRegistry("nobody").champion() is None
    assert REGISTRY.champion() is None
    REGISTRY.promote(version)
    assert REGISTRY.champion() == version


def test_a_version_that_cannot_predict_any_more_says_why(
    artifact: Artifact, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Monitoring stopped for good at a week in which a version of an earlier format had served."""
    found = REGISTRY.artifact_of(version.version)
    assert isinstance(found, Artifact)
    assert found.contract == artifact.contract
    assert str(REGISTRY.artifact_of("99")).startswith("the registry has no version 99, which served: ")
    monkeypatch.setattr("fivestage.artifact.artifact.FORMAT", 99)
    why = str(REGISTRY.artifact_of(version.version))
    assert why.startswith(f"version {version.version} cannot predict any more: ")
    assert "this code reads 99" in why


def test_a_champion_that_decides_on_other_actions_is_not_compared() -> None:
    """Its decisions were priced as the contract's actions of the same place, or had none."""
    artifact, registry = synthetic_artifact("multiclass"), ModelRegistry("other-actions")
    contract, features = artifact.contract, prepared("multiclass").features[:9]
    champion = registry.register(artifact, TRIED)
    assert isinstance(registry.champion_answers(champion.version, features, contract), Answers)
    actions = dict(reversed(contract.costs.actions.items()))
    costs = contract.costs.model_copy(update={"actions": actions})
    why = registry.champion_answers(champion.version, features, contract.model_copy(update={"costs": costs}))
    assert why == "the champion, version 1, decides on other actions than the contract has now"


def test_an_unknown_version_is_a_sentence(version: Version) -> None:
    with pytest.raises(UserError, match=f"no version 99 of {version.name}: train one"):
        REGISTRY.fetch("99")


def test_an_artifact_that_is_gone_is_brought_again(version: Version) -> None:
    folder = REGISTRY.fetch(version.version)
    shutil.rmtree(folder)
    assert REGISTRY.fetch(version.version) == folder
    assert artifact_digest(folder) == version.digest
    assert (folder / MODEL).is_file()


def test_another_artifact_in_its_place_is_refused(version: Version) -> None:
    folder: Path = REGISTRY.fetch(version.version)
    manifest = folder / "manifest.json"
    kept = manifest.read_bytes()
    manifest.write_bytes(kept + b" ")
    with pytest.raises(UserError, match="differs from what was registered as version 1"):
        REGISTRY.fetch(version.version)
    manifest.write_bytes(kept)


def test_a_record_comes_back_whole(version: Version) -> None:
    kept = Noted({"auc": 0.1 + 0.2, "unknown": math.nan}, ((0.5, -1.0), (math.nan, 1.0)))
    version.record(kept)
    found = version.load_record(Noted)
    assert type(found) is Noted
    assert dict(found.numbers) == pytest.approx(dict(kept.numbers), rel=0, abs=0, nan_ok=True)
    np.testing.assert_array_equal(found.pairs, kept.pairs)  # takes one NaN for another


def test_no_record_is_a_sentence(version: Version) -> None:
    with pytest.raises(UserError, match=r"has no never\.json: train it again"):
        version.load_record(Never)


def test_what_waits_becomes_champion_when_somebody_approves(artifact: Artifact) -> None:
    registry = ModelRegistry("registry-approvals")
    first = registry.register(artifact)
    second = registry.register(replace(artifact, calibration=Calibration(1.2)))
    registry.promote(first)
    with pytest.raises(UserError, match="No version of registry-approvals waits"):
        registry.approve("Ada")
    registry.await_approval(second)
    assert (registry.champion(), registry.waiting()) == (first, second)
    with pytest.raises(UserError, match="Name who approves version 2"):
        registry.approve(" ")
    assert registry.approve("Ada") == second
    assert (registry.champion(), registry.waiting()) == (second, None)


def test_the_champion_before_is_champion_again_and_the_one_before_it_after_that(artifact: Artifact) -> None:
    registry = ModelRegistry("registry-rollbacks")
    first, second, third = (
        registry.register(replace(artifact, calibration=Calibration(slope))) for slope in (1.1, 1.2, 1.3)
    )
    registry.promote(first)
    with pytest.raises(UserError, match="no record of a champion before version 1"):
        registry.previous_champion()
    for version in (first, second, third, third):
        registry.promote(version)
    for before in (second, first):
        assert registry.previous_champion() == before
        registry.restore(before)
        assert registry.champion() == before


def test_a_service_that_starts_next_finds_the_champion_and_its_challenger(
    artifact: Artifact, tmp_path: Path
) -> None:
    registry = ModelRegistry("registry-fetched")
    settings = Settings(folder=tmp_path)
    first = registry.register(artifact)
    registry.promote(first)
    assert registry.challenger() is None
    assert len(list(fetch_versions(settings, registry.name))) == 1
    assert (read_served_version(tmp_path / "current").digest, (tmp_path / "shadow").exists()) == (
        first.digest,
        False,
    )
    second = registry.register(replace(artifact, calibration=Calibration(1.3)))
    assert registry.challenger() == second
    lines = list(fetch_versions(settings, registry.name))
    pointers = [read_served_version(tmp_path / one) for one in ("current", "shadow")]
    assert [one.digest for one in pointers] == [first.digest, second.digest]
    assert [artifact_digest(one.folder) for one in pointers] == [first.digest, second.digest]
    assert lines[-1].endswith("shadow names version 2.")

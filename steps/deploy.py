"""ZenML steps of stage 4."""

from dataclasses import dataclass
from typing import Annotated

from zenml import step

from fivestage.common.settings import ROOT, VAR
from fivestage.data.event_tables import EventTables
from fivestage.deployment import docker_container as docker
from fivestage.deployment import local_process as local
from fivestage.deployment.batch_scoring import BatchResult, score_version
from fivestage.deployment.images import build_serving
from fivestage.deployment.kubernetes_release import (
    ClusterReleases,
    ReleasePlan,
    released_model,
)
from fivestage.deployment.releases import Release
from fivestage.deployment.service_client import Deployment, smoke_rows
from fivestage.serving.service_settings import Settings
from problem import PROBLEM
from steps.model import REGISTRY

OVERLAYS = ROOT / "k8s" / "overlays"
QUARANTINE = VAR / "quarantine"


@dataclass(frozen=True)
class Released:
    """A release to a cluster, and a sentence for each check of its canary."""

    release: Release
    compared: tuple[str, ...]


@step(enable_cache=False)
def deploy_local(version: str, folder: str) -> Annotated[Deployment, "deployment"]:
    """Serve a version as a local process, smoke it over HTTP, and go back to the one before if that fails."""
    settings = Settings.of_folder(folder)
    _, artifact = REGISTRY.open(version, PROBLEM.features)
    return local.release(settings, version, REGISTRY.fetch(version), smoke_rows(artifact))


@step(enable_cache=False)
def deploy_docker(version: str, folder: str) -> Annotated[Deployment, "deployment"]:
    """Build an image with a version inside and serve it as a container, or stay with the one before."""
    settings = Settings.of_folder(folder)
    _, artifact = REGISTRY.open(version, PROBLEM.features)
    image = build_serving(REGISTRY.fetch(version), version)
    return docker.release(settings, version, image, smoke_rows(artifact))


TARGETS = {"local": deploy_local, "docker": deploy_docker}


@step(enable_cache=False)
def deploy_kubernetes(
    version: str, overlay: str, image: str, why: str, context: str, bake_seconds: float, accept: str
) -> Annotated[Released, "release"]:
    """Release a version to a cluster by way of a canary; what serves there stays if a check fails."""
    plan = ReleasePlan(OVERLAYS / overlay, image, why, bake_seconds, accept)
    model = released_model(REGISTRY.name, version)
    releases = ClusterReleases.to(plan.overlay, context)
    release, checks = releases.release(plan, model, PROBLEM.contract)
    return Released(release, tuple(f"{one.name}: {one.sentence}" for one in checks))


@step(enable_cache=False)
def roll_back_kubernetes(overlay: str, why: str, context: str) -> Annotated[Released, "release"]:
    """Return manifests, image and model to the release before, and the alias `champion` with them."""
    releases = ClusterReleases.to(OVERLAYS / overlay, context)
    release = releases.roll_back(released_model(REGISTRY.name, releases.model_before), why)
    REGISTRY.promote(REGISTRY.find(release.model))
    return Released(release, ())


@step(enable_cache=False)
def score(
    event_tables: EventTables, version: str, source: str, target: str
) -> Annotated[BatchResult, "scored"]:
    """Score a batch; rows that break the contract go to a file of their own, with reasons."""
    return score_version(PROBLEM, event_tables, REGISTRY, version, source, target, QUARANTINE)


def smoke_kubernetes(version: str, overlay: str, context: str) -> float:
    """How far the answers of a cluster's Service to raw rows are from a version's offline ones.

    Raises:
        ReleaseCheckError: when it does not answer, or as another model would.
    """
    folder = OVERLAYS / overlay
    return ClusterReleases.to(folder, context).smoke(folder, released_model(REGISTRY.name, version))

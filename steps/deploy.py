"""ZenML steps of stage 4."""

from typing import Annotated

from zenml import step

from fivestage.common import settings
from fivestage.data.event_tables import EventTables
from fivestage.deployment import docker_container as docker
from fivestage.deployment import local_process as local
from fivestage.deployment.batch_scoring import BatchModel, BatchResult
from fivestage.deployment.kubernetes_release import ClusterReleases
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.releases import Release
from fivestage.deployment.service_client import Deployment
from fivestage.serving.service_settings import Settings
from problem import PROBLEM
from steps.data import QUARANTINE
from steps.model import REGISTRY

OVERLAYS = settings.ROOT / "k8s" / "overlays"


@step(enable_cache=False)
def deploy_local(version: str, folder: str) -> Annotated[Deployment, "deployment"]:
    """Serve a version as a local process; return to the previous one if the smoke test over HTTP fails."""
    model = ReleasedModel.of(REGISTRY, version, PROBLEM.features)
    return local.release(Settings.of_folder(folder), model)


@step(enable_cache=False)
def deploy_docker(version: str, folder: str) -> Annotated[Deployment, "deployment"]:
    """Build an image that contains a version and serve it; keep the previous container if that fails."""
    model = ReleasedModel.of(REGISTRY, version, PROBLEM.features)
    return docker.release(Settings.of_folder(folder), model)


TARGETS = {"local": deploy_local, "docker": deploy_docker}


@step(enable_cache=False)
def deploy_kubernetes(
    version: str, overlay: str, image: str, why: str, context: str, bake_seconds: float, accept: str
) -> Annotated[Release, "release"]:
    """Release a version to a cluster through a canary; the current release stays if a check fails."""
    return ClusterReleases.to(OVERLAYS / overlay, context).release(
        ReleasedModel.of(REGISTRY, version),
        PROBLEM.contract,
        image=image,
        why=why,
        bake_seconds=bake_seconds,
        accept=accept,
    )


@step(enable_cache=False)
def roll_back_kubernetes(overlay: str, why: str, context: str) -> Annotated[Release, "release"]:
    """Roll manifests, image and model back to the previous release, and the alias `champion` with them."""
    releases = ClusterReleases.to(OVERLAYS / overlay, context)
    release = releases.roll_back(ReleasedModel.of(REGISTRY, releases.model_before), why)
    REGISTRY.restore(REGISTRY.find(release.model))
    return release


@step(enable_cache=False)
def score(
    event_tables: EventTables, version: str, source: str, target: str
) -> Annotated[BatchResult, "scored"]:
    """Score a batch; rows that violate the contract are written to a separate file, with the reasons."""
    return BatchModel.of(REGISTRY, version).score(PROBLEM, event_tables, source, target, QUARANTINE)


def smoke_kubernetes(version: str, overlay: str, context: str) -> float:
    """Smoke-test a cluster's Service, and return its largest difference from a version's offline predictions.

    Raises:
        ReleaseCheckError: If the cluster's Service does not answer, or its predictions differ.
    """
    return ClusterReleases.to(OVERLAYS / overlay, context).smoke(ReleasedModel.of(REGISTRY, version))

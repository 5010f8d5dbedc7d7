"""ZenML steps of stage 4."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
from zenml import step

from fivestage.common.settings import ROOT, VAR
from fivestage.data.event_tables import EventTables
from fivestage.deployment import docker_container as docker
from fivestage.deployment import kubernetes_release as kubernetes
from fivestage.deployment import local_process as local
from fivestage.deployment.batch_scoring import BatchResult
from fivestage.deployment.batch_scoring import score as score_batch
from fivestage.deployment.images import build_serving
from fivestage.deployment.kubectl import Cluster
from fivestage.deployment.local_process import settings_in
from fivestage.deployment.release_manifests import namespace_of, serving_deployment
from fivestage.deployment.releases import Release, history, rollback_target
from fivestage.deployment.service_client import url
from fivestage.deployment.simulated_client import Wire, wire_rows
from fivestage.orchestration.materializers import RecordMaterializer
from fivestage.registry.versions import fetch, find, open_version, promote
from fivestage.serving.settings import Settings
from problem import PROBLEM

OVERLAYS = ROOT / "k8s" / "overlays"
QUARANTINE = VAR / "quarantine"


@dataclass(frozen=True)
class Deployment:
    """What serves now, and how far its smoke test's answers were from the offline ones."""

    version: str
    url: str
    difference: float


@dataclass(frozen=True)
class Released:
    """A release to a cluster, and how its canary compared with what served before."""

    release: Release
    compared: tuple[str, ...]


@step(enable_cache=False)
def deploy_local(version: str, folder: str) -> Annotated[Deployment, "deployment"]:
    """Serve a version as a local process, smoke it over HTTP, and go back to the one before if that fails."""
    settings = settings_in(folder)
    difference = local.release(settings, version, _folder_of(version), *smoke_rows(version))
    return Deployment(version, url(settings), difference)


@step(enable_cache=False)
def deploy_docker(version: str, folder: str) -> Annotated[Deployment, "deployment"]:
    """Build an image with a version inside and serve it as a container, or stay with the one before."""
    settings = settings_in(folder)
    image = build_serving(_folder_of(version), version)
    difference = docker.release(settings, image, *smoke_rows(version))
    return Deployment(version, url(settings), difference)


TARGETS = {"local": deploy_local, "docker": deploy_docker}


@step(enable_cache=False, output_materializers=RecordMaterializer)
def deploy_kubernetes(
    version: str, overlay: str, image: str, why: str, context: str, bake_seconds: float
) -> Annotated[Released, "release"]:
    """Release a version to a cluster by way of a canary; what serves there stays if a check fails."""
    plan = kubernetes.ReleasePlan(OVERLAYS / overlay, image, why, bake_seconds=bake_seconds)
    cluster, model = cluster_of(overlay, context), model_of(version)
    done, compared = kubernetes.release(cluster, plan, model, PROBLEM.contract, Settings.from_environment())
    return Released(done, tuple(f"{one.name}: {one.sentence}" for one in compared))


@step(enable_cache=False, output_materializers=RecordMaterializer)
def roll_back_kubernetes(overlay: str, why: str, context: str) -> Annotated[Released, "release"]:
    """Return manifests, image and model to the release before, and the alias `champion` with them."""
    cluster = cluster_of(overlay, context)
    model = model_of(rollback_target(history(cluster)).release.model)
    done = kubernetes.roll_back(cluster, model, Settings.from_environment(), why)
    promote(find(PROBLEM.contract.name, done.model))
    return Released(done, ())


@step(enable_cache=False)
def score(world: EventTables, version: str, source: str, target: str) -> Annotated[BatchResult, "scored"]:
    """Score a batch; rows that break the contract go to a file of their own, with reasons."""
    _, artifact = open_version(PROBLEM.contract.name, version)
    return score_batch(PROBLEM, world, artifact, version, source, target, QUARANTINE)


def ask_kubernetes(version: str, overlay: str, context: str) -> float:
    """How far the answers of a cluster's Service to raw rows are from a version's offline ones.

    Raises:
        ReleaseCheckError: when it does not answer, or as another model would.
    """
    cluster = cluster_of(overlay, context)
    name = serving_deployment(cluster.render(OVERLAYS / overlay))["metadata"]["name"]
    return kubernetes.smoke_service(cluster, name, model_of(version), Settings.from_environment())


def cluster_of(overlay: str, context: str) -> Cluster:
    """The namespace of an overlay, in the cluster of a context, or of kubectl's current one."""
    anywhere = Cluster("default", context)
    return Cluster(namespace_of(anywhere.render(OVERLAYS / overlay)), context)


def model_of(version: str) -> kubernetes.ReleasedModel:
    """A registered version with its smoke rows as a client sends them."""
    found, artifact = open_version(PROBLEM.contract.name, version)
    lineage = artifact.lineage
    return kubernetes.ReleasedModel(
        found.version, found.digest, lineage.contract, found.commit, *smoke_rows(version)
    )


def smoke_rows(version: str) -> tuple[list[Wire], list[tuple[float, ...]]]:
    """Rows as a client writes them, and the forecasts that a version gave them offline."""
    _, artifact = open_version(PROBLEM.contract.name, version)
    rows = wire_rows(pd.DataFrame([one.row for one in artifact.smoke]), artifact.contract.columns)
    return rows, [one.forecast for one in artifact.smoke]


def _folder_of(version: str) -> Path:
    return fetch(PROBLEM.contract.name, version)

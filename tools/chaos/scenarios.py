"""Faults of a service on a cluster, injected while clients send requests."""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fivestage.artifact.artifact import MANIFEST
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.deployment.kubectl import Cluster, Manifest
from fivestage.deployment.kubernetes_release import (
    ClusterReleases,
    ReleaseCheckError,
)
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.rollout import newest_pods, wait_for_rollout
from fivestage.serving.service_settings import Settings
from tools.chaos.shifted.shift import shifted

NAME = "fivestage"
HERE = Path(__file__).resolve().parent
STAGE = HERE / "stage"  # the Kustomize overlay
BAKE_SECONDS = 10
AWAY_SECONDS = 60  # during which the database is down
PATIENCE = 300.0  # seconds until the service has recovered
# Many small processes, so that the largest, which the kernel kills, is the service itself.
HOG = "import os, time\nwhile os.fork(): time.sleep(0.02)\nheld = bytearray(25_000_000); time.sleep(60)"


class SkippedError(Exception):
    """The cluster lacks what the scenario needs."""


@dataclass(frozen=True)
class Stage:
    """The cluster, and the model that serves there."""

    cluster: Cluster
    model: ReleasedModel
    contract: Contract

    @property
    def releases(self) -> ClusterReleases:
        """The releases of this cluster."""
        return ClusterReleases(self.cluster, STAGE, Settings())

    def release(self, model: ReleasedModel) -> None:
        """Release a version."""
        self.releases.release(model, self.contract, why="chaos", bake_seconds=BAKE_SECONDS)


@dataclass(frozen=True)
class Scenario:
    """A fault to inject."""

    what: str
    happen: Callable[[Stage], None]
    why: str = ""


def nothing(_: Stage) -> None:
    """No fault, for comparison."""
    time.sleep(20)


def rolling_update(stage: Stage) -> None:
    """Every pod is replaced by a new one."""
    stage.cluster.run("rollout", "restart", f"deployment/{NAME}")
    settle(stage)


def released_and_back(stage: Stage) -> None:
    """Another version is released with a canary, then rolled back."""
    other = replace(stage.model, version=f"{stage.model.version}-again")  # a new annotation: new pods
    stage.release(other)
    stage.releases.roll_back(stage.model, "chaos")
    settle(stage)
    served = deployment(stage)["spec"]["template"]["metadata"]["annotations"]["fivestage/model-version"]
    if served != stage.model.version:
        raise UserError(f"After the rollback, version {served} serves instead of {stage.model.version}.")


def pod_deleted(stage: Stage) -> None:
    """A pod is deleted, with a grace period."""
    stage.cluster.run("delete", "pod", pod_names(stage)[0], timeout=120)
    settle(stage)


def pod_killed(stage: Stage) -> None:
    """A pod is deleted without a grace period, as if its node failed."""
    stage.cluster.run("delete", "pod", pod_names(stage)[0], "--grace-period=0", "--force", timeout=120)
    settle(stage)


def node_drained(stage: Stage) -> None:
    """A node is drained of the service's pods, one after another; this needs two nodes."""
    nodes = [node for node in all_objects(stage, "nodes") if not node["spec"].get("unschedulable")]
    pods = newest_pods(stage.cluster, deployment(stage))
    hosts = [pod["spec"]["nodeName"] for pod in pods]
    if len(nodes) == 1:
        raise SkippedError("there is only one node")
    fullest = max(sorted(set(hosts)), key=hosts.count)
    try:
        ours = f"--pod-selector=app.kubernetes.io/name={NAME},app.kubernetes.io/component=serving"
        words = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=240s", ours)
        stage.cluster.run("drain", fullest, *words, timeout=260)
        settle(stage)
    finally:
        stage.cluster.run("uncordon", fullest)


def bad_image(stage: Stage) -> None:
    """An image is released that does not exist."""
    require_refusal(stage, stage.model, "canary rollout", image="fivestage-serving:nobody-built-this")


def bad_model(stage: Stage) -> None:
    """A damaged model is released."""
    require_refusal(stage, stage.model, "canary rollout", overlay=HERE / "damaged", wait_seconds=45)


def other_answers(stage: Stage) -> None:
    """A model is released whose predictions differ from those of its evaluation."""
    expected = stage.model.expected
    halved = replace(expected, predictions=[[p / 2 for p in one] for one in expected.predictions])
    other = replace(stage.model, expected=halved)
    require_refusal(stage, other, "canary smoke")


def shifted_scores(stage: Stage) -> None:
    """An intact model is released whose forecasts have shifted since the champion."""
    manifest = shifted((stage.model.folder / MANIFEST).read_text(encoding="utf-8"))
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    forecasts = [one["forecast"] for one in json.loads(manifest)["smoke"]]
    other = replace(stage.model, digest=digest, expected=replace(stage.model.expected, predictions=forecasts))
    require_refusal(stage, other, "canary distribution", overlay=HERE / "shifted")


def out_of_memory(stage: Stage) -> None:
    """A pod exceeds its memory limit, and the kernel kills the service in it."""
    name = pod_names(stage)[0]
    with suppress(UserError):  # the command ends with the container
        stage.cluster.run("exec", name, "--container=serving", "--", "python", "-c", HOG)
    deadline = time.monotonic() + PATIENCE
    while not ((status := serving_status(stage, name))["restartCount"] and status["ready"]):
        if time.monotonic() > deadline:
            raise UserError(f"{name} was not restarted, or is not ready again, after running out of memory.")
        time.sleep(1)
    reason = status["lastState"]["terminated"]["reason"]
    if reason != "OOMKilled":
        raise UserError(f"{name} was terminated for {reason} instead of OOMKilled.")
    settle(stage)


def database_away(stage: Stage) -> None:
    """The log's database is down for a minute."""
    stage.cluster.run("scale", "statefulset/postgres", "--replicas=0")
    stage.cluster.run("wait", "--for=delete", "pod/postgres-0", "--timeout=90s", timeout=100)
    time.sleep(AWAY_SECONDS)
    stage.cluster.run("scale", "statefulset/postgres", "--replicas=1")
    stage.cluster.run("rollout", "status", "statefulset/postgres", "--timeout=120s", timeout=130)
    settle(stage)


def require_refusal(
    stage: Stage,
    model: ReleasedModel,
    check: str,
    *,
    overlay: Path = STAGE,
    image: str = "",
    wait_seconds: float = 300,
) -> None:
    """Release a faulty version; raise a UserError unless the given check refuses it."""
    try:
        releases = replace(stage.releases, overlay=overlay, wait_seconds=wait_seconds)
        releases.release(model, stage.contract, image=image, why="chaos", bake_seconds=BAKE_SECONDS)
    except ReleaseCheckError as error:
        if error.check != check:
            raise UserError(f"The check `{check}` should have refused the release, but: {error}") from error
        settle(stage)
        return
    raise UserError(f"The release succeeded, but the check `{check}` should have refused it.")


def settle(stage: Stage) -> None:
    """Wait until all pods are ready and none is terminating."""
    wait_for_rollout(stage.cluster, NAME, PATIENCE)
    labels = deployment(stage)["spec"]["selector"]["matchLabels"]
    deadline = time.monotonic() + PATIENCE
    while any("deletionTimestamp" in pod["metadata"] for pod in stage.cluster.find("pods", labels)):
        if time.monotonic() > deadline:
            raise UserError("A pod does not terminate.")
        time.sleep(1)


def deployment(stage: Stage) -> Manifest:
    """Return the service's Deployment."""
    found = stage.cluster.get("deployment", NAME)
    if found is None:
        raise UserError(f"The Deployment {NAME} is missing.")
    return found


def pod_names(stage: Stage) -> list[str]:
    """Return the names of the serving pods."""
    return sorted(pod["metadata"]["name"] for pod in newest_pods(stage.cluster, deployment(stage)))


def serving_status(stage: Stage, name: str) -> Manifest:
    """Return the status of the service's container in a pod."""
    pod = stage.cluster.get("pod", name) or {}
    (found,) = (one for one in pod["status"]["containerStatuses"] if one["name"] == "serving")
    return dict(found)


def all_objects(stage: Stage, kind: str) -> list[Manifest]:
    """Return all objects of a kind."""
    return stage.cluster.find(kind, {})


GONE = "requests on the way to that pod, or in it, are lost"
KILLED = (
    "the kernel kills it without notice: until the kubelet and all nodes know, requests are still sent to it "
    "and the connection is refused, so a retry is safe"
)
SCENARIOS = (
    Scenario("nothing", nothing),
    Scenario("rolling update", rolling_update),
    Scenario("release and rollback", released_and_back),
    Scenario("pod deleted", pod_deleted),
    Scenario("pod killed without notice", pod_killed, GONE),
    Scenario("node drained", node_drained),
    Scenario("bad image", bad_image),
    Scenario("bad model: damaged", bad_model),
    Scenario("bad model: other answers", other_answers),
    Scenario("bad model: shifted forecasts", shifted_scores),
    Scenario("pod out of memory", out_of_memory, KILLED),
    Scenario("database away for a minute", database_away),
)

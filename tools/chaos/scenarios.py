"""What may happen to a service on a cluster: done for real, while clients ask."""

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
STAGE = HERE / "stage"  # the overlay
BAKE_SECONDS = 10
AWAY_SECONDS = 60  # that the database is
PATIENCE = 300.0  # seconds until all is as before
# Many small processes, so that the largest, which the kernel ends, is the service itself.
HOG = "import os, time\nwhile os.fork(): time.sleep(0.02)\nheld = bytearray(25_000_000); time.sleep(60)"


class SkippedError(Exception):
    """What this cluster has not got, so that the scenario cannot be played."""


@dataclass(frozen=True)
class Stage:
    """Where it happens, and what serves there."""

    cluster: Cluster
    model: ReleasedModel
    contract: Contract

    @property
    def releases(self) -> ClusterReleases:
        """What brings versions into service there."""
        return ClusterReleases(self.cluster, STAGE, Settings())

    def release(self, model: ReleasedModel) -> None:
        """Bring a version into service there."""
        self.releases.release(model, self.contract, why="chaos", bake_seconds=BAKE_SECONDS)


@dataclass(frozen=True)
class Scenario:
    """Something that happens; `why` says what requests may fail of at the first try, if any may."""

    what: str
    happen: Callable[[Stage], None]
    why: str = ""


def nothing(_: Stage) -> None:
    """The load alone, for comparison."""
    time.sleep(20)


def rolling_update(stage: Stage) -> None:
    """Every pod is replaced by a new one."""
    stage.cluster.run("rollout", "restart", f"deployment/{NAME}")
    settle(stage)


def released_and_back(stage: Stage) -> None:
    """Another version is released by way of a canary, and then the one before is returned to.

    Raises:
        UserError: when the release that serves at the end is not the first one again.
    """
    other = replace(stage.model, version=f"{stage.model.version}-again")  # another mark: other pods
    stage.release(other)
    stage.releases.roll_back(stage.model, "chaos")
    settle(stage)
    served = deployment(stage)["spec"]["template"]["metadata"]["annotations"]["fivestage/model-version"]
    if served != stage.model.version:
        raise UserError(f"The rollback was to bring version {stage.model.version}, and {served} serves.")


def pod_deleted(stage: Stage) -> None:
    """A pod is told to leave."""
    stage.cluster.run("delete", "pod", pod_names(stage)[0], timeout=120)
    settle(stage)


def pod_killed(stage: Stage) -> None:
    """A pod goes without a word, as with its machine."""
    stage.cluster.run("delete", "pod", pod_names(stage)[0], "--grace-period=0", "--force", timeout=120)
    settle(stage)


def node_drained(stage: Stage) -> None:
    """The service's pods leave a node, one after the other.

    Raises:
        SkippedError: on a cluster of one node, where they could go nowhere.
    """
    nodes = [node for node in everything(stage, "nodes") if not node["spec"].get("unschedulable")]
    pods = newest_pods(stage.cluster, deployment(stage))
    hosts = [pod["spec"]["nodeName"] for pod in pods]
    if len(nodes) == 1:
        raise SkippedError("one node: the pods could go nowhere")
    fullest = max(sorted(set(hosts)), key=hosts.count)
    try:
        ours = f"--pod-selector=app.kubernetes.io/name={NAME},app.kubernetes.io/component=serving"
        words = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=240s", ours)
        stage.cluster.run("drain", fullest, *words, timeout=260)
        settle(stage)
    finally:
        stage.cluster.run("uncordon", fullest)


def bad_image(stage: Stage) -> None:
    """An image is to be released that no node can get."""
    refused(stage, stage.model, "canary rollout", image="fivestage-serving:nobody-built-this")


def bad_model(stage: Stage) -> None:
    """A model is to be released that has lost a byte on its way."""
    refused(stage, stage.model, "canary rollout", overlay=HERE / "damaged", wait_seconds=45)


def other_answers(stage: Stage) -> None:
    """A model is to be released whose answers are not those of its evaluation."""
    expected = stage.model.expected
    halved = replace(expected, predictions=[[p / 2 for p in one] for one in expected.predictions])
    other = replace(stage.model, expected=halved)
    refused(stage, other, "canary smoke")


def shifted_scores(stage: Stage) -> None:
    """A model is to be released that is whole, answers as it did offline, and has moved its forecasts."""
    manifest = shifted((stage.model.folder / MANIFEST).read_text(encoding="utf-8"))
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    forecasts = [one["forecast"] for one in json.loads(manifest)["smoke"]]
    other = replace(stage.model, digest=digest, expected=replace(stage.model.expected, predictions=forecasts))
    refused(stage, other, "canary distribution", overlay=HERE / "shifted")


def out_of_memory(stage: Stage) -> None:
    """A pod needs more memory than it may have, and the kernel ends the service in it."""
    name = pod_names(stage)[0]
    with suppress(UserError):  # it ends with the container
        stage.cluster.run("exec", name, "--container=serving", "--", "python", "-c", HOG)
    until = time.monotonic() + PATIENCE
    while not ((status := serving_status(stage, name))["restartCount"] and status["ready"]):
        if time.monotonic() > until:
            raise UserError(f"{name} was not ended, or is not ready again, after its memory was full.")
        time.sleep(1)
    reason = status["lastState"]["terminated"]["reason"]
    if reason != "OOMKilled":
        raise UserError(f"{name} ended, but not of its memory: {reason}.")
    settle(stage)


def database_away(stage: Stage) -> None:
    """The log's database is stopped for a minute."""
    stage.cluster.run("scale", "statefulset/postgres", "--replicas=0")
    stage.cluster.run("wait", "--for=delete", "pod/postgres-0", "--timeout=90s", timeout=100)
    time.sleep(AWAY_SECONDS)
    stage.cluster.run("scale", "statefulset/postgres", "--replicas=1")
    stage.cluster.run("rollout", "status", "statefulset/postgres", "--timeout=120s", timeout=130)
    settle(stage)


def refused(
    stage: Stage,
    model: ReleasedModel,
    check: str,
    *,
    overlay: Path = STAGE,
    image: str = "",
    wait_seconds: float = 300,
) -> None:
    """Release what must not come into service.

    Raises:
        UserError: when it does, or another check refuses it.
    """
    try:
        releases = replace(stage.releases, overlay=overlay, wait_seconds=wait_seconds)
        releases.release(model, stage.contract, image=image, why="chaos", bake_seconds=BAKE_SECONDS)
    except ReleaseCheckError as error:
        if error.check != check:
            raise UserError(f"`{check}` was to refuse it, and: {error}") from error
        settle(stage)
        return
    raise UserError(f"It was released, and `{check}` was to refuse it.")


def settle(stage: Stage) -> None:
    """Wait until all pods are ready, and none is leaving any more."""
    wait_for_rollout(stage.cluster, NAME, PATIENCE)
    labels = deployment(stage)["spec"]["selector"]["matchLabels"]
    until = time.monotonic() + PATIENCE
    while any("deletionTimestamp" in pod["metadata"] for pod in stage.cluster.find("pods", labels)):
        if time.monotonic() > until:
            raise UserError("A pod does not leave.")
        time.sleep(1)


def deployment(stage: Stage) -> Manifest:
    """The service's Deployment."""
    found = stage.cluster.get("deployment", NAME)
    if found is None:
        raise UserError(f"{NAME} is not there any more.")
    return found


def pod_names(stage: Stage) -> list[str]:
    """The pods that serve."""
    return sorted(pod["metadata"]["name"] for pod in newest_pods(stage.cluster, deployment(stage)))


def serving_status(stage: Stage, name: str) -> Manifest:
    """How the service in a pod is."""
    pod = stage.cluster.get("pod", name) or {}
    (found,) = (one for one in pod["status"]["containerStatuses"] if one["name"] == "serving")
    return dict(found)


def everything(stage: Stage, kind: str) -> list[Manifest]:
    """All objects of a kind."""
    return stage.cluster.find(kind, {})


GONE = "what was on its way to that pod, or in it, goes with it"
UNHEARD = (
    "the kernel ends it without a word: until the kubelet has noticed and every node knows, requests "
    "are still sent to it and are refused, so a retry is safe"
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
    Scenario("pod out of memory", out_of_memory, UNHEARD),
    Scenario("database away for a minute", database_away),
)

"""How far a Deployment's rollout is, and what it fails of, as its objects tell."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fivestage.common.errors import UserError
from fivestage.deployment.kubectl import Cluster, Manifest

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
HOPELESS = (  # what waiting does not cure
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
)


@dataclass(frozen=True)
class State:
    """Whether a rollout is done or failed, and why it is as it is."""

    done: bool
    failed: bool
    sentence: str


def watch(cluster: Cluster, name: str, wait_seconds: float) -> tuple[Manifest, ...]:
    """Return the new pods of a Deployment once all of them are ready.

    Raises:
        UserError: when that cannot be, or takes too long.
    """
    until = time.monotonic() + wait_seconds
    while True:
        deployment = cluster.get("deployment", name)
        if deployment is None:
            raise UserError(f"There is no Deployment {name} in the namespace {cluster.namespace}.")
        pods = new_pods(cluster, deployment)
        state = state_of(deployment, pods)
        if state.done:
            return tuple(pods)
        if state.failed or time.monotonic() > until:
            late = "" if state.failed else f"not done after {wait_seconds:.0f} s: "
            raise UserError(f"{late}{state.sentence}{_last_words(cluster, pods)}")
        time.sleep(1)


def new_pods(cluster: Cluster, deployment: Manifest) -> list[Manifest]:
    """The pods of a Deployment's newest revision that are not being deleted."""
    labels = deployment["spec"]["selector"]["matchLabels"]
    revision = deployment["metadata"].get("annotations", {}).get(REVISION)
    for replicas in cluster.find("replicasets", labels):
        owned = any(o["uid"] == deployment["metadata"]["uid"] for o in owners(replicas))
        if owned and replicas["metadata"]["annotations"].get(REVISION) == revision:
            found = cluster.find("pods", labels | {HASH: replicas["metadata"]["labels"][HASH]})
            return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
    return []


def owners(thing: Manifest) -> Sequence[dict[str, Any]]:
    """The objects that something belongs to."""
    found: Sequence[dict[str, Any]] = thing["metadata"].get("ownerReferences", [])
    return found


def state_of(deployment: Manifest, pods: Sequence[Manifest]) -> State:
    """What a Deployment and the pods of its newest revision say."""
    name, status = deployment["metadata"]["name"], deployment.get("status", {})
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return State(done=False, failed=False, sentence=f"{name} is not taken up yet.")
    for condition in status.get("conditions", []):
        refused = condition["type"] == "ReplicaFailure" and condition["status"] == "True"
        if refused or condition.get("reason") == "ProgressDeadlineExceeded":
            told = next(_troubles(pods), condition.get("message", ""))
            return State(done=False, failed=True, sentence=f"{name}: {told}")
    trouble = next(_troubles(pods), "")
    if trouble:
        return State(done=False, failed=True, sentence=trouble)
    wanted = deployment["spec"].get("replicas", 1)
    ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    done = ready >= wanted and status.get("replicas", 0) == wanted
    return State(done=done, failed=False, sentence=f"{ready} of {wanted} pods of {name} are ready.")


def _troubles(pods: Sequence[Manifest]) -> Iterator[str]:
    for pod in pods:
        status = pod.get("status", {})
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            which = f"{container['name']} of {pod['metadata']['name']}"
            ended = container.get("lastState", {}).get("terminated") or container["state"].get("terminated")
            killed = ended is not None and ended.get("reason") == "OOMKilled"
            if killed and not container["ready"]:  # one that is has got over it
                yield f"{which} was killed: out of memory."
            waiting = container["state"].get("waiting", {})
            if waiting.get("reason") in HOPELESS:
                code = f", it ended with code {ended['exitCode']}" if ended else ""
                yield f"{which}: {waiting['reason']}{code}. {waiting.get('message', '')}".strip()


def _last_words(cluster: Cluster, pods: Sequence[Manifest]) -> str:
    """The end of the log of a pod that is not ready."""
    for pod in pods:
        statuses = pod.get("status", {}).get("containerStatuses", [])
        for container in statuses:
            if not container["ready"] and (container["started"] or container["restartCount"]):
                name = pod["metadata"]["name"]
                try:
                    log = cluster.run("logs", name, "--container", container["name"], "--tail=3")
                except UserError:
                    continue
                if log.strip():
                    return f" The end of the log of {name}:\n{log.strip()}"
    return ""

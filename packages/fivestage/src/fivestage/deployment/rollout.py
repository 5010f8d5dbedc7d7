"""Wait for the rollout of a Deployment, and say why it fails as soon as waiting cannot help."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fivestage.common.errors import UserError
from fivestage.deployment.kubectl import Cluster, Manifest

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
UNRECOVERABLE = (  # reasons of a waiting container that do not pass by themselves
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
)


@dataclass(frozen=True)
class RolloutState:
    """Whether a rollout is done or has failed, and a sentence that says how far it is or why."""

    done: bool
    failed: bool
    sentence: str


def wait_for_rollout(cluster: Cluster, name: str, wait_seconds: float) -> list[Manifest]:
    """Wait until a Deployment runs nothing but ready pods of its newest revision.

    `kubectl rollout status` would wait out its whole time for an image that cannot be pulled.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        deployment = cluster.get("deployment", name)
        if deployment is None:
            raise UserError(f"There is no Deployment {name} in the namespace {cluster.namespace}.")
        pods = newest_pods(cluster, deployment)
        state = rollout_state(deployment, pods)
        if state.done:
            return pods
        if state.failed or time.monotonic() > deadline:
            late = "" if state.failed else f"not done after {wait_seconds:.0f} s: "
            raise UserError(f"{late}{state.sentence}{_end_of_log(cluster, pods)}")
        time.sleep(1)


def newest_pods(cluster: Cluster, deployment: Manifest) -> list[Manifest]:
    """Return the pods of a Deployment's newest revision that are not being deleted."""
    labels, metadata = deployment["spec"]["selector"]["matchLabels"], deployment["metadata"]
    revision = metadata.get("annotations", {}).get(REVISION)
    for replicas in cluster.find("replicasets", labels):
        owners = (owner["uid"] for owner in replicas["metadata"].get("ownerReferences", []))
        if metadata["uid"] in owners and replicas["metadata"]["annotations"].get(REVISION) == revision:
            pods = cluster.find("pods", labels | {HASH: replicas["metadata"]["labels"][HASH]})
            return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return []


def rollout_state(deployment: Manifest, pods: Sequence[Manifest]) -> RolloutState:
    """Return how far a rollout is."""
    name, status = deployment["metadata"]["name"], deployment.get("status", {})
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return RolloutState(done=False, failed=False, sentence=f"the cluster has not seen {name} yet.")
    problem = next(_pod_problems(pods), "")
    for condition in status.get("conditions", []):
        refused = condition["type"] == "ReplicaFailure" and condition["status"] == "True"
        if refused or condition.get("reason") == "ProgressDeadlineExceeded":
            reason = problem or condition.get("message", "")
            return RolloutState(done=False, failed=True, sentence=f"{name}: {reason}")
    if problem:
        return RolloutState(done=False, failed=True, sentence=problem)
    replicas = deployment["spec"].get("replicas", 1)
    ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    done = ready >= replicas and status.get("replicas", 0) == replicas
    return RolloutState(done, failed=False, sentence=f"{ready} of {replicas} pods of {name} are ready.")


def _pod_problems(pods: Sequence[Manifest]) -> Iterator[str]:
    for pod in pods:
        status = pod.get("status", {})
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            which, state = f"{container['name']} of {pod['metadata']['name']}", container["state"]
            ended = container.get("lastState", {}).get("terminated") or state.get("terminated") or {}
            if ended.get("reason") == "OOMKilled" and not container["ready"]:  # a ready one has recovered
                yield f"{which} was killed: out of memory."
            waiting = state.get("waiting", {})
            if waiting.get("reason") in UNRECOVERABLE:
                code = f", it ended with code {ended['exitCode']}" if ended else ""
                yield f"{which}: {waiting['reason']}{code}. {waiting.get('message', '')}".strip()


def _end_of_log(cluster: Cluster, pods: Sequence[Manifest]) -> str:
    """The last lines of a container that has started and is not ready."""
    for pod in pods:
        name = pod["metadata"]["name"]
        for container in pod.get("status", {}).get("containerStatuses", []):
            if container["ready"] or not (container["started"] or container["restartCount"]):
                continue
            with suppress(UserError):
                log = cluster.run("logs", name, "--container", container["name"], "--tail=3").strip()
                if log:
                    return f" The end of the log of {name}:\n{log}"
    return ""

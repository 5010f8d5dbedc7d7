"""Wait for the rollout of a Deployment, and report a failure as soon as it cannot recover."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from fivestage.common.errors import UserError
from fivestage.deployment.kubectl import Cluster, Manifest

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
UNRECOVERABLE = (  # reasons for which a container waits and does not recover by itself
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
)


def wait_for_rollout(cluster: Cluster, name: str, wait_seconds: float) -> list[Manifest]:
    """Wait until all pods of a Deployment are ready and of its newest revision.

    `kubectl rollout status` would wait until its timeout for an image that cannot be pulled.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        deployment = cluster.get("deployment", name)
        if deployment is None:
            raise UserError(f"There is no Deployment {name} in the namespace {cluster.namespace}.")
        pods = newest_pods(cluster, deployment)
        if problem := rollout_problem(deployment, pods):
            raise UserError(problem + _end_of_log(cluster, pods))
        if not (pending := rollout_pending(deployment)):
            return pods
        if time.monotonic() > deadline:
            reason = _why_unscheduled(pods) or pending
            raise UserError(f"not done after {wait_seconds:.0f} s: {reason}{_end_of_log(cluster, pods)}")
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


def ready_pods(cluster: Cluster, deployment: Manifest) -> list[Manifest]:
    """Return the pods of a Deployment that receive traffic: ready, not being deleted, of any revision."""
    pods = cluster.find("pods", deployment["spec"]["selector"]["matchLabels"])
    found = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"] and _is_ready(pod)]
    if not found:
        raise UserError(f"No pod of {deployment['metadata']['name']} is ready.")
    return found


def _is_ready(pod: Manifest) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def rollout_pending(deployment: Manifest) -> str:
    """Return what a rollout still waits for; empty if it is done."""
    name, status = deployment["metadata"]["name"], deployment.get("status", {})
    if not _is_observed(deployment):
        return f"the cluster has not processed {name} yet."
    replicas = deployment["spec"].get("replicas", 1)
    ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    done = ready >= replicas and status.get("replicas", 0) == replicas
    return "" if done else f"{ready} of {replicas} pods of {name} are ready."


def rollout_problem(deployment: Manifest, pods: Sequence[Manifest]) -> str:
    """Return why a rollout cannot succeed by itself; empty as long as it can."""
    if not _is_observed(deployment):
        return ""
    problem = next(_pod_problems(pods), "")
    for condition in deployment.get("status", {}).get("conditions", []):
        replica_failure = condition["type"] == "ReplicaFailure" and condition["status"] == "True"
        if replica_failure or _has_timed_out(condition, pods):
            reason = problem or _why_unscheduled(pods) or condition.get("message", "")
            return f"{deployment['metadata']['name']}: {reason}"
    return problem


def _is_observed(deployment: Manifest) -> bool:
    """Return whether the status is of the newest manifest."""
    return bool(
        deployment.get("status", {}).get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    )


def _has_timed_out(condition: Manifest, pods: Sequence[Manifest]) -> bool:
    """Return whether a rollout has exceeded its deadline: this one, not one whose condition still stands."""
    hashes = [pod["metadata"].get("labels", {}).get(HASH, "") for pod in pods]
    is_ours = not hashes or any(one in condition.get("message", "") for one in hashes)
    return condition.get("reason") == "ProgressDeadlineExceeded" and is_ours


def _pod_problems(pods: Sequence[Manifest]) -> Iterator[str]:
    for pod in pods:
        for container in _containers(pod):
            which, state = f"{container['name']} of {pod['metadata']['name']}", container["state"]
            ended = container.get("lastState", {}).get("terminated") or state.get("terminated") or {}
            if ended.get("reason") == "OOMKilled" and not container["ready"]:  # a ready one has recovered
                yield f"{which} was killed: out of memory."
            waiting = state.get("waiting", {})
            if waiting.get("reason") in UNRECOVERABLE:
                code = f", exit code {ended['exitCode']}" if ended else ""
                yield f"{which}: {waiting['reason']}{code}. {waiting.get('message', '')}".strip()


def _why_unscheduled(pods: Sequence[Manifest]) -> str:
    """Return why no node has room for a pod; empty if each has a node. An autoscaler may still add one."""
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions", []):
            if condition.get("reason") == "Unschedulable":
                return f"{pod['metadata']['name']} has no node: {condition['message']}"
    return ""


def _containers(pod: Manifest) -> list[Manifest]:
    """Return the status of each container, in the order in which they start."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _end_of_log(cluster: Cluster, pods: Sequence[Manifest]) -> str:
    """Return the last log lines of a container that has started but is not ready."""
    for pod in pods:
        name = pod["metadata"]["name"]
        for container in _containers(pod):
            if container["ready"] or not (container["started"] or container["restartCount"]):
                continue
            with suppress(UserError):
                log = cluster.run("logs", name, "--container", container["name"], "--tail=3").strip()
                if log:
                    return f" The end of the log of {container['name']} of {name}:\n{log}"
    return ""

"""Changes to rendered manifests for a release: image, annotations, canary Deployment, removed objects."""

import copy
from collections.abc import Mapping, Sequence

from fivestage.common.errors import UserError
from fivestage.deployment.kubectl import Manifest

TRACK = "fivestage/track"
PROJECT = "app.kubernetes.io/instance"
SERVING = {"app.kubernetes.io/component": "serving", TRACK: "stable"}
# Of a pod; applying them does not affect running pods.
PREREQUISITES = ("Namespace", "ServiceAccount", "ConfigMap", "Secret")
NEVER_DELETED = ("Namespace", "Secret", "PersistentVolumeClaim")  # even if a later release lacks them
CHANGE_CAUSE = "kubernetes.io/change-cause"  # shown by `kubectl rollout history`


def serving_deployment(manifests: Sequence[Manifest]) -> Manifest:
    """Return the Deployment of the service."""
    found = [
        one
        for one in manifests
        if one["kind"] == "Deployment" and SERVING.items() <= one["metadata"].get("labels", {}).items()
    ]
    if len(found) != 1:
        labels = ", ".join(f"{name}={value}" for name, value in SERVING.items())
        raise UserError(f"The manifests have {len(found)} Deployments with {labels}: exactly one is needed.")
    return found[0]


def require_own_namespace(existing: Manifest | None, manifests: Sequence[Manifest]) -> None:
    """Raise a `UserError` if the Deployment in the cluster belongs to another project."""
    owner, ours = (
        one and one["metadata"].get("labels", {}).get(PROJECT)
        for one in (existing, serving_deployment(manifests))
    )
    if owner and ours and owner != ours:
        raise UserError(
            f"The namespace {namespace_of(manifests)} already serves the project {owner}: give {ours} "
            "another one in k8s/components/project/kustomization.yaml."
        )


def namespace_of(manifests: Sequence[Manifest]) -> str:
    """Return the namespace of the service's Deployment."""
    return str(serving_deployment(manifests)["metadata"].get("namespace", "default"))


def serving_container(manifests: Sequence[Manifest]) -> Manifest:
    """Return the container of the service."""
    containers: list[Manifest] = serving_deployment(manifests)["spec"]["template"]["spec"]["containers"]
    return containers[0]


def annotated(
    manifests: Sequence[Manifest], image: str, annotations: Mapping[str, str], cause: str
) -> list[Manifest]:
    """Return the manifests with the image, if given, and with annotations on the Deployment and its pods."""
    changed = copy.deepcopy(list(manifests))
    if image:
        serving_container(changed)["image"] = image
    added = {f"fivestage/{name}": value for name, value in annotations.items()}
    deployment = serving_deployment(changed)
    pods, own = deployment["spec"]["template"]["metadata"], deployment["metadata"]
    pods["annotations"] = pods.get("annotations", {}) | added
    own["annotations"] = own.get("annotations", {}) | added | {CHANGE_CAUSE: cause}
    return changed


def canary_of(manifests: Sequence[Manifest]) -> Manifest:
    """Return a canary Deployment: one replica of the service, with its own name and canary labels."""
    canary = copy.deepcopy(serving_deployment(manifests))
    metadata, spec = canary["metadata"], canary["spec"]
    metadata["name"] += "-canary"
    spec["replicas"] = 1
    for labels in (
        metadata["labels"],
        spec["selector"]["matchLabels"],
        spec["template"]["metadata"]["labels"],
    ):
        labels[TRACK] = "canary"
    return canary


def removed(before: Sequence[Manifest], after: Sequence[Manifest]) -> list[tuple[str, str]]:
    """Return kind and name of the objects that `after` lacks, except those that hold data or secrets."""
    remaining = {_key(one) for one in after}
    missing = [one for one in before if _key(one) not in remaining and one["kind"] not in NEVER_DELETED]
    return [(kind, name) for kind, _, name in map(_key, missing)]


def _key(one: Manifest) -> tuple[str, str, str]:
    """Return an object's kind with its API group, its namespace and its name."""
    group, _, _ = one["apiVersion"].rpartition("/")
    kind = f"{one['kind']}.{group}" if group else str(one["kind"])
    return kind, one["metadata"].get("namespace", ""), one["metadata"]["name"]

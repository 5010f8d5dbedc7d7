"""What a release changes in rendered manifests: the image, the marks of what it carries, a canary of it."""

import copy
from collections.abc import Mapping, Sequence

from fivestage.common.errors import UserError
from fivestage.deployment.kubectl import Manifest

TRACK = "fivestage/track"
SERVING = {"app.kubernetes.io/component": "serving", TRACK: "stable"}
FIRST = ("Namespace", "ServiceAccount", "ConfigMap", "Secret")  # what pods need, and what harms none that run
KEPT = ("Namespace", "Secret", "PersistentVolumeClaim")  # never deleted because a release lacks them
CAUSE = "kubernetes.io/change-cause"


def serving_deployment(manifests: Sequence[Manifest]) -> Manifest:
    """The Deployment of the service, in the stable track.

    Raises:
        UserError: when there is not just one.
    """
    found = [
        one
        for one in manifests
        if one["kind"] == "Deployment" and SERVING.items() <= one["metadata"].get("labels", {}).items()
    ]
    if len(found) != 1:
        wanted = ", ".join(f"{name}={value}" for name, value in SERVING.items())
        raise UserError(f"The manifests have {len(found)} Deployments with {wanted}: one is needed.")
    return found[0]


def namespace_of(manifests: Sequence[Manifest]) -> str:
    """Where the service is to run."""
    return str(serving_deployment(manifests)["metadata"].get("namespace", "default"))


def image_of(manifests: Sequence[Manifest]) -> str:
    """The image of the service."""
    return str(_container(serving_deployment(manifests))["image"])


def released(
    manifests: Sequence[Manifest], image: str, marks: Mapping[str, str], cause: str
) -> list[Manifest]:
    """The manifests with the image, where one is given, and with marks on the Deployment and its pods."""
    found = copy.deepcopy(list(manifests))
    deployment = serving_deployment(found)
    if image:
        _container(deployment)["image"] = image
    named = {f"fivestage/{name}": value for name, value in marks.items()}
    pods = deployment["spec"]["template"]["metadata"]
    pods["annotations"] = pods.get("annotations", {}) | named
    own = deployment["metadata"]
    own["annotations"] = own.get("annotations", {}) | named | {CAUSE: cause}
    return found


def as_canary(manifests: Sequence[Manifest]) -> Manifest:
    """One pod of the Deployment to be released, by another name, beside the stable ones."""
    canary = copy.deepcopy(serving_deployment(manifests))
    canary["metadata"]["name"] += "-canary"
    canary["spec"]["replicas"] = 1
    template = canary["spec"]["template"]["metadata"]
    for labels in (
        canary["metadata"]["labels"],
        canary["spec"]["selector"]["matchLabels"],
        template["labels"],
    ):
        labels[TRACK] = "canary"
    return canary


def needed_first(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Settings and the like, which the canary reads as the release will."""
    return [one for one in manifests if one["kind"] in FIRST]


def left_over(before: Sequence[Manifest], after: Sequence[Manifest]) -> list[tuple[str, str]]:
    """Kind and name of what the release before had and this one has not; never of what holds data."""
    here = {_key(one) for one in after}
    return [
        (_resource(one), one["metadata"]["name"])
        for one in before
        if _key(one) not in here and one["kind"] not in KEPT
    ]


def _key(one: Manifest) -> tuple[str, str, str]:
    return _resource(one), one["metadata"].get("namespace", ""), one["metadata"]["name"]


def _resource(one: Manifest) -> str:
    group, _, _ = one["apiVersion"].rpartition("/")
    return f"{one['kind']}.{group}" if group else str(one["kind"])


def _container(deployment: Manifest) -> Manifest:
    containers: list[Manifest] = deployment["spec"]["template"]["spec"]["containers"]
    return containers[0]

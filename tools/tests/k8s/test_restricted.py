from collections.abc import Callable
from copy import deepcopy

import pytest

from tools.tests.k8s.rendering import PLACES, Resource, named, of_kind, pod_template, pods, rendered
from tools.tests.k8s.restricted import violations

LEVELS = ("enforce", "warn", "audit")


@pytest.mark.parametrize("place", PLACES)
def test_every_pod_passes_restricted(place: str) -> None:
    found = {name: list(violations(pod)) for name, pod in pods(rendered(place))}
    assert found
    assert not any(found.values()), found


@pytest.mark.parametrize("place", PLACES)
def test_the_namespace_enforces_restricted(place: str) -> None:
    (namespace,) = of_kind(rendered(place), "Namespace")
    labels = namespace["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{level}"] for level in LEVELS} == {"restricted"}


def spoilt(change: Callable[[Resource, Resource], object]) -> list[str]:
    """Return the violations of the service's pod after a change of its spec or its container."""
    pod = deepcopy(pod_template(named(rendered("base"), "Deployment", "fivestage")))
    change(pod["spec"], pod["spec"]["containers"][0])
    return list(violations(pod))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda pod, _: pod.update(hostNetwork=True), "hostNetwork"),
        (lambda pod, _: pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "hostPath"),
        (lambda pod, _: pod["securityContext"].update(sysctls=[{"name": "x", "value": "1"}]), "sysctls"),
        (lambda pod, _: pod["securityContext"].update(runAsUser=0), "runs as root"),
        (lambda pod, _: pod["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
        (lambda pod, _: pod["securityContext"].pop("seccompProfile"), "seccompProfile"),
        (lambda _, own: own["securityContext"].update(privileged=True), "privileged"),
        (lambda _, own: own["securityContext"].pop("allowPrivilegeEscalation"), "allowPrivilegeEscalation"),
        (lambda _, own: own["securityContext"].pop("capabilities"), "keeps capabilities"),
        (lambda _, own: own["securityContext"]["capabilities"].update(add=["NET_RAW"]), "adds capabilities"),
        (lambda _, own: own["securityContext"].update(procMount="Unmasked"), "procMount"),
        (
            lambda _, own: own["securityContext"].update(appArmorProfile={"type": "Unconfined"}),
            "appArmorProfile",
        ),
        (lambda _, own: own["securityContext"].update(seLinuxOptions={"user": "x"}), "seLinuxOptions"),
        (lambda _, own: own["ports"][0].update(hostPort=8000), "hostPort"),
        (lambda _, own: own["livenessProbe"]["httpGet"].update(host="1.2.3.4"), "a probe of another host"),
    ],
)
def test_what_restricted_forbids_is_found(change: Callable[[Resource, Resource], object], fault: str) -> None:
    (found,) = spoilt(change)
    assert fault in found

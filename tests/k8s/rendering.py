"""The manifests as `kubectl apply -k` sees them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from core.settings import ROOT

K8S = ROOT / "k8s"
PLACES = (
    "base",
    *sorted(f"overlays/{path.parent.name}" for path in K8S.glob("overlays/*/kustomization.yaml")),
)
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")
Resource = dict[str, Any]


def rendered(place: str) -> list[Resource]:
    """All resources of a base or an overlay, the test's own to change."""
    return list(yaml.load_all(_text(place), yaml.CSafeLoader))


@cache
def _text(place: str) -> str:
    if shutil.which("kustomize"):
        command = ["kustomize", "build"]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    elif os.environ.get("CI"):
        pytest.fail("neither kustomize nor kubectl is installed: no manifest has been looked at")
    else:
        pytest.skip("neither kustomize nor kubectl is installed (Debian: apt install kustomize)")
    built = subprocess.run([*command, str(K8S / place)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert not built.stderr, built.stderr  # deprecations are told there
    return built.stdout


def of_kind(resources: list[Resource], *kinds: str) -> list[Resource]:
    return [one for one in resources if one["kind"] in kinds]


def named(resources: list[Resource], kind: str, name: str) -> Resource:
    (found,) = [one for one in of_kind(resources, kind) if one["metadata"]["name"] == name]
    return found


def called(resource: Resource) -> str:
    return f"{resource['kind']} {resource['metadata']['name']}"


def pod_template(workload: Resource) -> Resource:
    spec: Resource = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: Resource = spec["template"]
    return template


def pods(resources: list[Resource]) -> Iterator[tuple[str, Resource]]:
    """Names and templates of the pods that these resources make."""
    for workload in of_kind(resources, *WORKLOADS):
        yield called(workload), pod_template(workload)


def containers(pod: Resource) -> list[Resource]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]

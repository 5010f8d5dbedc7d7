"""The manifests as rendered by `kubectl apply -k`."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from fivestage.common.settings import ROOT

K8S = ROOT / "k8s"
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))
MADE_UP = (  # components that no overlay of ours has, as a user would put them into one
    "overlays/local+../monitoring",
    "overlays/local+../packages/fivestage/k8s/fetched-model",
    "overlays/platform+../packages/fivestage/k8s/fetched-model",
    "base+../packages/fivestage/k8s/fetched-model+components/production",
    "overlays/canary+../packages/fivestage/k8s/gateway",
)
PLACES = ("base", *(f"overlays/{name}" for name in OVERLAYS), *MADE_UP)
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")
Resource = dict[str, Any]


def rendered(place: str) -> list[Resource]:
    """Return a copy of all resources of a base or an overlay."""
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
    with overlay(place) as folder:
        built = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert not built.stderr, built.stderr  # kubectl prints deprecations there
    return built.stdout


@contextmanager
def overlay(place: str) -> Iterator[Path]:
    """Yield the folder of an overlay; a temporary one if its name adds components with a plus."""
    start, *components = place.split("+")
    if not components:
        yield K8S / start
        return
    with tempfile.TemporaryDirectory() as folder:
        own, root = Path(folder).resolve(), K8S.resolve()
        from_here = {name: os.path.relpath(root / name, own) for name in (start, *components)}
        content = {
            "namespace": "fivestage",
            "resources": [from_here[start]],
            "components": [from_here[name] for name in components],
        }
        (own / "kustomization.yaml").write_text(yaml.safe_dump(content))
        yield own


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
    """Yield the names and templates of the pods of these resources."""
    for workload in of_kind(resources, *WORKLOADS):
        yield called(workload), pod_template(workload)


def containers(pod: Resource) -> list[Resource]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]

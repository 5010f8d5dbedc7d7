"""Apply every overlay to a real API server, with its admission and defaults, and remove it again.

Only FIVESTAGE_TEST_KUBECONFIG chooses the server, so that no other is used by accident.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from fivestage.deployment.kubectl import Cluster
from tools.tests.k8s.rendering import PLACES, Resource, of_kind, rendered
from tools.tests.k8s.test_schema import CUSTOM

NAMED = "FIVESTAGE_TEST_KUBECONFIG"
pytestmark = [
    pytest.mark.skipif(not os.environ.get(NAMED), reason=f"{NAMED} names no cluster"),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
]


def kubectl(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = ["kubectl", "--kubeconfig", os.environ[NAMED], *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A temporary namespace that enforces the same Pod Security Standard as ours."""
    name = f"fivestage-test-{secrets.token_hex(4)}"
    (ours,) = of_kind(rendered("base"), "Namespace")
    ours["metadata"]["name"] = name
    made = kubectl("create", "-f", "-", given=yaml.safe_dump(ours))
    assert made.returncode == 0, made.stderr
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def moved(resources: list[Resource], namespace: str) -> str:
    for one in resources:
        if one["kind"] == "Namespace":
            one["metadata"]["name"] = namespace
        else:
            one["metadata"]["namespace"] = namespace
    return yaml.safe_dump_all(one for one in resources if one["kind"] not in CUSTOM)


@pytest.mark.parametrize("place", PLACES)
def test_the_server_takes_it_without_a_warning(place: str, namespace: str) -> None:
    words = (
        "apply",
        "--dry-run=server",
        "--server-side",
        "--force-conflicts",
        "--warnings-as-errors",
        "-f",
        "-",
    )
    done = kubectl(*words, given=moved(rendered(place), namespace))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_release_and_kubectl_apply_follow_each_other_without_a_warning(
    namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", os.environ[NAMED])
    about = {"name": "both", "namespace": namespace}
    there = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"kept": "1", "gone": "1"}}]
    then = [there[0] | {"data": {"kept": "2"}}]
    by_hand = ("apply", "--warnings-as-errors", "-f", "-")
    Cluster(namespace).apply(there)
    for manifests in (then, there):
        done = kubectl(*by_hand, given=yaml.safe_dump_all(manifests))
        assert (done.returncode, done.stderr) == (0, "")
    Cluster(namespace).apply(then)
    found = Cluster(namespace).get("configmap", "both")
    assert found is not None
    assert found["data"] == {"kept": "2"}
    done = kubectl(*by_hand, given=yaml.safe_dump_all(then))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_server_would_refuse_a_pod_that_restricted_forbids(namespace: str) -> None:
    (deployment,) = of_kind(rendered("base"), "Deployment")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad", "namespace": namespace}}
    spec = deployment["spec"]["template"]["spec"] | {"hostNetwork": True, "serviceAccountName": "default"}
    done = kubectl("create", "--dry-run=server", "-f", "-", given=yaml.safe_dump(pod | {"spec": spec}))
    assert done.returncode != 0
    assert "violates PodSecurity" in done.stderr

"""Rules, dashboard and manifests follow the contract, and the policy trains when it should."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from fivestage.capacity.patches import require_current
from fivestage.capacity.size import sized
from fivestage.common.settings import ROOT
from fivestage.monitoring.alerts import rules_text
from fivestage.monitoring.dashboard import dashboard_text
from problem import PROBLEM

OVERLAYS = sorted(path.parent for path in (ROOT / "k8s" / "overlays").glob("*/kustomization.yaml"))


def test_rules_and_dashboard_follow_the_contract() -> None:
    written = {name: (ROOT / "monitoring" / name).read_text() for name in ("rules.yaml", "dashboard.json")}
    contract = PROBLEM.contract
    assert written == {"rules.yaml": rules_text(contract), "dashboard.json": dashboard_text(contract)}, (
        "make alerts"
    )


def test_the_manifests_have_the_sizes_that_follow_from_the_contract() -> None:
    require_current(sized(PROBLEM.contract)[0])


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_renders_and_its_pods_are_restricted(overlay: Path) -> None:
    """As the namespace's Pod Security standard demands: no root, no privileges, limits of memory."""
    program = next(
        (one for one in (["kustomize", "build"], ["kubectl", "kustomize"]) if shutil.which(one[0])), None
    )
    if program is None:
        pytest.skip("neither kustomize nor kubectl is installed (Debian: apt install kustomize)")
    done = subprocess.run([*program, str(overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for one in yaml.safe_load_all(done.stdout):
        if one["kind"] not in ("Deployment", "StatefulSet", "CronJob"):
            continue
        spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
        pod = spec["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"], one["metadata"]["name"]
        for container in pod["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"], container["name"]
            assert container["resources"]["limits"]["memory"], container["name"]

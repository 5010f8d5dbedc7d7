"""The audit of workflows in `make check` passes, and finds injected faults."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.tests.workflows.reading import GITHUB, ROOT, Step, lines, steps, workflows

BIN = Path(sys.executable).parent
CHECKOUT = re.compile(r"uses: actions/checkout@[0-9a-f]{40} # v\S+")


def audit(folder: Path) -> subprocess.CompletedProcess[str]:
    """Return the findings of `make check` on a folder's workflows."""
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "zizmor" in line)
    words = line.split()[1:-1]
    return subprocess.run([BIN / "zizmor", *words, folder], capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the workflows, to inject faults."""
    return Path(shutil.copytree(GITHUB, tmp_path / ".github"))


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("unpinned-uses", CHECKOUT.pattern, "uses: actions/checkout@v7"),
        ("template-injection", "run: make check", "run: echo ${{ github.event.pull_request.title }}"),
        ("dangerous-triggers", "  pull_request:", "  pull_request_target:"),
        ("excessive-permissions", "permissions: {}", "permissions: write-all"),
    ],
)
def test_each_danger_is_found(copy: Path, rule: str, old: str, new: str) -> None:
    workflow = copy / "workflows" / "ci.yml"
    spoilt, changes = re.subn(old, new, workflow.read_text())
    assert changes
    workflow.write_text(spoilt)
    done = audit(copy)
    assert done.returncode != 0
    assert rule in done.stdout


def test_a_workflow_that_github_would_not_take_is_found(copy: Path) -> None:
    workflow = copy / "workflows" / "ci.yml"
    workflow.write_text(workflow.read_text().replace("runs-on:", "runs_on:"))
    schema = [f"{BIN}/check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    done = subprocess.run(schema, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "runs_on" in done.stdout


@pytest.mark.parametrize("step", [step for step in steps() if step.uses], ids=str)
def test_what_is_used_is_our_own_or_pinned_and_its_version_is_told(step: Step) -> None:
    if step.uses.startswith("$/"):
        assert (ROOT / step.uses.removeprefix("$/") / "action.yml").is_file()
        return
    told = [line for line in lines() if f"uses: {step.uses}" in line]
    assert all(re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+( # |$)", line) for line in told)
    if step.uses.startswith("actions/checkout@"):
        assert step.given["persist-credentials"] is False


@pytest.mark.parametrize("name", workflows())
def test_a_workflow_has_no_rights_but_those_a_job_asks_for_and_each_job_ends(name: str) -> None:
    workflow = workflows()[name]
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert "permissions" in job
        assert "timeout-minutes" in job or "uses" in job
    own = [job for job in workflow["jobs"].values() if "uses" not in job]
    assert "concurrency" in workflow or all("concurrency" in job for job in own)


def test_what_waits_for_a_person_holds_up_its_own_job_only() -> None:
    found = workflows()
    waits = {
        name
        for name, one in found.items()
        if any(job.get("environment") in ("model", "production") for job in one["jobs"].values())
    }
    for name, one in found.items():
        if any(Path(job.get("uses", "")).name in waits for job in one["jobs"].values()):
            waits |= {name}
    assert waits == {"cd.yml", "monitor.yml", "retrain.yml"}
    assert not [name for name in waits if "concurrency" in found[name]]


@pytest.mark.parametrize("name", workflows())
def test_a_pull_request_meets_no_secret(name: str) -> None:
    triggers = workflows()[name]["on"]
    assert not {"pull_request_target", "workflow_run"} & set(triggers)
    if "pull_request" in triggers:
        assert "secrets." not in (GITHUB / "workflows" / name).read_text()

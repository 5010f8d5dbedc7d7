"""Everything in the README's commands exists: commands, options, overlays, names of objects."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from tools.template.start import REPOSITORY
from tools.tests.command_lines import understood

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(
    r"^```\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line]
OURS = () if (ROOT / "local.mk").exists() else ("make start ",)  # only works in copies of the template
MAKE = [line for line in LINES if line.startswith("make ") and not line.startswith(OURS)]
CLUSTER = [line for line in LINES if line.startswith("kubectl ")]


@pytest.mark.parametrize("line", MAKE)
def test_make_knows_every_verb_and_run_every_option(line: str) -> None:
    words = shlex.split(line, comments=True)
    done = subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for told in done.stdout.splitlines():
        called = shlex.split(told.partition("run.py ")[2])
        if called and "=" not in told.partition("run.py ")[0]:
            assert understood(called)


@pytest.mark.parametrize("line", CLUSTER)
def test_kubectl_is_pointed_at_what_is_there(line: str) -> None:
    words = shlex.split(line)
    if "apply" in words:
        assert (ROOT / words[-1] / "kustomization.yaml").exists()
    for word in words:
        kind, _, name = word.partition("/")
        if kind in {"deployment", "service"} and name:
            assert name in names(kind)


def names(kind: str) -> set[str]:
    found = set()
    for path in (ROOT / "k8s" / "base").rglob("*.yaml"):
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if one and str(one.get("kind", "")).lower() == kind:
                found.add(one["metadata"]["name"])
    return found


def test_other_lines_are_few_and_known() -> None:
    """Requests, copier and images have separate tests."""
    tools = ("make ", "kubectl ", "curl ", "uvx copier ", "copier ", "zenml init ", "kind ", "git clone ")
    known = (*tools, "  ")
    assert not [line for line in LINES if not line.startswith(known)]


def test_the_repository_has_one_address() -> None:
    """If it moves, change `REPOSITORY`; this test then names the pages to change."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"(?:github\.com/|gh:)([\w-]+/[\w-]+)", readme)
    ours = [one for one in named if one.split("/")[0] == REPOSITORY.split("/")[0] or "fivestage" in one]
    assert ours
    assert set(ours) == {REPOSITORY}

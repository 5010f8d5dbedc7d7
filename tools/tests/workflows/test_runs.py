"""Every `run:` line: its make targets exist, and it is run if that is possible here."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fivestage.reporting.notices import Notice
from tests.ci.conftest import State
from tests.repositories import commit, git
from tools.tests.command_lines import understood
from tools.tests.exported import export
from tools.tests.workflows.proven import here, not_proven, stale
from tools.tests.workflows.reading import ROOT, Step, steps, targets

MAKE = shutil.which("make") or "make"
RUNS = [step for step in steps() if step.run]
DONE = [step for step in RUNS if here(step)]
PAGE = ROOT / "docs" / "ci.md"
LIKELY = {"BAKE_SECONDS": "300", "HOW": "--as-of 2013-12-01", "REGISTRY": "ghcr.io/a/b"}
RUNNERS = {"GITHUB_RUN_ID": "77", "GITHUB_ACTOR": "somebody"}  # set by the runner in every step


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def output(home: Path) -> str:
    """Return the outputs of a line for later steps."""
    path = home / "GITHUB_OUTPUT"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def bash(
    step: Step, folder: Path, home: Path, programs: Path, **given: str
) -> subprocess.CompletedProcess[str]:
    """Run a line with stand-ins for programs, and a temporary home and output file."""
    outputs = {name: str(home / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    values = {name: given.get(name, f"a-{name.lower()}") for name in step.env}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", step.run],
        cwd=folder,
        env=inherited
        | {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(home)}
        | RUNNERS
        | outputs
        | values,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("step", RUNS, ids=str)
def test_a_line_runs_with_programs_that_only_tell(step: Step, tmp_path: Path) -> None:
    for program in ("aws", "az", "brew", "cp", "kubelogin", "sudo"):
        script(tmp_path / program, f'echo "{program} $*"')
    script(tmp_path / "make", f'exec {MAKE} --dry-run "$@"')
    done = bash(step, ROOT, tmp_path, tmp_path, **LIKELY)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (done.stdout + output(tmp_path)).splitlines():
        if called := shlex.split(line.partition(" run.py ")[2]):
            assert understood(called)


@pytest.mark.parametrize("step", RUNS, ids=str)
def test_the_work_is_in_the_makefile(step: Step) -> None:
    """Apart from make, lines only set up the runner (programs, access) or take over a job's files."""
    others = ("aws ", "az ", "brew install ", "cp newest/", "echo ", "kubelogin ", "sudo apt-get ", "umask ")
    for line in step.run.splitlines():
        assert targets(line) or line.startswith(others)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with an origin, whose .venv links to this one's programs."""
    folder = export(tmp_path_factory.mktemp("checkout"))
    bin_ = folder / ".venv" / "bin"
    bin_.mkdir(parents=True)
    for program in ("pip", "uv"):
        script(bin_ / program, "exit 1")
    script(bin_ / "python", f'exec {sys.executable} "$@"')
    for name in ("monitoring", "retraining"):
        facts = {"act": "true", "as_of": "2013-10-08"}
        notice = Notice(name, f"A title: {name}", attention=True, body="what was seen", facts=facts)
        notice.write(folder / "reports" / "notices" / f"{name}.md")
    commit(folder, "Start")
    git(folder, "clone", "--quiet", "--bare", str(folder), str(folder.parent / "origin"))
    git(folder, "remote", "add", "origin", str(folder.parent / "origin"))
    for room in ("", "serving"):  # as a job without rights has left them
        (folder / "newest" / room).mkdir()
        (folder / "newest" / room / "requirements.lock").write_text("new==1.0\n")
    (folder / "newest" / "requirements-run.lock").write_text("new==1.0\n")
    for name in ("installed", "development"):
        stamp = folder / ".venv" / name
        stamp.touch()
        os.utime(stamp, (2**31, 2**31))  # newer than the lock that a line takes over
    return folder


@pytest.mark.parametrize("step", DONE, ids=str)
def test_a_line_does_what_it_says(step: Step, checkout: Path, github: State, tmp_path: Path) -> None:
    """Run against a fake GitHub, with made-up image names."""
    if "pin" in targets(step.run) and not shutil.which("kustomize"):
        pytest.skip("kustomize is not installed (Debian: apt install kustomize)")
    names = {"SERVING": "ghcr.io/a/b@sha256:" + "1" * 64, "PIPELINES": "ghcr.io/a/c@sha256:" + "2" * 64}
    kept = {name: value for name, value in step.env.items() if "${{" not in value}
    done = bash(
        step,
        checkout,
        tmp_path,
        tmp_path / "bin",
        **{n: v for n, v in names.items() if n in step.env},
        **kept,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check = here(step)
    assert check
    assert check(github(), tmp_path, checkout)


def test_the_page_lists_what_is_not_proven_here_and_nothing_else() -> None:
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("## What is not proven here\n")
    listed = {line.split("`")[1] for line in rest.split("\n## ")[0].splitlines() if line.startswith("| `")}
    assert listed == not_proven()
    assert not stale()

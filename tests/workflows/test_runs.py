"""Every `run:` line, as bash would meet it: it parses, and what it asks of make is there."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workflows.reading import ROOT, Step, steps, targets

MAKE = shutil.which("make") or "make"
RUNS = [step for step in steps() if step.run]


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment where make tells what it would do, and every other program says its name."""
    folder = tmp_path_factory.mktemp("dry")
    for program in ("brew", "gh", "git"):
        script(folder / program, f'echo "{program} $*"')
    script(folder / "make", f'exec {MAKE} --dry-run "$@"')
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("step", RUNS, ids=str)
def test_a_line_runs_with_a_make_that_only_tells(step: Step, dry: dict[str, str], tmp_path: Path) -> None:
    given = {name: f"a-{name.lower()}" for name in step.env}
    outputs = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", step.run],
        cwd=ROOT,
        env=dry | outputs | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("step", RUNS, ids=str)
def test_the_work_is_in_the_makefile(step: Step) -> None:
    """A line calls make; what else it may be is short and stands here."""
    allowed = ("make ", "brew install ", "echo ")
    lines = step.run.replace("\\\n", " ").splitlines()
    assert all(line.startswith(allowed) for line in lines), lines
    assert targets(step.run) or "make" not in step.run

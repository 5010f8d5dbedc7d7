"""The workflows and actions of this repository, as their steps."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
GITHUB = ROOT / ".github"
TARGET = re.compile(r"\bmake ((?:[a-z-]+ )*[a-z-]+)")


@dataclass(frozen=True)
class Step:
    """A step of a job: its place, command or action, and environment."""

    place: str
    run: str
    uses: str
    given: dict[str, Any]  # inputs of the action
    env: dict[str, str]

    def __str__(self) -> str:
        return f"{self.place}: {self.run or self.uses}"


def workflows() -> dict[str, dict[str, Any]]:
    """Load the workflows by file name."""
    found = {path.name: yaml.safe_load(path.read_text()) for path in sorted(GITHUB.glob("workflows/*.yml"))}
    return {name: one | {"on": one[True]} for name, one in found.items()}  # YAML 1.1 takes `on` for true


def lines() -> list[str]:
    """Return the lines of all workflows and local actions."""
    files = [*GITHUB.glob("workflows/*.yml"), *GITHUB.glob("actions/*/action.yml")]
    return [line for path in files for line in path.read_text().splitlines()]


def steps() -> Iterator[Step]:
    """Yield the steps of all workflows and local actions."""
    for name, workflow in workflows().items():
        for job_name, job in workflow["jobs"].items():
            env = workflow.get("env", {}) | job.get("env", {})
            for step in job.get("steps", ()):
                yield _step(f"{name}: {job_name}", step, env)
    for path in sorted(GITHUB.glob("actions/*/action.yml")):
        for step in yaml.safe_load(path.read_text())["runs"]["steps"]:
            yield _step(f"{path.parent.name}/action.yml", step, {})


def _step(place: str, step: dict[str, Any], env: dict[str, str]) -> Step:
    given = step.get("with", {})
    return Step(place, step.get("run", "").strip(), step.get("uses", ""), given, env | step.get("env", {}))


def targets(run: str) -> set[str]:
    """Return the make targets of a `run:` line."""
    return {target for found in TARGET.findall(run) for target in found.split()}

"""Generate projects from the template, for tests."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from unittest.mock import patch

import copier
from jinja2 import Environment

from fivestage.common.settings import ROOT

ANSWERS = ".copier-answers.yml"
OWN = {"data": "own", "cloud": "none", "project_name": "Churn radar"}  # answers of many tests, rendered once
TAIL = 6_000  # characters of a program's output


def files_of(folder: Path) -> set[str]:
    """Return the files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def generate(template: Path, folder: Path, /, **answers: str) -> Path:
    """Generate a project; missing answers have their defaults."""
    return Path(shutil.copytree(_rendered(template, folder.name, tuple(sorted(answers.items()))), folder))


@cache
def _rendered(template: Path, name: str, answers: tuple[tuple[str, str], ...]) -> Path:
    """Render a project once per folder name, as copier takes seconds and many tests use the same answers."""
    folder = Path(tempfile.mkdtemp(dir=template.parent)) / name
    with patch.object(
        Environment, "compile", cache(Environment.compile)
    ):  # of each folder's name, for each file
        copier.run_copy(str(template), folder, dict(answers), defaults=True, quiet=True)
    return folder


def part_of(template: Path, folder: Path, *names: str) -> Path:
    """Copy the template's questions and a few of its files, for tests that need no more."""
    (answers,) = template.glob("*answers_file*.jinja")
    included = Path("tools", "template")  # by .jinja files
    shutil.copytree(template / included, folder / included)
    for name in ("copier.yml", answers.name, *names):
        for path in (template / name, template / f"{name}.jinja"):
            if path.exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, (folder / name).with_name(path.name))
    return folder


def link_environment(project: Path) -> None:
    """Let a project use the packages installed here, so that its `make` installs nothing.

    An installation would redirect the environment of this checkout to the project's copy of the library.
    """
    if not (project / ".venv").exists() and (ROOT / ".venv").exists():
        (project / ".venv").symlink_to(ROOT / ".venv")
    library = project / "packages" / "fivestage"
    for path in (*project.glob("requirements*.lock"), library / "pyproject.toml", *library.rglob("*.c")):
        os.utime(path, (0, 0))  # older than the installation


def make(project: Path, *words: str) -> str:
    """Run make in a project, with this environment's packages and the project's library; return its output.

    Raises:
        AssertionError: if make fails; with the end of its output.
    """
    link_environment(project)
    done = subprocess.run(
        ["/usr/bin/env", "make", "--no-print-directory", *words],
        cwd=project,
        env=_own_environment() | {"PYTHONPATH": str(project / "packages" / "fivestage" / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-TAIL:]
    return done.stdout


def run_tests(project: Path, *tests: str, library: Path | None = None) -> None:
    """Run some of a project's tests, with its own library or another one.

    Raises:
        AssertionError: if a test fails; with the end of the output.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=project,
        env=_own_environment() | {"PYTHONPATH": str(library or project / "packages" / "fivestage" / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-TAIL:]


def _own_environment() -> dict[str, str]:
    """Return an environment without our own state folders, and with a free port for the service."""
    ours = ("FIVESTAGE_", "ZENML_", "MLFLOW_", "_MLFLOW_", "PYTEST_", "MAKE", "MFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return kept | {"SERVE_PORT": str(free.getsockname()[1])}

"""`make test-template`: projects with many answers and tables pass their tests and demos."""

from pathlib import Path

import pytest

from fivestage.contract.contract import TASKS
from tests.repositories import commit
from tests.scaffold.odd_tables import WORKING
from tools.tests.template.projects import generate, make

ANSWERS = {
    "the demo by another name": {
        "project_name": "Delay desk",
        "author": "Ann",
        "licence": "MIT",
        "cloud": "none",
        "registry": "ghcr.io/team",
    },
    "one cloud": {"cloud": "eks"},
} | {task: {"data": "own", "task": task, "project_name": f"My {task}"} for task in TASKS}
TESTED = ("amounts", "five_classes", "headers", "keys")  # of the tables, with all tests of the project too


@pytest.mark.parametrize("name", ANSWERS)
def test_a_project_of_these_answers_passes_its_tests_and_lives_through_its_demo(
    template: Path, tmp_path: Path, name: str
) -> None:
    project = commit(generate(template, tmp_path / "project", **ANSWERS[name]), "start")
    make(project, "test", "ARGS=-q")
    told = make(project, "demo")
    assert "reports/index.html" in told


@pytest.mark.parametrize("name", WORKING)
def test_a_table_of_ones_own_lives_through_the_demo(template: Path, tmp_path: Path, name: str) -> None:
    project = commit(generate(template, tmp_path / "project", data="own"), "start")
    words = {"TASK": ""} | WORKING[name](tmp_path)
    make(project, "init", *(f"{word}={value}" for word, value in words.items()))
    make(project, "demo")
    assert (project / "reports" / "index.html").exists()
    if name in TESTED:
        make(project, "test", "ARGS=-q")

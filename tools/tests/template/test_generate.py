"""What copier makes of answers: the expected files and only those, and nothing left unrendered."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from copier.errors import CopierError

from fivestage.common.errors import UserError
from fivestage.contract.contract import TASKS, load_contract
from fivestage.monitoring.alerts import rules_text
from fivestage.monitoring.dashboard import dashboard_text
from fivestage.scaffold.demo import FILES, remove_demo
from tests.repositories import ROOT, commit
from tests.test_architecture import FLIGHT_WORDS
from tools.template.examples import FOLDER, write_example
from tools.template.start import start
from tools.tests.template.projects import ANSWERS, files_of, generate, run_tests

TOLD = ("test_readme.py", "test_floors.py", "book", "ci", "k8s")
OURS = ("copier.yml", "local.mk", "CHANGELOG.md", ".github/workflows/template.yml")
UNRENDERED = re.compile(
    r"(?<!\$)\{\{-? *[a-z_]|\{%-? "
)  # `${{ x`, `{{ $x`, `{%s`: GitHub, Prometheus, formats
BRACES = (
    *(
        ".j2",
        "test_generate.py",
        "odd_tables.py",
        "test_pages.py",
        "tools/book/pages.py",
        "tools/book/site.py",
    ),
    *(
        "packages/fivestage/src/fivestage/monitoring/task_checks.py",
        "packages/fivestage/src/fivestage/training/regression.py",
    ),
)  # of their own


def is_ours(name: str) -> bool:
    """Whether a file belongs to the template and not to a project."""
    return name in OURS or name.endswith(".jinja") or name.startswith(("template/", "tools/tests/template/"))


def test_with_default_answers_a_project_is_the_template_byte_for_byte(template: Path, tmp_path: Path) -> None:
    project = generate(template, tmp_path / "project")
    expected = {name for name in files_of(template) if not is_ours(name)}
    assert files_of(project) - {ANSWERS} == expected
    different = [name for name in expected if (project / name).read_bytes() != (template / name).read_bytes()]
    assert not different
    modes = [name for name in expected if (project / name).stat().st_mode != (template / name).stat().st_mode]
    assert not modes


@pytest.mark.long
@pytest.mark.parametrize("answers", [{}, {"project_name": "Delay desk", "cloud": "none"}])
def test_a_project_with_the_demo_passes_the_tests_of_what_it_tells(
    template: Path, tmp_path: Path, answers: dict[str, str]
) -> None:
    """Of its README, book, manifests and workflows; `make test-template` runs all tests of such projects."""
    project = commit(generate(template, tmp_path / "project", **answers), "start")
    (project / ".venv").symlink_to(ROOT / ".venv")
    run_tests(project, *(f"tests/{name}" for name in TOLD))


@pytest.mark.parametrize("task", TASKS)
def test_with_a_table_of_ones_own_nothing_is_left_of_the_demo(
    template: Path, tmp_path: Path, task: str
) -> None:
    """As if `make init` had been run on the default project, with a small table of scikit-learn."""
    project = generate(template, tmp_path / "project", data="own", task=task, project_name="Churn radar")
    expected = generate(template, tmp_path / "expected", project_name="Churn radar")
    remove_demo(expected)
    assert files_of(project) == files_of(expected)
    told = {
        f"{name}:{number}: {line.strip()}"
        for name in files_of(project) - {"packages/fivestage/tests/test_architecture.py"}
        if not name.startswith("docs/")
        for number, line in enumerate((project / name).read_text(encoding="utf-8").splitlines(), 1)
        if FLIGHT_WORDS.search(line)
    }
    assert not told
    contract = load_contract(project / "problem" / "problem.yaml")
    assert contract.task == task
    assert (project / "monitoring" / "dashboard.json").read_text() == dashboard_text(contract)
    assert (project / "monitoring" / "rules.yaml").read_text() == rules_text(contract)
    assert yaml.safe_load((project / ANSWERS).read_text())["task"] == task
    nothing_unrendered(project)
    for verb in ("check", "format --check"):
        words = [sys.executable, "-m", "ruff", *verb.split()]
        done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_demos_files_are_there_to_be_removed() -> None:
    assert not [name for name in FILES if not (ROOT / name).exists()]


@pytest.mark.parametrize("task", TASKS)
def test_the_examples_are_what_make_init_writes(tmp_path: Path, task: str) -> None:
    write_example(task, tmp_path)
    for name in ("problem.yaml", "dataset.py", "features.py"):
        kept, made = ((folder / name).read_text().splitlines() for folder in (FOLDER / task, tmp_path))
        different = [one for one in zip(kept, made, strict=True) if one[0] != one[1]]
        assert all("quick model" in one for one, _ in different), "make examples"


@pytest.mark.parametrize(
    ("licence", "spdx", "words"),
    [
        ("MIT", "MIT", "Copyright (c) Ann & Co."),
        ("BSD-3-Clause", "BSD-3-Clause", "Redistribution and use"),
        ("proprietary", "LicenseRef-Proprietary", "All rights reserved"),
    ],
)
def test_names_and_licence_stand_where_they_belong(
    template: Path, tmp_path: Path, licence: str, spdx: str, words: str
) -> None:
    answers = {"project_name": "Churn radar 2", "description": "Who leaves, and why?", "author": "Ann & Co."}
    of_zenml = {"email": "ann@example.org", "template": "url"}  # what `zenml init --template` answers unasked
    project = generate(template, tmp_path / "project", licence=licence, **answers, **of_zenml)
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert about["name"] == "churn-radar-2"
    assert about["description"] == "Who leaves, and why?"
    assert about["authors"] == [{"name": "Ann & Co."}]
    assert about["license"] == spdx
    assert words in (project / "LICENSE").read_text()
    readme = (project / "README.md").read_text()
    assert readme.startswith("# Churn radar 2\n\nWho leaves, and why?\n")
    assert "Fivestage" not in readme
    assert not (project / "docs" / "design").exists()
    assert not (project / "book" / "pages").exists()
    told = yaml.safe_load((project / ANSWERS).read_text())
    assert told["project_name"] == "Churn radar 2"
    assert not set(of_zenml) & set(told)
    nothing_unrendered(project)


def nothing_unrendered(project: Path) -> None:
    left = {
        f"{name}:{number}: {line.strip()}"
        for name in files_of(project)
        if not name.endswith(BRACES)
        for number, line in enumerate(
            (project / name).read_text(encoding="utf-8", errors="replace").splitlines(), 1
        )
        if UNRENDERED.search(line)
    }
    assert not left
    assert not [name for name in files_of(project) if "{" in name or name.endswith(".jinja")]


@pytest.mark.parametrize(
    ("cloud", "kept"), [("none", set()), ("eks", {"eks"}), ("all", {"gke", "eks", "aks"})]
)
def test_a_cloud_that_is_not_wanted_leaves_no_trace(
    template: Path, tmp_path: Path, cloud: str, kept: set[str]
) -> None:
    project = generate(template, tmp_path / "project", cloud=cloud, registry="ghcr.io/team")
    overlays = {path.name for path in (project / "k8s" / "overlays").iterdir()}
    assert overlays & {"gke", "eks", "aks"} == kept
    told = (project / "docs" / "kubernetes.md").read_text().split("## ")[0]
    assert {one for one in ("gke", "eks", "aks") if one in told} == kept
    production = (project / "k8s" / "components" / "production" / "kustomization.yaml").read_text()
    assert "newName: ghcr.io/team/fivestage-serving" in production
    assert "registry.example.com" not in production
    nothing_unrendered(project)


@pytest.mark.parametrize("name", ["", "9 lives", "a", "x" * 60, "semi;colon", 'quote"', "ends-"])
def test_a_name_that_will_not_do_is_refused(template: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises((CopierError, ValueError), match="name"):
        generate(template, tmp_path / "project", project_name=name)


def test_use_this_template_and_one_command(template: Path, tmp_path: Path) -> None:
    """A copy of the template with a history of its own becomes what `copier copy` makes."""
    copy = tmp_path / "copy"
    subprocess.run(["/bin/cp", "-r", template, copy], check=True)
    commit(copy, "Initial commit")
    start(copy, {"project_name": "Churn radar"}, "gh:somebody/template")
    expected = generate(template, tmp_path / "expected", project_name="Churn radar")
    found = {name for name in files_of(copy) if not name.startswith(".git/")}
    assert found == files_of(expected)
    assert (copy / "README.md").read_text() == (expected / "README.md").read_text()
    told = yaml.safe_load((copy / ANSWERS).read_text())
    assert told["_src_path"] == "gh:somebody/template"
    assert re.fullmatch(r"v\d+\.\d+\.\d+", told["_commit"])
    assert not (copy / "template").exists()
    with pytest.raises(UserError, match="project already"):
        start(copy, {}, "gh:somebody/template")


def test_a_start_never_loses_changes(template: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["/bin/cp", "-r", template, copy], check=True)
    commit(copy, "Initial commit")
    (copy / "run.py").write_text("mine")
    with pytest.raises(UserError, match="commit them first"):
        start(copy, {}, "gh:somebody/template")
    assert (copy / "run.py").read_text() == "mine"

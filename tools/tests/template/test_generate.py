"""Generated projects have exactly the expected files, completely rendered."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from copier.errors import CopierError

from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT
from fivestage.contract.contract import TASKS, Contract
from fivestage.scaffold.command import OPTIONS
from fivestage.scaffold.demo import FILES, remove_demo
from tests.repositories import commit
from tests.test_architecture import FLIGHT_WORDS
from tools.template.examples import FOLDER, write_example
from tools.template.start import start
from tools.tests.template.projects import ANSWERS, OWN, files_of, generate, make, part_of

OURS = (
    "copier.yml",
    "local.mk",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    ".ci/",
    ".github/ISSUE_TEMPLATE/",
    ".github/pull_request_template.md",
    ".github/workflows/docs.yml",
    ".github/workflows/template.yml",
    "docs/design/",
    "docs/measured/",
    "docs/pictures/",
    "docs/scale.md",
    "docs/speed.md",
    "assistant/questions/book.yaml",
    "assistant/questions/visitors.yaml",
    "assistant/accepted.txt",
    "tools/",
)  # makes and measures the template itself
RENDERED = (  # with the project's name, or without the template's own measurements, in any case
    "README.md",
    "docs/ci.md",
    "docs/kubernetes.md",
    "docs/monitoring.md",
    "docs/serving.md",
    "k8s/components/production/kustomization.yaml",
    "k8s/components/project/kustomization.yaml",
    "k8s/overlays/canary/kustomization.yaml",
    "pyproject.toml",
)
MEASURED_HERE = re.compile(
    r"<!-- template: begin -->.*?<!-- template: end -->|## Measured\n.*?<!-- measured: end -->", re.DOTALL
)
FLIGHTS = ("problem/clocks.py", "problem/raw.py", "problem/routes.py", "tests/demo/")
ASSISTANT = ("packages/fivestage-assistant/", "assistant/", "docs/assistant.md")
DISTRIBUTED = ("packages/fivestage-distributed/", ".github/workflows/distributed.yml")
CLOUDS = ("gke", "eks", "aks")
NAMED = {
    "project_name": "Churn radar 2",
    "description": "Who leaves, and why?",
    "author": "Ann & Co.",
    "registry": "ghcr.io/team",
    "email": "ann@example.org",  # this and the next are default answers of `zenml init --template`
    "template": "url",
}
MATRIX: dict[str, dict[str, str]] = {
    "defaults": {},
    "no cloud": NAMED | {"cloud": "none", "licence": "MIT"},
    "one cloud": NAMED | {"cloud": "eks", "licence": "BSD-3-Clause"},
    "many workers": NAMED | {"distributed": "yes", "licence": "proprietary"},
    "an assistant": {"assistant": "yes"},
} | {f"own, {task}": OWN | {"task": task} for task in TASKS}
MOST_FILES, MOST_LINES, MOST_TARGETS = 90, 3_000, 15
OF_PROMETHEUS = [f"monitoring/{one}" for one in ("rules.yaml", "prometheus_rule.yaml", "dashboard.json")]
# Copier's markup, but not `${{ x` of GitHub, `{{ $x` of Prometheus or `{%s`; and a group of a replacement.
UNRENDERED = re.compile(r"(?<!\$)\{\{-? *[a-z_]|\{%-? |-\\\d:")


def expected_files(template: Path, answers: dict[str, str]) -> set[str]:
    """Check the content of a generated project."""
    gone = (*OURS, *(FLIGHTS if answers.get("data") == "own" else ()))
    gone += () if "assistant" in answers else ASSISTANT
    gone += () if "distributed" in answers else DISTRIBUTED
    cloud = answers.get("cloud", "all")
    gone += tuple(f"k8s/overlays/{one}/" for one in CLOUDS if cloud not in ("all", one))
    kept = {name for name in files_of(template) if not name.endswith(".jinja") and not name.startswith(gone)}
    return kept | {ANSWERS}


@pytest.mark.parametrize("answers", MATRIX.values(), ids=MATRIX)
def test_a_project_has_the_expected_files_and_only_those(
    template: Path, tmp_path: Path, answers: dict[str, str]
) -> None:
    project = generate(template, tmp_path / "project", **answers)
    assert files_of(project) == expected_files(template, answers)
    nothing_unrendered(project)


def test_a_project_is_called_what_its_folder_is(template: Path, tmp_path: Path) -> None:
    part = part_of(template, tmp_path / "template", "README.md")
    for folder, name in (("churn-radar", "churn-radar"), ("Über 1", "Fivestage")):
        project = generate(part, tmp_path / folder)
        answers = yaml.safe_load((project / ANSWERS).read_text(encoding="utf-8"))
        assert answers["project_name"] == name
        assert name in (project / "README.md").read_text(encoding="utf-8").splitlines()[0]


def test_with_default_answers_the_files_are_the_templates_byte_for_byte(
    template: Path, tmp_path: Path
) -> None:
    project = generate(template, tmp_path / "project")
    same = expected_files(template, {}) - {ANSWERS, *RENDERED}
    assert not [name for name in same if (project / name).read_bytes() != (template / name).read_bytes()]
    assert not [name for name in same if (project / name).stat().st_mode != (template / name).stat().st_mode]


@pytest.mark.parametrize("task", TASKS)
def test_what_an_owner_has_to_know_stays_small(template: Path, tmp_path: Path, task: str) -> None:
    """Count files, lines of Python including tests, and make targets, without packages/."""
    project = generate(template, tmp_path / "project", **OWN, task=task)
    own = sorted(name for name in files_of(project) if not name.startswith("packages/"))
    lines = {
        name: len((project / name).read_text(encoding="utf-8").splitlines())
        for name in own
        if name.endswith(".py")
    }
    helped = subprocess.run(["make", "help"], cwd=project, capture_output=True, text=True, check=True)  # noqa: S607
    targets = [line for line in helped.stdout.splitlines() if line.startswith("  make ")]
    assert len(own) <= MOST_FILES, "\n".join(own)
    assert sum(lines.values()) <= MOST_LINES, lines
    assert len(targets) <= MOST_TARGETS


@pytest.mark.parametrize("task", TASKS)
def test_each_file_says_in_its_first_line_what_it_is(template: Path, tmp_path: Path, task: str) -> None:
    project = generate(template, tmp_path / "project", **OWN, task=task)
    silent = [
        name
        for name in files_of(project)
        if not name.startswith(("packages/", "LICENSE"))
        and name.endswith((".py", ".yaml", ".yml", ".md", ".mk", "Makefile", "Dockerfile", ".dockerignore"))
        and not (project / name).read_text(encoding="utf-8").startswith(("# ", '"""', "#!"))
    ]
    assert not silent


@pytest.mark.parametrize("task", TASKS)
def test_with_a_table_of_ones_own_nothing_is_left_of_the_demo(
    template: Path, tmp_path: Path, task: str
) -> None:
    """Replace the problem as `make init` does, with a small table of scikit-learn."""
    project = generate(template, tmp_path / "project", **OWN, task=task)
    expected = generate(template, tmp_path / "expected", **OWN | {"data": "flights"})
    remove_demo(expected)
    assert files_of(project) == files_of(expected)
    told = {
        f"{name}:{number}: {line.strip()}"
        for name in files_of(project)
        if not name.startswith("packages/")
        for number, line in enumerate((project / name).read_text(encoding="utf-8").splitlines(), 1)
        if FLIGHT_WORDS.search(line.replace("in flight", ""))
    }
    assert not told
    for page in (project / "docs").rglob("*.md"):
        expected_page = (expected / page.relative_to(project)).read_text(encoding="utf-8")
        assert without_sizes(page.read_text(encoding="utf-8")) == without_sizes(expected_page), page.name
    contract = Contract.load(project / "problem" / "problem.yaml")
    assert contract.task == task
    assert yaml.safe_load((project / ANSWERS).read_text())["task"] == task
    for verb in ("check", "format --check"):
        words = [sys.executable, "-m", "ruff", *verb.split()]
        done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def without_sizes(page: str) -> str:
    """Return a page without the output of `make size`."""
    return re.sub("<!-- sized: begin -->.*?<!-- sized: end -->", "", page, flags=re.DOTALL)


@pytest.mark.parametrize("task", TASKS)
def test_the_pages_of_a_project_tell_of_its_own_problem_and_of_nothing_measured_elsewhere(
    template: Path, tmp_path: Path, task: str
) -> None:
    project = generate(template, tmp_path / "project", **OWN, task=task)
    pages = [*project.glob("*.md"), *(project / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    measured = [
        line
        for page in (template / "docs").glob("*.md")
        for block in MEASURED_HERE.findall(page.read_text(encoding="utf-8"))
        for line in block.splitlines()
        if re.search(r"\d", line)
    ]
    assert len(measured) > 50
    assert not [line for line in measured if line in text]
    ours = r"make (bench|docs|chaos|examples|start)\b|\btools/|<!-- (template|measured|chaos|image):"
    told = [line for line in text.splitlines() if re.search(ours, line)]
    assert not [line for line in told if "only in the template" not in line]  # as the upgrade page says
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (project / "README.md").read_text(encoding="utf-8"))
    assert not [link for link in links if not (project / link).exists()]


@pytest.mark.skipif(not (ROOT / ".venv" / "installed").exists(), reason="made by `make setup`")
def test_make_in_a_generated_project_leaves_the_environment_of_this_checkout_alone(
    template: Path, tmp_path: Path
) -> None:
    project = generate(template, tmp_path / "project", **OWN, task="binary")
    told = make(project, "--dry-run", "test")
    assert "pytest" in told
    assert "pip install" not in told


def test_the_demos_files_are_there_to_be_removed() -> None:
    assert not [name for name in FILES if not (ROOT / name).exists()]


@pytest.mark.parametrize("task", TASKS)
def test_the_examples_are_what_make_init_writes(tmp_path: Path, task: str) -> None:
    write_example(task, tmp_path)
    for name in ("problem.yaml", "dataset.py", "features.py", "candidates.py"):
        kept, made = ((folder / name).read_text().splitlines() for folder in (FOLDER / task, tmp_path))
        different = [one for one in zip(kept, made, strict=True) if one[0] != one[1]]
        assert all("quick model" in one for one, _ in different), "make examples"


@pytest.mark.parametrize(
    ("name", "spdx", "words"),
    [
        ("no cloud", "MIT", "Copyright (c) Ann & Co."),
        ("one cloud", "BSD-3-Clause", "Redistribution and use"),
        ("many workers", "LicenseRef-Proprietary", "All rights reserved"),
    ],
)
def test_names_and_licence_stand_where_they_belong(
    template: Path, tmp_path: Path, name: str, spdx: str, words: str
) -> None:
    project = generate(template, tmp_path / "project", **MATRIX[name])
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
    told = yaml.safe_load((project / ANSWERS).read_text())
    assert told["project_name"] == "Churn radar 2"
    assert not {"email", "template"} & set(told)


def nothing_unrendered(project: Path) -> None:
    left = {
        f"{name}:{number}: {line.strip()}"
        for name in files_of(project)
        if not name.startswith("packages/") and name not in OF_PROMETHEUS  # come along as they are
        for number, line in enumerate(
            (project / name).read_text(encoding="utf-8", errors="replace").splitlines(), 1
        )
        if UNRENDERED.search(line)
    }
    assert not left
    assert not [name for name in files_of(project) if "{" in name or name.endswith(".jinja")]


@pytest.mark.parametrize(
    ("name", "kept"),
    [("no cloud", set()), ("one cloud", {"eks"}), ("many workers", {"gke", "eks", "aks"})],
)
def test_a_cloud_that_is_not_wanted_leaves_no_trace(
    template: Path, tmp_path: Path, name: str, kept: set[str]
) -> None:
    project = generate(template, tmp_path / "project", **MATRIX[name])
    overlays = {path.name for path in (project / "k8s" / "overlays").iterdir()}
    assert overlays & {"gke", "eks", "aks"} == kept
    told = (project / "docs" / "kubernetes.md").read_text().split("## ")[0]
    assert {one for one in ("gke", "eks", "aks") if one in told} == kept
    production = (project / "k8s" / "components" / "production" / "kustomization.yaml").read_text()
    assert "newName: ghcr.io/team/churn-radar-2-serving" in production
    assert "registry.example.com" not in production


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("overlay", ["local", "platform", "production", "canary", "eks"])
def test_on_a_cluster_a_project_shares_nothing_with_another(
    template: Path, tmp_path: Path, overlay: str
) -> None:
    project = generate(template, tmp_path / "project", **MATRIX["one cloud"])
    command = ["kubectl", "kustomize", str(project / "k8s" / "overlays" / overlay)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for one in yaml.safe_load_all(rendered):
        about = one["metadata"]
        whole = {"Namespace": about["name"], "StorageClass": "churn-radar-2"}  # of the whole cluster
        assert whole.get(one["kind"], about.get("namespace")) == "churn-radar-2"
        assert about["labels"]["app.kubernetes.io/instance"] == "churn-radar-2"
    named = r"(?:image|value): (?:ghcr.io/team/)?([a-z0-9-]*-(?:serving|pipelines)):"
    images = set(re.findall(named, rendered))
    assert images == {"churn-radar-2-serving", "churn-radar-2-pipelines"}
    assert "fivestage-pipelines:" not in (project / "docs" / "kubernetes.md").read_text()


@pytest.mark.parametrize("name", ["", "9 lives", "a", "x" * 60, "semi;colon", 'quote"', "ends-"])
def test_a_name_that_will_not_do_is_refused(template: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises((CopierError, ValueError), match="name"):
        generate(template, tmp_path / "project", project_name=name)


def test_use_this_template_and_one_command(template: Path, tmp_path: Path) -> None:
    """A copy of the template becomes the same project as with `copier copy`."""
    copy = tmp_path / "copy"
    subprocess.run(["/bin/cp", "-r", template, copy], check=True)
    commit(copy, "Initial commit")
    start(copy, OWN | {"data": "flights"}, "gh:somebody/template")
    expected = generate(template, tmp_path / "expected", **OWN | {"data": "flights"})
    found = {name for name in files_of(copy) if not name.startswith(".git/")}
    assert found == files_of(expected)
    assert (copy / "README.md").read_text() == (expected / "README.md").read_text()
    told = yaml.safe_load((copy / ANSWERS).read_text())
    assert told["_src_path"] == "gh:somebody/template"
    assert re.fullmatch(r"v\d+\.\d+\.\d+", told["_commit"])
    assert not (copy / "tools").exists()
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


def test_make_passes_each_option_of_init() -> None:
    """Also one that `make` would not export."""
    names = re.search(r"^INIT := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert names
    assert sorted(names[1].split()) == sorted(name.upper() for name in OPTIONS)

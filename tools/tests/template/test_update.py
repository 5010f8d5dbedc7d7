"""`copier update` brings news of the template to a project, and leaves what the user wrote."""

import re
import subprocess
import tomllib
from pathlib import Path

import copier
import pytest
import yaml
from packaging.version import Version

from fivestage.common.settings import ROOT
from fivestage.scaffold.demo import FILES, remove_demo
from fivestage.scaffold.draft import InitOptions, draft
from fivestage.scaffold.write import write_problem
from tests.repositories import commit, git
from tools.tests.exported import export
from tools.tests.template.projects import ANSWERS, generate, run_tests

FAST = (
    "tests/problem",
    "packages/fivestage/tests/test_architecture.py",
    "packages/fivestage/tests/monitoring/test_alerts.py",
)


@pytest.mark.long
@pytest.mark.parametrize("tags", [("v0.1.0", "v0.2.0"), ("", "")], ids=["tags", "no tags"])
def test_an_update_brings_news_and_leaves_the_users_problem_and_files(
    template: Path, tmp_path: Path, tags: tuple[str, str]
) -> None:
    """From one version to the next: ours is merged into what the user changed; problem/ stays the user's."""
    upstream = tmp_path / "upstream"
    subprocess.run(["/bin/cp", "-r", template, upstream], check=True)
    commit(upstream, "first", tags[0])
    project = generate(upstream, tmp_path / "project", project_name="Churn radar")
    commit(project, "start")
    edited = {"problem/problem.yaml": "# mine\n", "Makefile": "\n# my own line\n", "notes.md": "mine\n"}
    for name, text in edited.items():
        path = project / name
        path.write_text((path.read_text() if path.exists() else "") + text)
    (project / "docs" / "serving.md").unlink()
    (project / "problem" / "raw.py").unlink()
    commit(project, "edits of a user")

    for name in (
        "problem/problem.yaml",
        "packages/fivestage/src/fivestage/common/errors.py",
        "README.md",
        "tools/template/README.md",
    ):
        path = upstream / name
        path.write_text(path.read_text() + "\n# news\n")
    (upstream / "docs" / "news.md").write_text("news\n")
    commit(upstream, "second", tags[1])
    copier.run_update(project, defaults=True, overwrite=True, quiet=True)

    assert (project / "problem" / "problem.yaml").read_text().endswith("# mine\n")
    assert "# news" not in (project / "problem" / "problem.yaml").read_text()
    assert (project / "core" / "errors.py").read_text().endswith("# news\n")
    assert (project / "README.md").read_text().startswith("# Churn radar\n")
    assert (project / "README.md").read_text().endswith("# news\n")
    assert (project / "docs" / "news.md").exists()
    assert (project / "notes.md").read_text() == "mine\n"
    assert not (project / "docs" / "serving.md").exists()
    assert not (project / "problem" / "raw.py").exists()
    assert (project / "Makefile").read_text().endswith("# my own line\n")
    told = yaml.safe_load((project / ANSWERS).read_text())["_commit"]
    assert git(upstream, "rev-parse", told) == git(upstream, "rev-parse", "HEAD")
    assert told == (tags[1] or told)
    assert "<<<<<<<" not in git(project, "diff")


def test_the_changelog_begins_with_this_version() -> None:
    """`make start` names it, so that an update goes on from there."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    told = re.findall(r"(?m)^## v(.+)$", (ROOT / "CHANGELOG.md").read_text())
    assert told[0] == version
    assert all(str(Version(one)) == one for one in told)
    assert sorted(told, key=Version, reverse=True) == told


def last_version() -> str:
    """The commit of the newest tag behind this one; without tags, the one that brought the changelog."""
    if git(ROOT, "rev-parse", "--is-shallow-repository").strip() == "true":
        return ""
    found = git(ROOT, "tag", "--list", "v*", "--no-contains", "HEAD", "--merged", "HEAD", "--sort=-v:refname")
    if found:
        return git(ROOT, "rev-parse", f"{found.splitlines()[0]}^{{commit}}").strip()
    return git(ROOT, "log", "--diff-filter=A", "--format=%H", "--", "CHANGELOG.md").split("\n")[0]


def without_parts(dataset: Path) -> None:
    """As `make init` of v0.1.0 wrote it."""
    text = dataset.read_text()
    start, end = text.index("def parts()"), text.index("def digest()")
    text = text[:start] + text[end:]
    for now, then in (
        (", part: str = DATA", ""),
        ("read_table(part)", "read_table(DATA)"),
        (", parts_of", ""),
        (", rows_of", ""),
        ("import pandas as pd\n\n", ""),
    ):
        assert now in text
        text = text.replace(now, then)
    dataset.write_text(text)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with two versions: the last one, and what stands here."""
    version = last_version() if (ROOT / ".git").exists() else ""
    if not version:
        pytest.skip("the history that an update starts from is not here")
    folder = tmp_path_factory.mktemp("versions") / "template"
    git(ROOT, "clone", "--quiet", "--no-hardlinks", "--no-tags", str(ROOT), str(folder))
    git(folder, "checkout", "--quiet", "-B", "main", version)
    git(folder, "tag", "v0.0.1")
    for name in git(folder, "ls-files").splitlines():
        (folder / name).unlink()
    commit(export(folder), "what stands here", "v0.0.2")
    return folder


@pytest.mark.long
def test_from_the_last_version_to_this_one_with_a_table_of_ones_own(upstream: Path, tmp_path: Path) -> None:
    """The demo has gone, the table is the user's, and so is a line in a file of ours."""
    project = tmp_path / "project"
    answers = {"project_name": "Churn radar"}
    copier.run_copy(str(upstream), project, answers, vcs_ref="v0.0.1", defaults=True, quiet=True)
    write_problem(draft(InitOptions("sklearn:breast_cancer", "target")), project / "problem")
    without_parts(project / "problem" / "dataset.py")
    remove_demo(project)
    (project / ANSWERS).write_text((project / ANSWERS).read_text() + "data: own\ntask: binary\n")
    (project / "Makefile").write_text((project / "Makefile").read_text() + "\n# my own line\n")
    problem = {path.name: path.read_bytes() for path in (project / "problem").iterdir() if path.is_file()}
    commit(project, "edits of a user")
    copier.run_update(project, defaults=True, overwrite=True, quiet=True)
    assert problem == {
        path.name: path.read_bytes() for path in (project / "problem").iterdir() if path.is_file()
    }
    assert not [name for name in FILES if (project / name).exists()]
    assert (project / "Makefile").read_text().endswith("# my own line\n")
    assert yaml.safe_load((project / ANSWERS).read_text())["_commit"] == "v0.0.2"
    (project / ".venv").symlink_to(ROOT / ".venv")
    subprocess.run([".venv/bin/python", "-m", "fivestage.monitoring.alerts"], cwd=project, check=True)
    for name in git(project, "ls-files", "-co", "--exclude-standard").splitlines():
        if (project / name).is_file():
            assert "\n<<<<<<< " not in (project / name).read_text(encoding="utf-8", errors="ignore"), name
    run_tests(project, *FAST)

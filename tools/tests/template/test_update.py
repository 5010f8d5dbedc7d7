"""`copier update` merges changes of the template into a project, and keeps the owner's changes."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import copier
import pytest
import yaml
from packaging.version import Version

from fivestage.common.settings import ROOT
from fivestage.scaffold.demo import FILES
from tests.repositories import commit, git
from tools.template.examples import KEEP
from tools.tests.exported import export
from tools.tests.template.projects import ANSWERS, files_of, generate, link_environment, part_of, run_tests

FAST = ("tests/test_problem.py", "tests/test_pipelines.py")
EDITS = {  # as an owner would: a line of their own in each of ten files, and a value changed in some
    "Makefile": ("TESTS := tests", "TESTS := tests/test_problem.py"),
    "run.py": (
        'app = project_application(PROBLEM, "The commands of this project.")',
        'app = project_application(PROBLEM, "Mine.")',
    ),
    "pipelines/scoring.py": ('"""Batch scoring', '"""My batch scoring'),
    "steps/data.py": ('QUARANTINE = settings.VAR / "quarantine"', 'QUARANTINE = settings.VAR / "refused"'),
    "steps/deploy.py": ('OVERLAYS = settings.ROOT / "k8s"', 'OVERLAYS = settings.ROOT / "cluster"'),
    "serving/__main__.py": ('"""', '"""Mine: '),
    "k8s/base/service.yaml": ("port: 80,", "port: 8080,"),
    ".github/workflows/ci.yml": ("timeout-minutes: 15", "timeout-minutes: 20"),
    "pyproject.toml": ("line-length = 110", "line-length = 120"),
    "docs/architecture.md": ("# Architecture", "# Our architecture"),
}


@pytest.mark.parametrize("tags", [("v0.3.0", "v0.4.0"), ("", "")], ids=["tags", "no tags"])
def test_an_update_merges_the_library_and_leaves_what_the_owner_wrote(
    template: Path, tmp_path: Path, tags: tuple[str, str]
) -> None:
    """The owner also changed ten files outside problem/; the template changes the library and other lines."""
    library, others = (
        "packages/fivestage/src/fivestage/common/errors.py",
        ("docs/serving.md", "problem/raw.py"),
    )
    upstream = part_of(template, tmp_path / "upstream", *EDITS, library, "problem/problem.yaml", *others)
    commit(upstream, "first", tags[0])
    project = commit(generate(upstream, tmp_path / "project", project_name="Churn radar"), "start")
    for name, (before, after) in EDITS.items():
        text = (project / name).read_text()
        assert before in text, name
        (project / name).write_text(text.replace(before, after, 1))
    (project / "problem" / "problem.yaml").write_text(
        "# mine\n" + (project / "problem/problem.yaml").read_text()
    )
    (project / "notes.md").write_text("mine\n")
    for name in others:
        (project / name).unlink()
    commit(project, "edits of an owner")

    for name in ("problem/problem.yaml", library, *EDITS):
        (upstream / name).write_text((upstream / name).read_text() + "\n# news\n")
    (upstream / "docs" / "news.md").write_text("# News\n")
    commit(upstream, "second", tags[1])
    copier.run_update(project, defaults=True, overwrite=True, quiet=True)

    for name, (_, after) in EDITS.items():
        text = (project / name).read_text()
        assert after in text, name
        assert text.endswith("# news\n"), name
        assert "<<<<<<<" not in text, name
    contract = (project / "problem" / "problem.yaml").read_text()
    assert contract.startswith("# mine\n")
    assert "# news" not in contract
    assert (project / library).read_text().endswith("# news\n")
    assert (project / "docs" / "news.md").exists()
    assert (project / "notes.md").read_text() == "mine\n"
    assert not [name for name in others if (project / name).exists()]
    version = yaml.safe_load((project / ANSWERS).read_text())["_commit"]
    assert git(upstream, "rev-parse", version) == git(upstream, "rev-parse", "HEAD")
    assert version == (tags[1] or version)


def test_an_update_with_a_conflict_never_says_that_all_is_done(
    template: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    upstream = part_of(template, tmp_path / "upstream", "run.py")
    commit(upstream, "first", "v0.3.0")
    project = commit(generate(upstream, tmp_path / "project", project_name="Churn radar"), "start")
    for folder, word in ((project, "mine"), (upstream, "theirs")):
        text = (folder / "run.py").read_text()
        (folder / "run.py").write_text(text.replace("The commands of this project.", word))
        commit(folder, "the same line", "" if folder == project else "v0.4.0")
    copier.run_update(project, defaults=True, overwrite=True)
    said = capfd.readouterr().err
    assert "<<<<<<<" in (project / "run.py").read_text()
    assert "up to date" not in said
    assert "git diff --check" in said
    listed = subprocess.run(
        ["/usr/bin/env", "git", "diff", "--check"], cwd=project, capture_output=True, text=True, check=False
    )
    assert "run.py" in listed.stdout


def test_the_changelog_begins_with_this_version() -> None:
    """`make start` records the version, so that a later update continues from it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    told = re.findall(r"(?m)^## v(.+)$", (ROOT / "CHANGELOG.md").read_text())
    assert told[0] == version
    assert all(str(Version(one)) == one for one in told)
    assert sorted(told, key=Version, reverse=True) == told


def last_version() -> str:
    """Return the commit of the newest earlier tag; without tags, the last one with the previous version."""
    if git(ROOT, "rev-parse", "--is-shallow-repository").strip() == "true":
        return ""
    found = git(ROOT, "tag", "--list", "v*", "--no-contains", "HEAD", "--merged", "HEAD", "--sort=-v:refname")
    if found:
        return git(ROOT, "rev-parse", f"{found.splitlines()[0]}^{{commit}}").strip()
    library = (ROOT / "packages" / "fivestage" / "pyproject.toml").read_text()
    this = tomllib.loads(library)["project"]["version"]
    for commit_id in git(ROOT, "log", "--format=%H", "--", "CHANGELOG.md").split():
        newest = re.search(r"(?m)^## v(.+)$", git(ROOT, "show", f"{commit_id}:CHANGELOG.md"))
        if newest and newest[1] != this:
            return commit_id
    return ""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with two versions: the last release, and the working tree."""
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
    """An old problem/ gives an error; `make init` with the same arguments then gives a working project."""
    project = tmp_path / "project"
    answers = {"project_name": "Churn radar", "data": "own", "task": "binary"}
    copier.run_copy(str(upstream), project, answers, vcs_ref="v0.0.1", defaults=True, quiet=True)
    (project / "Makefile").write_text((project / "Makefile").read_text() + "\n# my own line\n")
    before = {name: (project / "problem" / name).read_bytes() for name in ("problem.yaml", "features.py")}
    commit(project, "edits of an owner")
    copier.run_update(project, defaults=True, overwrite=True, quiet=True)
    assert before == {name: (project / "problem" / name).read_bytes() for name in before}
    remove_what_copier_leaves(project)
    assert not [name for name in FILES if (project / name).exists()]
    copier.run_copy(str(upstream), tmp_path / "new", answers, vcs_ref="v0.0.2", defaults=True, quiet=True)
    kept = {name for name in files_of(project) if not name.startswith(".git/")}
    assert not kept - files_of(tmp_path / "new")
    assert "# my own line" in (project / "Makefile").read_text()
    assert yaml.safe_load((project / ANSWERS).read_text())["_commit"] == "v0.0.2"
    link_environment(project)
    refused = python(project, "run.py", "train")
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "docs/how-to/upgrade.md" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    asked = ("--data", "sklearn:breast_cancer", "--target", "target", "--keep", ",".join(KEEP["binary"]))
    written = python(project, "run.py", "init", *asked)
    assert written.returncode == 0, written.stdout + written.stderr
    run_tests(project, *FAST)


def remove_what_copier_leaves(project: Path) -> None:
    """Run the command of docs/how-to/upgrade.md, as copier does not remove files that a version excludes."""
    page = (project / "docs" / "how-to" / "upgrade.md").read_text().replace("\\\n", " ")
    (command,) = re.findall(r"(?m)^git rm .+$", page)
    subprocess.run(["/usr/bin/env", *command.split()], cwd=project, capture_output=True, check=True)


def python(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of a project with its own library and state."""
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(project / "packages" / "fivestage" / "src")}
    return subprocess.run(
        [sys.executable, *words], cwd=project, env=given, capture_output=True, text=True, check=False
    )


@pytest.mark.long
def test_the_published_library_takes_the_place_of_the_folder(template: Path, tmp_path: Path) -> None:
    """The tests of a project pass with a wheel of the library, without its sources."""
    project = commit(generate(template, tmp_path / "project", data="own", cloud="none"), "start")
    shutil.copytree(ROOT / "packages" / "fivestage" / "src", tmp_path / "library" / "src")
    shutil.copy(ROOT / "packages" / "fivestage" / "pyproject.toml", tmp_path / "library")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*pip, "--target", tmp_path / "site", tmp_path / "library"], check=True)
    packaged = {
        str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site" / "fivestage").rglob("*.*")
    }
    sources = ROOT / "packages" / "fivestage" / "src"
    kept = {str(path.relative_to(sources)) for path in (sources / "fivestage").rglob("*.*")}
    assert not {name for name in kept - packaged if not name.endswith((".pyc", ".so"))}
    for name in ("src", "tests"):
        shutil.rmtree(project / "packages" / "fivestage" / name)
    settings = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(re.sub(r"(?m)^fivestage = \{ path.*\n", "", settings))
    run_tests(project, "tests", library=tmp_path / "site")

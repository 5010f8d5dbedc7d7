"""Turn a copy of the template, for example from GitHub's "Use this template", into a project.

`make start ARGS='--data project_name="Churn radar"'` asks copier's questions (without a terminal it uses the
defaults), and produces the same files as `copier copy`, including the answers file.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import copier
import yaml

from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT

REPOSITORY = "fivestage/fivestage"  # on GitHub; README.md names it too, and tests/test_readme.py compares
TEMPLATE = f"gh:{REPOSITORY}"  # from where `copier update` fetches new versions
ANSWERS = ".copier-answers.yml"


def start(root: Path, data: dict[str, str], template: str) -> list[str]:
    """Turn a working tree of the template into a project; return the files that were removed."""
    if not (root / "copier.yml").exists():
        raise UserError(f"{root} is a project already: run `copier update` for new versions of the template.")
    if _git(root, "status", "--porcelain"):
        raise UserError("There are uncommitted changes: commit them first, so that none is lost.")
    tracked = _git(root, "ls-files")
    with tempfile.TemporaryDirectory() as scratch:
        source, project_folder = (
            Path(scratch, "template"),
            Path(scratch, root.resolve().name),
        )  # the folder's name is the default project name
        for name in tracked:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, source / name)
        copier.run_copy(str(source), project_folder, data, defaults=not sys.stdin.isatty(), quiet=True)
        _name_source(project_folder / ANSWERS, template, root / "pyproject.toml")
        removed = [name for name in tracked if not (project_folder / name).exists()]
        for name in removed:
            (root / name).unlink()
        shutil.copytree(project_folder, root, dirs_exist_ok=True)
    for folder in sorted({parent for name in removed for parent in Path(name).parents[:-1]}, reverse=True):
        if not any((root / folder).iterdir()):
            (root / folder).rmdir()
    return removed


def _name_source(answers: Path, template: str, project: Path) -> None:
    """Record in the answers where the project comes from, for later updates."""
    comment = answers.read_text(encoding="utf-8").splitlines()[0]
    content = yaml.safe_load(answers.read_text(encoding="utf-8"))
    version = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    content |= {"_src_path": template, "_commit": f"v{version}"}
    answers.write_text(f"{comment}\n{yaml.safe_dump(content)}", encoding="utf-8")


def _git(root: Path, *words: str) -> list[str]:
    done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True)  # noqa: S603, S607 (fixed words)
    return done.stdout.splitlines()


def main(arguments: list[str]) -> int:
    """Start a project here; print an error and return 1 if that fails."""
    parser = argparse.ArgumentParser(prog="make start", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", action="append", default=[], metavar="QUESTION=ANSWER")
    parser.add_argument("--template", default=TEMPLATE, help="source of the template for later updates")
    options = parser.parse_args(arguments)
    try:
        removed = start(ROOT, dict(one.split("=", 1) for one in options.data), options.template)
    except (UserError, copier.errors.UserMessageError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"This is now a project; {len(removed)} files were removed. Review the changes: git diff.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Make a copy of the template, such as GitHub's "Use this template" gives, a project of its own.

`make start ARGS='--data project_name="Churn radar"'` asks copier's questions (without a terminal the defaults
hold), and leaves what `copier copy` would have made, answers file included.
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
TEMPLATE = f"gh:{REPOSITORY}"  # where `copier update` looks for news
ANSWERS = ".copier-answers.yml"


def start(root: Path, data: dict[str, str], template: str) -> list[str]:
    """Turn a working tree of the template into a project; returns the files that have gone.

    Raises:
        UserError: when there are changes that git does not hold, or nothing to turn.
    """
    if not (root / "copier.yml").exists():
        raise UserError(f"{root} is a project already: `copier update` brings news of the template.")
    if _git(root, "status", "--porcelain"):
        raise UserError("There are changes that git does not hold: commit them first, so that none is lost.")
    tracked = _git(root, "ls-files")
    with tempfile.TemporaryDirectory() as scratch:
        source, made = Path(scratch, "template"), Path(scratch, root.resolve().name)  # which names it
        for name in tracked:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, source / name)
        copier.run_copy(str(source), made, data, defaults=not sys.stdin.isatty(), quiet=True)
        _name_source(made / ANSWERS, template, root / "pyproject.toml")
        gone = [name for name in tracked if not (made / name).exists()]
        for name in gone:
            (root / name).unlink()
        shutil.copytree(made, root, dirs_exist_ok=True)
    for folder in sorted({parent for name in gone for parent in Path(name).parents[:-1]}, reverse=True):
        if not any((root / folder).iterdir()):
            (root / folder).rmdir()
    return gone


def _name_source(answers: Path, template: str, project: Path) -> None:
    """Say in the answers where the project comes from, for later updates."""
    comment = answers.read_text(encoding="utf-8").splitlines()[0]
    content = yaml.safe_load(answers.read_text(encoding="utf-8"))
    version = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    content |= {"_src_path": template, "_commit": f"v{version}"}
    answers.write_text(f"{comment}\n{yaml.safe_dump(content)}", encoding="utf-8")


def _git(root: Path, *words: str) -> list[str]:
    done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True)  # noqa: S603, S607 (fixed words)
    return done.stdout.splitlines()


def main(arguments: list[str]) -> int:
    """Start a project here; a sentence and 1 when that cannot be."""
    parser = argparse.ArgumentParser(prog="make start", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", action="append", default=[], metavar="QUESTION=ANSWER")
    parser.add_argument("--template", default=TEMPLATE, help="where copier finds the template later on")
    options = parser.parse_args(arguments)
    try:
        gone = start(ROOT, dict(one.split("=", 1) for one in options.data), options.template)
    except (UserError, copier.errors.UserMessageError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201 (for a person)
        return 1
    print(f"The project is its own; {len(gone)} files of the template are gone. Look at it: git diff.")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

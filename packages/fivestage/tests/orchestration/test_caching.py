from pathlib import Path
from typing import Annotated

import pandas as pd
import pytest
from zenml import pipeline, step
from zenml.enums import ExecutionMode

from fivestage.common.errors import UserError
from fivestage.orchestration import caching, lineage, materializers  # noqa: F401 - frames are stored by ours
from fivestage.orchestration.caching import DATA_CACHE, data_version, gates_version, model_version
from fivestage.orchestration.databases import open_stores
from fivestage.orchestration.lineage import MODEL_PACKAGES

RAN: list[str] = []


@step
def halve(number: int) -> Annotated[pd.DataFrame, "halves"]:
    RAN.append("halve")
    return pd.DataFrame({"half": [number // 2]})


@step(cache_policy=DATA_CACHE)
def total(halves: pd.DataFrame) -> Annotated[int, "total"]:
    RAN.append("total")
    return int(halves["half"].sum())


@step
def fail(number: int) -> None:
    raise UserError(f"{number} is not a flight.")


@pipeline(enable_step_logs=False)
def halves(number: int) -> None:
    total(halve(number))


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, enable_step_logs=False)
def failing(number: int) -> None:
    fail(number)


def ran(number: int) -> list[str]:
    RAN.clear()
    halves(number)
    return RAN.copy()


def test_steps_run_when_what_they_depend_on_has_changed() -> None:
    open_stores()
    assert ran(4) == ["halve", "total"]
    assert ran(4) == []
    assert ran(5) == ["halve"]  # the same half: what follows is cached by content
    assert ran(6) == ["halve", "total"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project folder with a small library next to it."""
    root, library = tmp_path / "project", tmp_path / "library"
    for name in (
        "problem/problem.yaml",
        "problem/features.py",
        "problem/candidates.py",
        "requirements.lock",
        "run.py",
        "steps/model.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for name in MODEL_PACKAGES:
        (library / name).mkdir(parents=True)
        (library / name / "code.py").write_text(name)
    monkeypatch.setattr(lineage, "ROOT", root)
    monkeypatch.setattr(lineage, "LIBRARY", library)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "data_counts", "model_counts"),
    [
        ("project/problem/problem.yaml", True, True),
        ("project/problem/parsing/dialect.py", True, True),
        ("project/problem/candidates.py", False, True),
        ("project/requirements.lock", True, True),
        ("library/data/code.py", True, True),
        ("library/training/code.py", False, True),
        ("project/steps/model.py", False, False),  # ZenML looks at a step's own source
    ],
)
def test_what_counts_is_the_problem_the_librarys_part_and_the_lock(
    project: Path, changed: str, *, data_counts: bool, model_counts: bool
) -> None:
    before = data_version(), model_version()
    (project / changed).parent.mkdir(exist_ok=True)
    (project / changed).write_text("another")
    assert (data_version() != before[0], model_version() != before[1]) == (data_counts, model_counts)


def test_gates_are_evaluated_again_when_any_of_the_steps_code_has_changed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate is a function next to its step, whose source ZenML does not hash."""
    monkeypatch.setattr(caching, "ROOT", project / "project")
    before = gates_version()
    (project / "project" / "steps" / "model.py").write_text("another limit")
    assert gates_version() != before


@pytest.mark.parametrize("name", ["steps/model.py", "serving/app.py", "run.py", "problem/problem.yaml"])
def test_all_code_of_a_project_counts_for_its_results(project: Path, name: str) -> None:
    before = lineage.project_digest()
    (project / "project" / "README.md").write_text("is no code")
    assert lineage.project_digest() == before
    (project / "project" / name).parent.mkdir(exist_ok=True)
    (project / "project" / name).write_text("another")
    assert lineage.project_digest() != before


def test_a_project_that_has_moved_has_the_same_versions(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = data_version(), model_version()
    moved = project.rename(project.with_name("moved"))
    monkeypatch.setattr(lineage, "ROOT", moved / "project")
    monkeypatch.setattr(lineage, "LIBRARY", moved / "library")
    assert (data_version(), model_version()) == before


def test_the_sentence_for_the_user_passes_through_a_pipeline() -> None:
    open_stores()
    with pytest.raises(UserError, match=r"^7 is not a flight\.$"):
        failing(7)

from pathlib import Path
from typing import Annotated

import pandas as pd
import pytest
from zenml import pipeline, step
from zenml.enums import ExecutionMode

from fivestage.common.errors import UserError
from fivestage.orchestration import caching
from fivestage.orchestration.caching import depends_on
from fivestage.orchestration.stores import open_stores

RAN: list[str] = []


@step
def halve(number: int) -> Annotated[pd.DataFrame, "halves"]:
    RAN.append("halve")
    return pd.DataFrame({"half": [number // 2]})


@step(cache_policy=depends_on("core"))
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


def test_a_changed_file_of_a_room_and_a_new_one_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "ROOT", tmp_path)
    (tmp_path / "room" / "corner").mkdir(parents=True)
    (tmp_path / "room" / "a.py").touch()
    (tmp_path / "room" / "corner" / "b.yaml").touch()
    (tmp_path / "room" / "notes.txt").touch()
    assert depends_on("room").file_dependencies == ["requirements.lock", "room/a.py", "room/corner/b.yaml"]
    with pytest.raises(ValueError, match="'empty'"):
        depends_on("empty")


def test_the_sentence_for_the_user_passes_through_a_pipeline() -> None:
    open_stores()
    with pytest.raises(UserError, match=r"^7 is not a flight\.$"):
        failing(7)

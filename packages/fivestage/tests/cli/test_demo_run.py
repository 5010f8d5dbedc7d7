"""A demo that would come to the same as the last one is not run again."""

import re
from pathlib import Path

import pytest

from fivestage.cli.demo_run import DemoRun
from fivestage.registry.versions import ModelRegistry, Version
from tests.synthetic import synthetic_problem

CHAMPION = Version("orders", "4", "its digest", "its run", 0, "")
MADE_FROM = "code and data"


def demo_run(record: Path, made_from: str) -> DemoRun:
    run = DemoRun(synthetic_problem("binary"), record)
    vars(run)["_made_from"] = made_from
    return run


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The report and the record of a demo that ended with version 4 as the champion."""
    page, file = tmp_path / "index.html", tmp_path / "finished.json"
    monkeypatch.setattr(ModelRegistry, "champion", lambda _: CHAMPION)
    page.touch()
    demo_run(file, MADE_FROM).remember()
    return page, file


def test_of_the_same_code_data_and_champion_nothing_is_left_to_do(
    left: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo_run(left[1], MADE_FROM).is_current(left[0])
    assert "nothing is computed again" in capsys.readouterr().out


@pytest.mark.parametrize("champion", [None, Version("orders", "5", "another", "another", 0, "")])
def test_another_champion_needs_another_demo(
    left: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, champion: Version | None
) -> None:
    monkeypatch.setattr(ModelRegistry, "champion", lambda _: champion)
    assert not demo_run(left[1], MADE_FROM).is_current(left[0])


def test_changed_code_or_data_need_another_demo(left: tuple[Path, Path]) -> None:
    assert not demo_run(left[1], "other code and data").is_current(left[0])


@pytest.mark.parametrize("missing", [0, 1], ids=["the report", "the record"])
def test_a_demo_that_left_nothing_is_run(left: tuple[Path, Path], missing: int) -> None:
    left[missing].unlink()
    assert not demo_run(left[1], MADE_FROM).is_current(left[0])


def test_a_stage_says_how_many_are_left_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    stages = DemoRun(synthetic_problem("binary"))
    with stages.stage("data", "raw tables"):
        pass
    before, after = capsys.readouterr().out.splitlines()
    assert before == "data (2 of 5): raw tables"
    assert re.fullmatch(r"  data took \d+\.\d s", after)  # a busy machine takes its time for nothing, too
    assert stages.seconds.keys() == {"data"}

"""A demo that would come to the same as the last one is not run again."""

from pathlib import Path

import pytest

from fivestage.cli.finished import FinishedDemo
from fivestage.registry.versions import ModelRegistry, Version

CHAMPION = Version("orders", "4", "its digest", "its run", 0, "")
MADE_FROM = "code and data"


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The report and the record of a demo that ended with version 4 as the champion."""
    page, file = tmp_path / "index.html", tmp_path / "finished.json"
    monkeypatch.setattr(ModelRegistry, "champion", lambda _: CHAMPION)
    page.touch()
    FinishedDemo(MADE_FROM, "orders", file).remember()
    return page, file


def test_of_the_same_code_data_and_champion_nothing_is_left_to_do(
    left: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert FinishedDemo(MADE_FROM, "orders", left[1]).is_current(left[0])
    assert "nothing is computed again" in capsys.readouterr().out


@pytest.mark.parametrize("champion", [None, Version("orders", "5", "another", "another", 0, "")])
def test_another_champion_needs_another_demo(
    left: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, champion: Version | None
) -> None:
    monkeypatch.setattr(ModelRegistry, "champion", lambda _: champion)
    assert not FinishedDemo(MADE_FROM, "orders", left[1]).is_current(left[0])


def test_changed_code_or_data_need_another_demo(left: tuple[Path, Path]) -> None:
    assert not FinishedDemo("other code and data", "orders", left[1]).is_current(left[0])


@pytest.mark.parametrize("missing", [0, 1], ids=["the report", "the record"])
def test_a_demo_that_left_nothing_is_run(left: tuple[Path, Path], missing: int) -> None:
    left[missing].unlink()
    assert not FinishedDemo(MADE_FROM, "orders", left[1]).is_current(left[0])

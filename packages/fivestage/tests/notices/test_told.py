"""`make monitor` and `make retrain` leave a notice for whoever tells it to others."""

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

import run
from fivestage.artifact.artifact import Lineage
from fivestage.monitoring.period_watch import Watched
from fivestage.registry import versions as registry
from fivestage.registry.versions import Version
from fivestage.reporting.notice import read_notice
from pipelines import runs
from steps import report as adapters
from tests.notices.test_notices import GATES, KEEP, TRAIN, contract, watched

__all__ = ["contract", "watched"]


FOUND = Version("flights", "7", "d" * 64, "run", 0, "commit")


@pytest.fixture(autouse=True)
def notices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where they go."""
    monkeypatch.setattr(run, "NOTICES", tmp_path)
    monkeypatch.setattr(run, "VAR", tmp_path)
    return tmp_path


def test_periods_that_were_missed_are_in_one_notice(
    monkeypatch: pytest.MonkeyPatch, notices: Path, watched: Watched
) -> None:
    seen, missed = iter([(watched, KEEP), (watched, TRAIN)]), iter([True, False])
    monkeypatch.setattr(runs, "nothing_to_watch", lambda _: "")
    monkeypatch.setattr(runs, "monitor_next", lambda _: next(seen))
    monkeypatch.setattr(runs, "another_is_over", lambda _: next(missed))
    run.monitor(Namespace(as_of=None))
    notice = read_notice(notices / "monitoring.md")
    assert notice.facts["act"] == "true"
    assert notice.body.count("## From 2013-10-01") == 2


def test_while_no_period_is_over_what_was_told_stays(
    monkeypatch: pytest.MonkeyPatch, notices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "nothing_to_watch", lambda _: "")
    monkeypatch.setattr(runs, "monitor_next", lambda _: None)
    run.monitor(Namespace(as_of=None))
    assert capsys.readouterr().out == "No further period is over yet.\n"
    assert not list(notices.glob("*.md"))


def test_a_service_that_nobody_asked_is_told_so_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, notices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "nothing_to_watch", lambda _: "Nobody has asked.")
    run.monitor(Namespace(as_of=None))
    assert capsys.readouterr().out == "Nobody has asked.\n"
    assert not list(notices.glob("*.md"))


def test_a_contest_is_told_with_its_gates(monkeypatch: pytest.MonkeyPatch, notices: Path) -> None:
    trained = SimpleNamespace(
        version=FOUND,
        contest=SimpleNamespace(gates=GATES, passed=False),
        promoted=False,
    )
    monkeypatch.setattr(runs, "retrain_now", lambda *_: trained)
    run.retrain(Namespace(as_of="2013-12-01", if_asked=False))
    assert read_notice(notices / "retraining.md").facts["version"] == "7"


def test_the_card_of_a_version_is_written_before_it_can_be_evaluated(
    monkeypatch: pytest.MonkeyPatch, notices: Path
) -> None:
    artifact = SimpleNamespace(lineage=Lineage("data", "contract", "lock", "commit"))
    records = {
        "Selection": SimpleNamespace(leaderboard=()),
        "GateVerdict": SimpleNamespace(passed=True, gates=GATES),
    }
    monkeypatch.setattr(registry, "open_version", lambda *_: (FOUND, artifact))
    monkeypatch.setattr(adapters, "load_record", lambda _, kind: records[kind.__name__])
    monkeypatch.setattr(run, "RESULTS", notices / "results")
    monkeypatch.setattr(run, "CARD", notices / "model_card.md")
    run.card(Namespace(version="7"))
    told = (notices / "model_card.md").read_text()
    assert "Version 7, promoted to champion" in told
    assert "calibration error 0.100 of 0.06" in told

"""From what the stages return to page, card and decisions, for each task."""

import errno
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fivestage.common.errors import UserError
from fivestage.contract.contract import epoch_of
from fivestage.data.event_tables import IngestReport
from fivestage.evaluation.gates import Gate, GateVerdict, Probe
from fivestage.registry.versions import Version
from fivestage.reporting.documents import page_text
from fivestage.reporting.report import Report
from fivestage.reporting.results import load
from fivestage.training.packaging import fit_chosen
from fivestage.training.selection import Selection, select
from fivestage.training.version_evaluation import VersionEvaluation
from tests.synthetic import AS_OF, TASKS, Prepared, packaged, prepared, synthetic_problem

GATE = Gate("calibrated", passed=True, value=0.01, limit=0.06, sentence="calibration error 0.010")
VERDICT = GateVerdict((GATE,))


@dataclass(frozen=True)
class Trained(Version):
    """A version whose run holds a selection, and that its gates passed."""

    chosen: Selection | None = None

    def selection(self) -> Selection:
        assert self.chosen is not None
        return self.chosen

    def load_record(self, kind: type[Any]) -> Any:
        assert kind is GateVerdict
        return VERDICT


PROBES = (Probe("future is unseen", passed=True, sentence="nothing moved"),)


def selected(made: Prepared) -> Selection:
    candidates = made.problem.candidates(len(made.windows.train), ())
    return select(made.sample, candidates)


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return Report(synthetic_problem("binary"), tmp_path / "results", tmp_path / "reports" / "index.html")


@pytest.mark.parametrize("task", TASKS)
def test_what_the_stages_return_is_on_page_and_card(task: str, report: Report) -> None:
    made = prepared(task)
    selection = selected(made)
    candidates = made.problem.candidates(len(made.windows.train), ())
    fitted = fit_chosen(made.sample, selection, candidates)
    artifact, one = packaged(made, fitted), replace(report, problem=made.problem)
    found = VersionEvaluation.of(
        made.problem, artifact, selection, made.rows, made.event_tables, made.features
    )
    assert [sets for sets, _ in found.ablation] == ["order", "order + history"]
    assert found.ablation[-1][1] == found.evaluation.metrics
    ingested = IngestReport("digest", {"orders": len(made.rows)}, {}, {})
    version = Trained("synthetic", "7", "d" * 64, "run", epoch_of(AS_OF), "commit", chosen=selection)
    one.save_data(made.rows, made.event_tables, ingested, PROBES, version, found.sets)
    card = one.save_evaluation(version, artifact, found)
    summary = one.write({"data": 61.0, "model": 62.0})
    page = one.page.read_text(encoding="utf-8")
    assert f"{len(made.rows):,} rows were kept" in page
    assert "order + history" in page
    assert card == one.page.with_name("model_card.md").read_text(encoding="utf-8")
    assert "Version 7" in card
    assert "calibration error 0.010" in card
    assert "1 min 02 s" in summary
    assert "2 min 03 s" in page
    assert one.documents(version, artifact)["model_card.md"] == card
    other = one.documents(replace(version, version="8", digest="e" * 64), artifact)
    assert 'run `make evaluate ARGS="--version 8"`, which needs' in other["model_card.md"]
    assert "| history | " in card
    assert not [text for text in ("| history | ", "rows were kept") if text in other["model_card.md"]]


def test_the_page_is_written_whole(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    report.write({"data": 61.0})
    before = report.page.read_text(encoding="utf-8")
    assert before == page_text(report.problem.contract, load(report.results))

    def fail(*paths: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(paths[0]))

    with monkeypatch.context() as patch:
        patch.setattr("fivestage.reporting.report.save", lambda *_: None)
        patch.setattr(Path, "replace", fail)
        with pytest.raises(UserError, match=r"index\.html cannot be written: No space left"):
            report.write({"data": 3600.0})
    assert report.page.read_text(encoding="utf-8") == before
    assert [path.name for path in report.page.parent.iterdir()] == ["index.html"]


def test_a_page_written_again_keeps_the_times_of_the_run_before(report: Report) -> None:
    report.write({"data": 61.0}, cached=True)
    report.write()
    kept = load(report.results).run
    assert kept is not None
    assert (kept.seconds, kept.cached) == ({"data": 61.0}, True)

from pathlib import Path

from fivestage.contract.contract import Contract
from fivestage.reporting import terminal_summary
from fivestage.reporting.results import Results
from fivestage.reporting.sentences import STAGES
from fivestage.reporting.terminal_summary import WIDTH, summary

PAGE = Path("reports/index.html")


def test_every_stage_has_its_numbers_time_and_place(contract: Contract, results: Results) -> None:
    text = summary(contract, results, PAGE)
    name, wide = terminal_summary._NAME, terminal_summary._TEXT
    columns = ((line[:name], line[name : name + wide]) for line in text.splitlines())
    flat = " ".join(" ".join(" ".join(column) for column in zip(*columns, strict=True)).split())
    for number, stage in enumerate(STAGES, start=1):
        assert f"{number} {stage.title}" in text
        assert all(place in text for place in stage.places)
    for shown in ("ROC-AUC 0.755 (0.730 to 0.773)", "1 min 28 s", "leakage probes passed", "none"):
        assert shown in flat
    assert "Model card: reports/model_card.md" in text
    assert "MLflow: runs, versions, artifacts: make ui" in text
    assert "The service: make serve" in text


def test_it_fits_the_terminal(contract: Contract, results: Results) -> None:
    for some in (results, Results()):
        assert max(len(line) for line in summary(contract, some, PAGE).splitlines()) == WIDTH


def test_stages_not_run_are_said(contract: Contract) -> None:
    assert summary(contract, Results(), PAGE).count("Not run yet.") == 4

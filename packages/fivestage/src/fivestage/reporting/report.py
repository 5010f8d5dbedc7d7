"""The report under reports/: the page by stage, and the model card beside it."""

from pathlib import Path

from fivestage.common.files import write_whole
from fivestage.contract.contract import Contract
from fivestage.reporting.html_page import write_page
from fivestage.reporting.model_card import card_text
from fivestage.reporting.results import ReportLink, RunSection, load, save
from fivestage.reporting.terminal_summary import summary


def write_report(
    contract: Contract, seconds: dict[str, float], page: Path, results: Path, *, cached: bool
) -> str:
    """Write the page, and the card of the model once there is one.

    Args:
        contract: The problem's contract.
        seconds: How long each stage took.
        page: Where the page goes; the card goes beside it.
        results: Where each stage has left its results.
        cached: Whether the data came from an earlier run.

    Returns:
        The table by stage, for the terminal.
    """
    before, card = load(results), page.with_name("model_card.md")
    links = (
        *([ReportLink("Model card", path=card.name)] if before.model else []),
        ReportLink("MLflow: runs, versions, artifacts", command="make ui"),
        ReportLink("ZenML: pipelines, steps, lineage", command='make ui ARGS="--which zenml"'),
        ReportLink("Evidently: the checks of each period", command='make ui ARGS="--which evidently"'),
        *([ReportLink("The service", command="make serve")] if before.serving else []),
    )
    save(RunSection(seconds, links, cached), results)
    found = load(results)
    if found.model:
        text = card_text(contract, found)
        write_whole(card, lambda scratch: scratch.write_text(text, encoding="utf-8"))
    write_page(contract, found, page)
    return summary(contract, found, page)

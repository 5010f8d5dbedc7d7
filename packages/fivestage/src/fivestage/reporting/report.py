"""What a run leaves to read: the page under reports/, the model card, the page of decisions."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from fivestage.artifact.artifact import Artifact
from fivestage.common.files import write_whole
from fivestage.contract.contract import Contract
from fivestage.monitoring.backtest import Comparison
from fivestage.registry.versions import Version, open_version
from fivestage.reporting import sentences
from fivestage.reporting.decisions import decisions_text
from fivestage.reporting.html_page import write_page
from fivestage.reporting.model_card import card_text
from fivestage.reporting.results import ModelSection, PoliciesSection, ReportLink, RunSection, load, save
from fivestage.reporting.sections import policies_section
from fivestage.reporting.terminal_summary import summary


def write_report(
    contract: Contract, run: tuple[dict[str, float], bool] | None, page: Path, results: Path
) -> str:
    """Write the page, and the card of the model once there is one.

    Args:
        contract: The problem's contract.
        run: How long each stage took, in seconds, and whether the data came from an earlier run; None leaves
            that as the last run had it.
        page: Where the page goes; the card goes beside it.
        results: Where each stage has left its results.

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
    seconds, cached = run or ((before.run.seconds, before.run.cached) if before.run else ({}, False))
    save(RunSection(seconds, links, cached), results)
    found = load(results)
    if found.model:
        _write(card, card_text(contract, found))
    write_page(contract, found, page)
    return summary(contract, found, page)


def write_card(
    contract: Contract,
    version: Version,
    section: Callable[[Version, Artifact], ModelSection],
    results: Path,
    folder: Path,
) -> Iterator[Path]:
    """Write a version's model card, and the decisions behind it.

    Args:
        contract: The problem's contract.
        version: Whose card it is.
        section: What the report says of a version that the last run was not about.
        results: Where each stage has left its results.
        folder: Where both pages go.

    Yields:
        The pages: `model_card.md`, `decisions.md`.
    """
    known = load(results)
    found, artifact = open_version(contract.name, version.version)
    if known.model is None or known.model.digest != found.digest:
        known = replace(known, model=section(found, artifact))
    yield _write(folder / "model_card.md", card_text(contract, known))
    yield _write(folder / "decisions.md", decisions_text(contract, known))


def write_policies(contract: Contract, comparison: Comparison, record: Path, results: Path) -> str:
    """Keep what a backtest of policies has found, for the report and as a record.

    Args:
        contract: The problem's contract.
        comparison: The policies over the whole period of the data.
        record: Where the record goes, as JSON, without the single days.
        results: Where each stage leaves its results.

    Returns:
        The finding in words.
    """
    found = policies_section(comparison)
    save(found, results)
    short = replace(found, years=tuple(replace(one, by_day=()) for one in found.years))
    _write(record, TypeAdapter(PoliciesSection).dump_json(short, indent=1).decode())
    return sentences.policies(contract, found)


def _write(path: Path, text: str) -> Path:
    return write_whole(path, partial(Path.write_text, data=text, encoding="utf-8"))

"""HTML page of a run: five stages, each with its decision, numbers and plots."""

from pathlib import Path

from fivestage.common.files import write_text
from fivestage.contract.contract import Contract
from fivestage.reporting import plots
from fivestage.reporting.render import render
from fivestage.reporting.results import Results
from fivestage.reporting.sentences import STAGES


def write_page(contract: Contract, results: Results, path: Path) -> Path:
    """Write the page to a file atomically."""
    text = page(contract, results)
    return write_text(path, text)


def page(contract: Contract, results: Results) -> str:
    """Return the page as HTML that loads no external resources."""
    return render("page.html.j2", contract, results, stages=STAGES, plots=plots)

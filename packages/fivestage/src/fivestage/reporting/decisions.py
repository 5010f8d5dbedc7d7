"""docs/decisions.md: what was decided, each with its reason from the contract or the last run."""

from fivestage.contract.contract import Contract
from fivestage.reporting.render import render
from fivestage.reporting.results import Results


def decisions_text(contract: Contract, results: Results) -> str:
    """The page of decisions, in Markdown; what no run has shown yet is left out."""
    return render("decisions.md.j2", contract, results, model=results.model, data=results.data)

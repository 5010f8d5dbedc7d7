"""Decision record (docs/decisions.md): each decision with its reason from the contract or the last run."""

from fivestage.contract.contract import Contract
from fivestage.reporting.render import render
from fivestage.reporting.results import Results


def decisions_text(contract: Contract, results: Results) -> str:
    """Return the decision record in Markdown, without the parts that no run has produced yet."""
    return render("decisions.md.j2", contract, results, model=results.model, data=results.data)

"""Model card of a version (Mitchell et al. 2019, "Model cards for model reporting")."""

from collections.abc import Sequence
from math import isfinite

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.reporting.render import render
from fivestage.reporting.results import Results, Slice
from fivestage.reporting.task_display import shown_of

WEAKEST = 3  # slices listed under limits


def card_text(contract: Contract, results: Results) -> str:
    """Return the model card of the trained version in Markdown."""
    model = results.model
    if model is None:
        raise UserError("There is no model to write a card for. Run `make train` first.")
    weakest = weakest_slices(contract, model.slices)
    return render("model_card.md.j2", contract, results, model=model, data=results.data, weakest=weakest)


def weakest_slices(contract: Contract, slices: Sequence[Slice]) -> list[Slice]:
    """Return the slices with the worst first metric, worst first, without those too small to be reliable."""
    shown = shown_of(contract)
    name, sign = shown.slices[0], -1 if shown.low_is_good else 1
    ranked = [
        row
        for row in slices
        if row.rows >= contract.gates.min_slice_rows and isfinite(row.metrics[name].value)
    ]
    return sorted(ranked, key=lambda row: sign * row.metrics[name].value)[:WEAKEST]

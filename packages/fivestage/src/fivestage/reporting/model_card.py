"""The model card: what a person must know before trusting a version."""

from math import isfinite

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.reporting import task_display
from fivestage.reporting.render import render
from fivestage.reporting.results import Results

WEAKEST = 3


def card_text(contract: Contract, results: Results) -> str:
    """The card of the trained version, in Markdown.

    Raises:
        UserError: without a trained model.
    """
    if results.model is None:
        raise UserError("There is no model to write a card for. Run `make train` first.")
    shown = task_display.shown_of(contract)
    name, way = shown.slices[0], -1 if shown.low_is_good else 1
    ranked = [row for row in results.model.slices if isfinite(row.metrics[name].value)]
    weakest = sorted(ranked, key=lambda row: way * row.metrics[name].value)[:WEAKEST]
    return render(
        "model_card.md.j2", contract, results, model=results.model, data=results.data, weakest=weakest
    )

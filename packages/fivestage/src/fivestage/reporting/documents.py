"""Documents of a run, rendered from its contract and results: HTML page, model card, decision record."""

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from fivestage.artifact.extremes import example_row, json_row
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, day_of
from fivestage.evaluation.metrics import Slice
from fivestage.reporting import heat_maps, number_format, sentences, task_display
from fivestage.reporting.results import Results
from fivestage.reporting.task_display import shown_of

FOLDER = Path(__file__).parent / "templates"
WEAKEST = 3  # slices listed under the card's limits


def page_text(contract: Contract, results: Results) -> str:
    """Return the page as HTML that loads no external resources: five stages, each with decision and plots."""
    from fivestage.reporting import plots  # matplotlib takes a second to import

    return render(
        "page.html.j2", contract, results, stages=sentences.STAGES, plots=plots, heat_maps=heat_maps
    )


def card_text(contract: Contract, results: Results) -> str:
    """Return the trained version's model card in Markdown (Mitchell et al. 2019, "Model cards")."""
    model = results.model
    if model is None:
        raise UserError("There is no model to write a card for. Run `make train` first.")
    weakest = weakest_slices(contract, model.slices)
    return render("model_card.md.j2", contract, results, model=model, data=results.data, weakest=weakest)


def decisions_text(contract: Contract, results: Results) -> str:
    """Return the decisions and their reasons in Markdown, without the parts that no run has produced yet."""
    example = json.dumps(json_row(contract, example_row(contract)), ensure_ascii=False).replace("'", r"'\''")
    return render(
        "decisions.md.j2", contract, results, model=results.model, data=results.data, example=example
    )


def weakest_slices(contract: Contract, slices: Sequence[Slice]) -> list[Slice]:
    """Return the slices with the worst first metric, worst first, without those too small to be reliable."""
    shown = shown_of(contract)
    name, sign, least = shown.slices[0], -1 if shown.low_is_good else 1, contract.gates.min_slice_rows
    ranked = [row for row in slices if row.rows >= least and isfinite(row.metrics[name].value)]
    return sorted(ranked, key=lambda row: sign * row.metrics[name].value)[:WEAKEST]


def render(template: str, contract: Contract, results: Results, **more: Any) -> str:
    """Render a template; `more` adds variables."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    return environment.get_template(template).render(
        contract=contract,
        day_of=day_of,
        results=results,
        fmt=number_format,
        sentences=sentences,
        task_display=task_display,
        shown=shown_of(contract),
        **more,
    )


def _cell(value: object) -> str:
    """Escape text for a cell of a Markdown table."""
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")

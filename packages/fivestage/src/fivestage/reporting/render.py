"""Templates filled with the contract, the results and the words for them."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from fivestage.contract.contract import Contract
from fivestage.reporting import format as say
from fivestage.reporting import task_words as tasks
from fivestage.reporting import words
from fivestage.reporting.results import Results

FOLDER = Path(__file__).parent / "templates"


def render(template: str, contract: Contract, results: Results, **more: Any) -> str:
    """The template's text; in HTML, whatever comes from outside is escaped."""
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
        results=results,
        say=say,
        words=words,
        tasks=tasks,
        shown=tasks.shown_of(contract),
        **more,
    )


def _cell(value: object) -> str:
    """Text that stays inside its cell of a Markdown table."""
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")

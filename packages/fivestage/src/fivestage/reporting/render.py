"""Render the report's Jinja templates with a contract and a run's results."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from fivestage.contract.contract import Contract, day_of
from fivestage.reporting import number_format, sentences, task_display
from fivestage.reporting.results import Results

FOLDER = Path(__file__).parent / "templates"


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
        shown=task_display.shown_of(contract),
        **more,
    )


def _cell(value: object) -> str:
    """Escape text for a cell of a Markdown table."""
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")

"""HTML pages of the service: a form, Swagger UI and ReDoc; they load nothing from other hosts."""

import json
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Mount, Route

from fivestage.contract.contract import (
    BinaryContract,
    CategoryColumn,
    Column,
    Contract,
    NumberColumn,
    RegressionContract,
    TimestampColumn,
    epoch,
    iso,
)

FORM = Path(__file__).with_name("page.html")
ASSETS = "/docs/assets"
# Pages load only from this service, and no site may show them in a frame.
POLICY = {
    "content-security-policy": "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; worker-src blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
}


def form_page(contract: Contract, as_of: int | None = None) -> HTMLResponse:
    """Return the page with a form of the contract's columns that shows the prediction."""
    decision, columns = contract.decision, contract.columns
    shift = _shift(contract, as_of) if as_of is not None else 0
    facts = _of_task(contract) | {
        "task": contract.task,
        "costs": contract.costs.model_dump(),
        "kinds": {
            name: "number" if isinstance(one, NumberColumn) else "text" for name, one in columns.items()
        },
    }
    text = Template(FORM.read_text(encoding="utf-8")).substitute(
        title=escape(contract.title),
        about=escape(f"{decision.who[:1].upper()}{decision.who[1:]} decides: {decision.what}."),
        fields="\n".join(_field(name, column, shift) for name, column in columns.items()),
        facts=json.dumps(facts).replace("<", "\\u003c"),
    )
    return HTMLResponse(text, headers=POLICY)


def documentation_pages(title: str) -> list[BaseRoute]:
    """Return the routes of `/docs` (Swagger UI) and `/redoc`; fastapi-offline provides their assets."""
    options: dict[str, Any] = {"openapi_url": "/openapi.json", "title": title}
    icon, scripts = (
        f"{ASSETS}/favicon.png",
        (f"{ASSETS}/swagger-ui-bundle.js", f"{ASSETS}/redoc.standalone.js"),
    )
    pages = {
        "/docs": get_swagger_ui_html(
            **options,
            swagger_js_url=scripts[0],
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=icon,
        ),
        "/redoc": get_redoc_html(
            **options, redoc_js_url=scripts[1], redoc_favicon_url=icon, with_google_fonts=False
        ),
    }
    for page in pages.values():
        page.headers.update(POLICY)
    assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    return [*(Route(path, page, methods=["GET"]) for path, page in pages.items()), Mount(ASSETS, assets)]


def _shift(contract: Contract, as_of: int) -> int:
    """Return the seconds from the contract's example to the end of the model's history."""
    time = contract.columns[contract.decision.time_column]
    lead: int = contract.decision.lead_seconds
    return as_of + lead - epoch(time.example)  # type: ignore[arg-type]


def _of_task(contract: Contract) -> dict[str, Any]:
    """Return the task's settings that the page needs in addition to the costs."""
    match contract:
        case BinaryContract():
            return {"act": contract.decision.act, "wait": contract.decision.wait}
        case RegressionContract():
            return {"unit": contract.label.unit, "interval": contract.interval}
    return {}


def _field(name: str, column: Column, shift: int) -> str:
    unit = f" ({column.unit})" if isinstance(column, NumberColumn) and column.unit else ""
    required = "" if column.nullable else " required"
    if isinstance(column, CategoryColumn) and column.values:
        options = "".join(
            f"<option{' selected' if value == column.example else ''}>{escape(value)}</option>"
            for value in column.values
        )
        field = f'<select name="column-{name}"{required}>{options}</select>'
    else:
        value: Any = column.example
        if isinstance(column, TimestampColumn):
            value = iso(max(epoch(column.min), min(epoch(column.max), epoch(column.example) + shift)))
        value = int(value) if isinstance(value, float) and value.is_integer() else value
        field = f'<input name="column-{name}" value="{escape(str(value))}"{required}>'
    about = f"{escape(name.replace('_', ' '))} <small>{escape(column.about + unit)}</small>"
    return f"<label>{about}{field}</label>"

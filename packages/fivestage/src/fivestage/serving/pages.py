"""The pages of the service: a form, Swagger UI and ReDoc; nothing is loaded from elsewhere."""

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
# Everything is on the page itself or comes from this service, and no other site may put it into a frame.
POLICY = {
    "content-security-policy": "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; worker-src blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
}


def form_page(contract: Contract, as_of: int | None = None) -> HTMLResponse:
    """The page on which a person fills in the contract's columns and sees the answer."""
    decision, columns = contract.decision, contract.columns
    later = _shift(contract, as_of) if as_of is not None else 0
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
        fields="\n".join(_field(name, column, later) for name, column in columns.items()),
        facts=json.dumps(facts).replace("<", "\\u003c"),
    )
    return HTMLResponse(text, headers=POLICY)


def documentation_pages(title: str) -> list[BaseRoute]:
    """The routes of `/docs` (Swagger UI) and `/redoc`; their files are those of fastapi-offline."""
    given: dict[str, Any] = {"openapi_url": "/openapi.json", "title": title}
    icon, scripts = (
        f"{ASSETS}/favicon.png",
        (f"{ASSETS}/swagger-ui-bundle.js", f"{ASSETS}/redoc.standalone.js"),
    )
    pages = {
        "/docs": get_swagger_ui_html(
            **given,
            swagger_js_url=scripts[0],
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=icon,
        ),
        "/redoc": get_redoc_html(
            **given, redoc_js_url=scripts[1], redoc_favicon_url=icon, with_google_fonts=False
        ),
    }
    for page in pages.values():
        page.headers.update(POLICY)
    assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    return [*(Route(path, page, methods=["GET"]) for path, page in pages.items()), Mount(ASSETS, assets)]


def _shift(contract: Contract, as_of: int) -> int:
    """Seconds from the example's decision to the model's time."""
    time = contract.columns[contract.decision.time_column]
    lead: int = contract.decision.lead_seconds
    return as_of + lead - epoch(time.example)  # type: ignore[arg-type]


def _of_task(contract: Contract) -> dict[str, Any]:
    """What the page needs to know of a task, beside its costs."""
    match contract:
        case BinaryContract():
            return {"act": contract.decision.act, "wait": contract.decision.wait}
        case RegressionContract():
            return {"unit": contract.label.unit, "interval": contract.interval}
    return {}


def _field(name: str, column: Column, later: int) -> str:
    unit = f" ({column.unit})" if isinstance(column, NumberColumn) and column.unit else ""
    needed = "" if column.nullable else " required"
    if isinstance(column, CategoryColumn) and column.values:
        options = "".join(
            f"<option{' selected' if value == column.example else ''}>{escape(value)}</option>"
            for value in column.values
        )
        field = f'<select name="column-{name}"{needed}>{options}</select>'
    else:
        shown: Any = column.example
        if isinstance(column, TimestampColumn):
            shown = iso(max(epoch(column.min), min(epoch(column.max), epoch(column.example) + later)))
        shown = int(shown) if isinstance(shown, float) and shown.is_integer() else shown
        field = f'<input name="column-{name}" value="{escape(str(shown))}"{needed}>'
    about = f"{escape(name.replace('_', ' '))} <small>{escape(column.about + unit)}</small>"
    return f"<label>{about}{field}</label>"

"""The pages of the service: a form, Swagger UI and ReDoc; nothing is loaded from elsewhere."""

import json
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse

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


def documentation_pages(app: FastAPI) -> APIRouter:
    """`/docs` (Swagger UI) and `/redoc` of an application; the files are those of fastapi-offline."""
    router = APIRouter(include_in_schema=False)
    assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    icon = f"{ASSETS}/favicon.png"

    @router.get("/docs")
    async def swagger_ui() -> HTMLResponse:
        script, style = f"{ASSETS}/swagger-ui-bundle.js", f"{ASSETS}/swagger-ui.css"
        return _with_policy(get_swagger_ui_html(
            openapi_url="/openapi.json", title=app.title, swagger_js_url=script, swagger_css_url=style,
            swagger_favicon_url=icon,
        ))  # fmt: skip

    @router.get("/redoc")
    async def redoc() -> HTMLResponse:
        script = f"{ASSETS}/redoc.standalone.js"
        return _with_policy(get_redoc_html(
            openapi_url="/openapi.json", title=app.title, redoc_js_url=script, redoc_favicon_url=icon,
            with_google_fonts=False,
        ))  # fmt: skip

    router.mount(ASSETS, assets)
    return router


def _with_policy(page: HTMLResponse) -> HTMLResponse:
    page.headers.update(POLICY)
    return page


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

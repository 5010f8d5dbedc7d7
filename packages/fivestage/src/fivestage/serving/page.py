"""The page at `/`: the contract's columns as a form, and what the service answers."""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

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

PAGE = Path(__file__).with_name("page.html")
# Everything is on the page itself: nothing is loaded from elsewhere.
POLICY = b"default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(contract: Contract) -> bytes:
    """The page of a contract as HTML."""
    decision, columns = contract.decision, contract.columns
    facts = _of_task(contract) | {
        "task": contract.task,
        "costs": contract.costs.model_dump(),
        "kinds": {
            name: "number" if isinstance(one, NumberColumn) else "text" for name, one in columns.items()
        },
    }
    text = Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=escape(contract.title),
        about=escape(f"{decision.who[:1].upper()}{decision.who[1:]} decides: {decision.what}."),
        fields="\n".join(_field(name, column) for name, column in columns.items()),
        facts=json.dumps(facts).replace("<", "\\u003c"),
    )
    return text.encode()


def _of_task(contract: Contract) -> dict[str, Any]:
    """What the page needs to know of a task, beside its costs."""
    match contract:
        case BinaryContract():
            return {"act": contract.decision.act, "wait": contract.decision.wait}
        case RegressionContract():
            return {"unit": contract.label.unit, "interval": contract.interval}
    return {}


def _field(name: str, column: Column) -> str:
    unit = f" ({column.unit})" if isinstance(column, NumberColumn) and column.unit else ""
    needed = "" if column.nullable else " required"
    if isinstance(column, CategoryColumn) and column.values:
        options = "".join(
            f"<option{' selected' if value == column.example else ''}>{escape(value)}</option>"
            for value in column.values
        )
        field = f'<select name="column-{name}"{needed}>{options}</select>'
    else:
        shown = iso(epoch(column.example)) if isinstance(column, TimestampColumn) else column.example
        shown = int(shown) if isinstance(shown, float) and shown.is_integer() else shown
        field = f'<input name="column-{name}" value="{escape(str(shown))}"{needed}>'
    about = f"{escape(name.replace('_', ' '))} <small>{escape(column.about + unit)}</small>"
    return f"<label>{about}{field}</label>"

"""The page at `/docs`: the OpenAPI document as HTML that needs nothing from elsewhere."""

import json
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; } summary { cursor: pointer; } code { font-weight: 600; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
pre { overflow: auto; padding: .6rem; border: 1px solid #8886; font-size: .85rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 0; } p { margin: .3rem 0; }"""
Json = dict[str, Any]


def manual(document: Json) -> bytes:
    """The page of an OpenAPI document."""
    info = document["info"]
    parts = [
        _operation(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    schemas = "".join(_details(name, schema) for name, schema in document["components"]["schemas"].items())
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(info["title"])}: API</title><style>{STYLE}</style>
<h1>{escape(info["title"])}</h1>
<p>{escape(info["description"])} <a href="/openapi.json">OpenAPI document</a> · <a href="/">the form</a></p>
{"".join(parts)}<h2>Schemas</h2>{schemas}</html>
""".encode()


def _operation(method: str, path: str, operation: Json) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    examples = {"": {"value": body["example"]}} if "example" in body else body.get("examples", {})
    shown = "".join(
        f"<pre>{escape(json.dumps(example['value'], indent=1))}</pre>" for example in examples.values()
    )
    answers = ", ".join(
        f"{status} {escape(answer['description'])}" for status, answer in operation["responses"].items()
    )
    asked = "".join(
        f"<p>{escape(one['in'])} <code>{escape(one['name'])}</code> {escape(one.get('description', ''))}</p>"
        for one in operation.get("parameters", ())
    )
    title = f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    return f"{title}<p>{escape(operation['summary'])}. {answers}.</p>{asked}{shown}"


def _details(name: str, schema: Json) -> str:
    text = escape(json.dumps(schema, indent=1))
    return f"<details><summary>{escape(name)}</summary><pre>{text}</pre></details>"

"""The OpenAPI document, made from the contract and from the message types that decode requests."""

from typing import Any

import msgspec

from fivestage.artifact.predictions import form_of
from fivestage.contract.contract import Contract
from fivestage.serving import problems
from fivestage.serving.decoders import REFERENCE, Intake, Receipt
from fivestage.serving.inference import Inference

Json = dict[str, Any]


def document(contract: Contract, rows: Intake, events: Intake) -> Json:
    """What the service takes and gives."""
    (answer, receipt, inference), components = msgspec.json.schema_components(
        (form_of(contract).answer, Receipt, Inference), ref_template=REFERENCE
    )
    components |= problems.schema()
    operations = (
        ("post", "/predict", "Answer one row or many", rows, dict(answer)),
        ("post", "/outcomes", "Tell what has happened: an event or many", events, dict(receipt)),
        ("post", "/reload", "Look at the pointer to the model now", None, {"type": "object"}),
        ("get", "/model", "Which model serves, and what it was made from", None, {"type": "object"}),
        ("get", "/healthz", "Whether the process lives", None, {"type": "object"}),
        ("get", "/readyz", "Whether requests should be sent here", None, {"type": "object"}),
        ("get", "/metrics", "Counts and durations for Prometheus", None, None),
        ("get", "/v2", "The server, by the Open Inference Protocol", None, {"type": "object"}),
        ("get", "/v2/health/live", "Whether the process lives, by that protocol", None, {"type": "object"}),
        ("get", "/v2/health/ready", "Whether it is ready, by that protocol", None, {"type": "object"}),
        (
            "get",
            "/v2/models/{name}/ready",
            "Whether the model is, by that protocol",
            None,
            {"type": "object"},
        ),
        ("get", "/v2/models/{name}", "The model, by the Open Inference Protocol", None, {"type": "object"}),
        ("post", "/v2/models/{name}/infer", "Answer columns, by that protocol", None, {"type": "object"}),
    )
    paths: dict[str, Json] = {}
    for method, path, summary, intake, answered in operations:
        operation = paths.setdefault(path, {}).setdefault(
            method, {"summary": summary, "operationId": path.strip("/").replace("/", "_")}
        )
        if intake:
            schema, found = intake.schemas()
            components |= found
            operation["requestBody"] = _request(intake, schema)
        if "{name}" in path:
            name = {"name": "name", "in": "path", "required": True, "schema": {"const": contract.name}}
            operation["parameters"] = [name]
        if path.endswith("/infer"):
            content = {"application/json": {"schema": inference, "example": _tensors(rows.examples[0])}}
            operation["requestBody"] = {"required": True, "content": content}
        if path == "/predict":
            about = "With the features that moved each decision most"
            flag = {"name": "explain", "in": "query", "schema": {"type": "boolean"}, "description": about}
            operation["parameters"] = [flag]
        operation["responses"] = _responses(path, answered, takes_body="requestBody" in operation)
    about = (
        f"{contract.decision.who[:1].upper()}{contract.decision.who[1:]} decides: {contract.decision.what}."
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": contract.title, "version": "1", "description": about},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
        "security": [{}, {"key": []}],
    }


def _tensors(row: Json) -> Json:
    return {
        "inputs": [
            {"name": name, "shape": [1], "datatype": "BYTES", "data": [value]} for name, value in row.items()
        ]
    }


def _request(intake: Intake, schema: Json) -> Json:
    examples = {"many": {"value": {intake.plural: intake.examples}}, "one": {"value": intake.examples[0]}}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}


def _responses(path: str, answered: Json | None, *, takes_body: bool) -> Json:
    kind = "text/plain" if answered is None else "application/json"
    responses: Json = {
        "200": {"description": "Done", "content": {kind: {"schema": answered or {"type": "string"}}}}
    }
    guarded = path not in {"/healthz", "/readyz", "/metrics", "/v2"} and not path.endswith(
        ("/live", "/ready")
    )
    refused = {problems.MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(name="Problem")}}}
    reasons = {
        400: "Not JSON",
        413: "Too large",
        415: "Not application/json",
        422: "Not what the contract says",
    }
    statuses = dict(reasons) if takes_body else {}
    if path == "/reload":
        statuses = {status: reasons[status] for status in (400, 413, 415)} | {409: "Refused"}
    if "{name}" in path:
        statuses[404] = "No such model"
    if path not in {"/healthz", "/metrics", "/v2", "/v2/health/live"}:
        statuses[503] = "Not ready, or too busy"
    if guarded:
        statuses |= {401: "No valid API key, where one is asked for", 429: "Too many requests"}
    for status, reason in statuses.items():
        responses[str(status)] = {"description": reason, "content": refused}
    return responses

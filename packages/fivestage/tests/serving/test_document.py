"""The OpenAPI document is true: Schemathesis asks all that it allows, and more."""

import os
import re
import subprocess
import sys
from pathlib import Path

from fastapi import APIRouter

from fivestage.serving.service_settings import Settings
from tests.serving.conftest import Deployed, running
from tests.serving.prediction_app import create_app
from tests.synthetic import synthetic_problem

# What a schema cannot say, and we refuse: moments out of range, a whole number written as 1.0, many rows to
# explain, tensors that are not the contract's columns.
BEYOND_SCHEMAS = "positive_data_acceptance"


def test_schemathesis_finds_nothing_undocumented(deployed: Deployed, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    options = [
        *("--checks", "all"),
        *("--exclude-checks", BEYOND_SCHEMAS),
        *("--max-examples", "8"),
        *("--seed", "1"),
        *("--header", "X-API-Key: key"),
        "--no-color",
    ]
    settings = Settings(**{**deployed.settings.model_dump(), "api_keys": "key"})
    with running(settings) as service:
        document = service.client.get("/openapi.json").json()
        assert {"/predict", "/outcomes", "/v2/models/{name}/infer"} <= set(document["paths"])
        assert document["paths"]["/predict"]["post"]["security"] == [{"API key": []}]
        assert "security" not in document["paths"]["/healthz"]["get"]
        run = subprocess.run(
            [program, "run", f"{service.url}/openapi.json", *options],
            cwd=tmp_path,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            timeout=3600,
            check=False,
        )
        assert run.returncode == 0, run.stdout
        assert service.client.get("/readyz").status_code == 200


def test_client_generators_can_read_the_document(deployed: Deployed) -> None:
    """A path parameter cannot be null: openapi-python-client left out the routes that name a version."""
    document = create_app(synthetic_problem("binary"), deployed.settings).openapi()
    operations = [one for path in document["paths"].values() for one in path.values()]
    parameters = [one for operation in operations for one in operation.get("parameters", [])]
    assert {one["schema"]["type"] for one in parameters if one["in"] == "path"} == {"string"}


def test_callbacks_and_webhooks_of_ones_own_keep_their_schemas(deployed: Deployed) -> None:
    """Their references to FastAPI's validation errors led nowhere, which makes a document invalid."""
    app, called = create_app(synthetic_problem("binary"), deployed.settings), APIRouter()

    @app.webhooks.post("done")
    @called.post("{$request.query.url}")
    async def told(_score: float) -> None: ...

    @app.post("/order", callbacks=called.routes)
    async def order(url: str) -> str:
        return url

    document = app.openapi()
    schemas = document["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", str(document))) <= set(schemas)

"""The OpenAPI document is true: Schemathesis asks all that it allows, and more."""

import os
import subprocess
import sys
from pathlib import Path

from fivestage.serving.service_settings import Settings
from tests.serving.conftest import Deployed, running

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

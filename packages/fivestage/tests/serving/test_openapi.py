"""The OpenAPI document is true: Schemathesis asks all that it allows, and more."""

import os
import subprocess
import sys
from pathlib import Path

from tests.serving.conftest import Running

# What a schema cannot say, and we refuse: moments out of range, a whole number written as 1.0, many rows to
# explain, tensors that are not the contract's columns.
BEYOND_SCHEMAS = "positive_data_acceptance"


def test_schemathesis_finds_nothing_undocumented(live: Running, tmp_path: Path) -> None:
    document = live.client.get("/openapi.json").json()
    assert {"/predict", "/outcomes", "/v2/models/{name}/infer"} <= set(document["paths"])
    program = Path(sys.executable).with_name("schemathesis")
    options = [
        "--checks",
        "all",
        "--exclude-checks",
        BEYOND_SCHEMAS,
        "--max-examples",
        "25",
        "--seed",
        "1",
        "--no-color",
    ]
    run = subprocess.run(
        [program, "run", f"{live.url}/openapi.json", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert live.client.get("/readyz").status_code == 200

"""KServe's client, in its own environment, gets predictions from the service."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.serving.conftest import deploy, running, traffic_of
from tests.synthetic import synthetic_artifact
from tools.bench.peers import environment_of, installed


@pytest.mark.long
def test_kserves_client_gets_the_same_answers(tmp_path: Path) -> None:
    python, program = installed("kserve"), Path(__file__).with_name("kserve_client.py")
    traffic = traffic_of("binary")
    rows = [traffic.request(place) for place in range(3)]
    with running(deploy(synthetic_artifact("binary"), tmp_path, "7").settings) as service:
        answer = service.client.post("/predict", json={"rows": rows}).json()["predictions"]
        asked = subprocess.run(
            [python, program, service.url, "synthetic-binary", json.dumps(rows)],
            env=environment_of("kserve"),
            capture_output=True,
            text=True,
            check=False,
        )
    assert asked.returncode == 0, asked.stderr
    expected = [one["probability"] for one in answer]
    assert json.loads(asked.stdout.splitlines()[-1]) == [expected, expected]

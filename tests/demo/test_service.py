"""The examples in the service's OpenAPI document get answers."""

from pathlib import Path

from fastapi.testclient import TestClient

from fivestage.artifact.artifact import Artifact
from problem import PROBLEM
from serving.app import create_app
from tests.demo.synthetic_flights import artifact, contract, deploy, flights

__all__ = ["artifact", "contract", "flights"]


def test_the_examples_of_the_document_are_answered(artifact: Artifact, tmp_path: Path) -> None:
    deployed = deploy(artifact, tmp_path, "1")
    with TestClient(create_app(PROBLEM, deployed.settings)) as client:
        paths = client.get("/openapi.json").json()["paths"]
        examples = {
            path: paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
            for path in ("/predict", "/outcomes")
        }
        one = examples["/predict"]["one"]["value"]
        (prediction,) = client.post("/predict", json=one).json()["predictions"]
        for path, named in examples.items():
            for example in named.values():
                answer = client.post(path, json=example["value"])
                assert answer.status_code == 200, answer.text
    assert 0 < prediction["probability"] < 1
    assert prediction["history_gap_hours"] > 24, "the example is of October, this small history of August"

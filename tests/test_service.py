"""Tests of the service over HTTP. Add a test for each route that you add."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from fivestage.artifact.artifact import Artifact, save_artifact
from fivestage.deployment import local_process
from fivestage.deployment.service_client import SmokeRows, connect, json_rows, smoke
from fivestage.serving.service_settings import Settings
from problem import PROBLEM
from serving.app import create_app


@pytest.fixture(scope="module")
def settings(small_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A running service with the small model."""
    folder = tmp_path_factory.mktemp("service")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = Settings(folder=folder, port=port)
    save_artifact(small_artifact, folder / "model")
    local_process.switch(started, "1", folder / "model")
    local_process.start(started)
    try:
        yield started
    finally:
        local_process.stop(started)


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[httpx.Client]:
    with connect(settings) as connected:
        yield connected


@pytest.fixture(scope="module")
def rows(small_artifact: Artifact) -> list[dict[str, Any]]:
    """Rows as a client sends them."""
    return json_rows(pd.DataFrame([one.row for one in small_artifact.smoke]), PROBLEM.contract.columns)


def test_it_answers_as_offline(
    settings: Settings, small_artifact: Artifact, rows: list[dict[str, Any]]
) -> None:
    expected = [one.forecast for one in small_artifact.smoke]
    assert smoke(settings, SmokeRows(rows, expected)) <= small_artifact.scorer.tolerance


def test_it_is_ready_and_says_which_model_serves(client: httpx.Client) -> None:
    assert client.get("/healthz").is_success
    assert client.get("/readyz").is_success
    assert client.get("/model").json()["version"] == "1"


def test_one_row_and_a_batch_get_the_same_answer(client: httpx.Client, rows: list[dict[str, Any]]) -> None:
    one = client.post("/predict", json=rows[0]).json()["predictions"]
    many = client.post("/predict", json={"rows": rows}).json()["predictions"]
    assert len(many) == len(rows)
    first, same = ({k: v for k, v in answer.items() if not k.endswith("id")} for answer in (one[0], many[0]))
    numbers = [key for key, value in first.items() if isinstance(value, float)]
    assert np.allclose([first[key] for key in numbers], [same[key] for key in numbers])


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"rows": [{}]}'])
def test_a_request_that_is_wrong_is_a_sentence_and_not_an_error_of_the_service(
    client: httpx.Client, body: str
) -> None:
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.json()["title"]


def test_a_column_of_the_wrong_type_is_named(client: httpx.Client, rows: list[dict[str, Any]]) -> None:
    name = next(iter(PROBLEM.contract.columns))
    answer = client.post("/predict", json=rows[0] | {name: {"not": "a value"}})
    assert answer.status_code == 422
    assert name in answer.text


def test_the_documentation_names_every_column(client: httpx.Client) -> None:
    document = client.get("/openapi.json").text
    assert not [name for name in PROBLEM.contract.columns if f'"{name}"' not in document]


@pytest.fixture
def keyed(tmp_path: Path) -> Settings:
    """Settings of a service with an API key, before a model has been deployed."""
    return Settings(folder=tmp_path, api_keys="key")


def test_the_document_has_the_contracts_columns_and_its_example_is_a_row(keyed: Settings) -> None:
    with TestClient(create_app(PROBLEM, keyed), headers={"x-api-key": "key"}) as client:
        document = client.get("/openapi.json").json()
        row = document["components"]["schemas"]["Row"]
        assert list(row["properties"]) == list(PROBLEM.contract.columns)
        body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
        for example in body["examples"].values():
            answer = client.post("/predict", json=example["value"])
            assert answer.status_code == 503, "a row as the contract says, and no model has been deployed"
            assert "deployed" in answer.json()["detail"]
        wrong = client.post("/predict", json={"nonsense": 1})
        assert wrong.status_code in {422, 503}
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").json() == {"status": "alive"}


def test_the_standard_routes_stand_in_named_sections_of_the_documentation(keyed: Settings) -> None:
    """They stood under "default"."""
    with TestClient(create_app(PROBLEM, keyed)) as client:
        paths = client.get("/openapi.json").json()["paths"]
    for path in ("/predict", "/outcomes", "/model", "/reload", "/healthz", "/readyz", "/metrics", "/v2"):
        assert all(operation["tags"] for operation in paths[path].values()), path


def test_the_form_has_a_field_for_each_column(keyed: Settings) -> None:
    with TestClient(create_app(PROBLEM, keyed)) as client:
        page = client.get("/").text
        for name in PROBLEM.contract.columns:
            assert page.count(f'name="column-{name}"') == 1
        assert client.get("/docs").status_code == client.get("/redoc").status_code == 200


def test_a_route_of_ones_own_has_a_key_and_its_place_in_the_document(keyed: Settings) -> None:
    app = create_app(PROBLEM, keyed)

    @app.get("/columns")
    async def columns() -> list[str]:
        return list(PROBLEM.contract.columns)

    with TestClient(app) as client:
        assert client.get("/columns").status_code == 401
        assert client.get("/columns", headers={"x-api-key": "key"}).json() == list(PROBLEM.contract.columns)
        assert "/columns" in client.get("/openapi.json").json()["paths"]
        assert 'handler="/columns",method="GET",status="200"} 1.0' in client.get("/metrics").text

"""The routes of this project: the document follows the contract, and an own route is like the others."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fivestage.serving.service_settings import Settings
from problem import PROBLEM
from serving.app import create_app


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(folder=tmp_path, api_keys="key")


def test_the_document_has_the_contracts_columns_and_its_example_is_a_row(settings: Settings) -> None:
    with TestClient(create_app(PROBLEM, settings), headers={"x-api-key": "key"}) as client:
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


def test_the_form_has_a_field_for_each_column(settings: Settings) -> None:
    with TestClient(create_app(PROBLEM, settings)) as client:
        page = client.get("/").text
        for name in PROBLEM.contract.columns:
            assert page.count(f'name="column-{name}"') == 1
        assert client.get("/docs").status_code == client.get("/redoc").status_code == 200


def test_a_route_of_ones_own_has_a_key_and_its_place_in_the_document(settings: Settings) -> None:
    app = create_app(PROBLEM, settings)

    @app.get("/columns")
    async def columns() -> list[str]:
        return list(PROBLEM.contract.columns)

    with TestClient(app) as client:
        assert client.get("/columns").status_code == 401
        assert client.get("/columns", headers={"x-api-key": "key"}).json() == list(PROBLEM.contract.columns)
        assert "/columns" in client.get("/openapi.json").json()["paths"]
        assert 'handler="/columns",method="GET",status="200"} 1.0' in client.get("/metrics").text

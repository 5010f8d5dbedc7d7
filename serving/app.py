"""The service over HTTP: its routes. Add your own beside them (docs/how-to/add-a-route.md)."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from fivestage.features.problem import Problem
from fivestage.serving.direct_route import JsonBytes
from fivestage.serving.openapi import refusals
from fivestage.serving.problems import ProblemError
from fivestage.serving.service_app import PredictionApp
from fivestage.serving.service_settings import Settings
from problem import PROBLEM


def create_app(problem: Problem, settings: Settings) -> FastAPI:
    """The application that serves a problem; it loads its model when it starts."""
    app = PredictionApp(problem, settings)  # FastAPI's, with keys, limits, metrics and problem details
    service = app.service

    # `reads_rows` documents body and answer by the contract, which decodes the raw request once.
    @app.post("/predict", **app.reads_rows)
    async def predict(request: Request, explain: bool = False) -> Response:  # noqa: FBT001, FBT002 (a query)
        """Answer one row or many; `explain` adds the features that moved each decision most."""
        identifier, predictions = await service.predict(await app.read(request), explain=explain)
        return JsonBytes(predictions, identifier)

    @app.post("/outcomes", **app.reads_events)
    async def outcomes(request: Request) -> Response:
        """Take in what has happened: an event or many."""
        return JsonBytes(await service.ingest(await app.read(request)))

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """Which model serves, and what it was made from."""
        return service.describe()

    @app.post("/reload", responses=refusals(409))
    async def reload() -> dict[str, Any]:
        """Look now whether another model is to serve."""
        await service.reload()
        if service.reload_error:
            raise ProblemError(409, service.reload_error)
        return service.describe()

    app.add_standard_routes()  # a form, health, metrics, documentation, the Open Inference Protocol
    return app


def create() -> FastAPI:
    """The application of this project, set by the environment; uvicorn calls it in each process."""
    return create_app(PROBLEM, Settings.from_environment())

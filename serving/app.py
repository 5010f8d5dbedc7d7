"""The routes of the HTTP service. Add your own next to them (docs/how-to/add-a-route.md)."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from fivestage.features.problem import Problem
from fivestage.serving.problems import ProblemError
from fivestage.serving.service_app import PredictionApp
from fivestage.serving.service_settings import Settings
from problem import PROBLEM

JSON = "application/json"


def create_app(problem: Problem, settings: Settings) -> FastAPI:
    """Create the application that serves a problem; it loads the model on startup."""
    app = PredictionApp(problem, settings)  # FastAPI with API keys, limits, metrics and problem details
    service = app.service  # predicts and logs, without HTTP

    # `reads_rows` and `reads_events` document body and response; the service decodes by the contract.
    @app.post("/predict", tags=["Predictions"], **app.reads_rows)
    async def predict(request: Request, explain: bool = False) -> Response:  # noqa: FBT001, FBT002 (a query parameter)
        """Predict one row or many; `explain` adds the features that contributed most to each prediction."""
        body = await app.read(request)  # decompressed; refused if it is too large or not JSON
        request_id, predictions = await service.predict(body, explain=explain)  # as JSON, already in the log
        return Response(predictions, headers={"x-request-id": request_id}, media_type=JSON)

    @app.post("/outcomes", tags=["Predictions"], **app.reads_events)
    async def outcomes(request: Request) -> Response:
        """Ingest one event or many, such as outcomes."""
        return Response(await service.ingest(await app.read(request)), media_type=JSON)

    @app.get("/model", tags=["Model"])
    async def model() -> dict[str, Any]:
        """Describe the model being served, and what it was trained on."""
        return service.describe()

    @app.post("/reload", tags=["Model"], responses=app.refusals(409))
    async def reload() -> dict[str, Any]:
        """Check for a new model version now, and load it."""
        await service.reload()
        if service.reload_error:
            raise ProblemError(409, service.reload_error)
        return service.describe()

    # The form, health checks, metrics, documentation and Open Inference Protocol; a route above goes first.
    app.add_standard_routes()
    return app


def create() -> FastAPI:
    """Create this project's application, configured by the environment; uvicorn calls it in each process."""
    return create_app(PROBLEM, Settings.from_environment())

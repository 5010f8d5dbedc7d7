"""A FastAPI application of the library's parts alone, as its documentation has it: what the tests ask."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from fivestage.features.problem import Problem
from fivestage.serving.openapi import refusals
from fivestage.serving.problems import ProblemError
from fivestage.serving.service_app import PredictionApp
from fivestage.serving.service_settings import Settings

JSON = "application/json"


def create_app(problem: Problem, settings: Settings) -> PredictionApp:
    app = PredictionApp(problem, settings)
    service = app.service

    @app.post("/predict", **app.reads_rows)
    async def predict(request: Request, explain: bool = False) -> Response:  # noqa: FBT001, FBT002 (a query)
        identifier, predictions = await service.predict(await app.read(request), explain=explain)
        return Response(predictions, headers={"x-request-id": identifier}, media_type=JSON)

    @app.post("/outcomes", **app.reads_events)
    async def outcomes(request: Request) -> Response:
        return Response(await service.ingest(await app.read(request)), media_type=JSON)

    @app.get("/model")
    async def model() -> dict[str, Any]:
        return service.describe()

    @app.post("/reload", responses=refusals(409))
    async def reload() -> dict[str, Any]:
        await service.reload()
        if service.reload_error:
            raise ProblemError(409, service.reload_error)
        return service.describe()

    app.add_standard_routes()
    return app

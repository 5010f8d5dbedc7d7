"""A FastAPI application of the library's parts alone, as its documentation has it: what the tests ask."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from fivestage.artifact.predictions import form_of
from fivestage.features.problem import Problem
from fivestage.serving.admission import Admission
from fivestage.serving.decoders import Receipt, events_intake, rows_intake
from fivestage.serving.direct_route import DirectRoute, JsonBytes
from fivestage.serving.inference_protocol import InferenceRequest, InferenceResponse, inference_protocol
from fivestage.serving.middleware import RequestMiddleware
from fivestage.serving.openapi import GUARDED, OF_BODY, answers, describe_messages, request_body
from fivestage.serving.pages import documentation_pages, form_page
from fivestage.serving.problems import ProblemError, answer_with_problem_details
from fivestage.serving.requests import read_body
from fivestage.serving.server import stop_gracefully
from fivestage.serving.service import PredictionService
from fivestage.serving.service_settings import Settings


def create_app(problem: Problem, settings: Settings) -> FastAPI:
    contract = problem.contract
    service, admission = PredictionService(settings, problem.features), Admission(settings)
    rows, events, answer = rows_intake(contract), events_intake(contract), form_of(contract).answer

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        stop_gracefully(service)
        yield
        await service.stop()

    app = FastAPI(
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=admission.dependencies,
    )
    app.router.route_class = DirectRoute
    app.add_middleware(RequestMiddleware, settings=settings, metrics=service.metrics)
    answer_with_problem_details(app)
    describe_messages(app, (rows, events), (answer, Receipt, InferenceRequest, InferenceResponse))
    app.state.settings, app.state.service = settings, service
    app.state.admission, app.state.metrics = admission, service.metrics

    @app.post("/predict", openapi_extra=request_body(rows), responses=answers(answer, *OF_BODY, *GUARDED))
    async def predict(request: Request, explain: bool = False) -> Response:  # noqa: FBT001, FBT002 (a query)
        body = await read_body(request, settings.max_body_bytes)
        identifier, predictions = await service.predict(body, explain=explain)
        return JsonBytes(predictions, identifier)

    @app.post("/outcomes", openapi_extra=request_body(events), responses=answers(Receipt, *OF_BODY, *GUARDED))
    async def outcomes(request: Request) -> Response:
        return JsonBytes(await service.ingest(await read_body(request, settings.max_body_bytes)))

    @app.get("/model", responses=answers(None, *GUARDED))
    async def model() -> dict[str, Any]:
        return service.describe()

    @app.post("/reload", responses=answers(None, 409, *GUARDED))
    async def reload() -> dict[str, Any]:
        await service.reload()
        if service.reload_error:
            raise ProblemError(409, service.reload_error)
        return service.describe()

    app.router.routes.extend(_public(service, problem).routes)
    app.router.routes.extend(documentation_pages(app).routes)
    app.router.routes.extend(inference_protocol(service, contract, admission).routes)
    return app


def _public(service: PredictionService, problem: Problem) -> APIRouter:
    public = APIRouter()

    @public.get("/healthz", responses=answers(None))
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @public.get("/readyz", responses=answers(None, 503))
    async def ready() -> dict[str, str]:
        if not service.ready:
            raise ProblemError(503, service.status_detail)
        return {"status": "ready", "detail": service.status_detail}

    @public.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        return Response(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    @public.get("/", include_in_schema=False)
    async def form() -> HTMLResponse:
        return form_page(problem.contract, service.model.artifact.as_of if service.model else None)

    return public

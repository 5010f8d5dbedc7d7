"""The service over HTTP: its routes. Add your own beside them (docs/how-to/add-a-route.md)."""

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
from fivestage.serving.server import prepare_process, stop_gracefully
from fivestage.serving.service import PredictionService
from fivestage.serving.service_settings import Settings
from problem import PROBLEM


def create_app(problem: Problem, settings: Settings) -> FastAPI:  # noqa: C901 (a route each)
    """The application that serves a problem; it loads its model when it starts."""
    contract = problem.contract
    service = PredictionService(settings, problem.features)
    admission = Admission(settings)
    rows, events, answer = rows_intake(contract), events_intake(contract), form_of(contract).answer

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        stop_gracefully(service)
        yield
        await service.stop()

    who = contract.decision.who
    app = FastAPI(
        title=contract.title,
        description=f"{who[:1].upper()}{who[1:]} decides: {contract.decision.what}.",
        version="1",
        lifespan=lifespan,
        docs_url=None,  # the pages below load nothing from other hosts
        redoc_url=None,
        redirect_slashes=False,
        dependencies=admission.dependencies,  # every route of `app` asks for a key and keeps to the limits
    )
    app.router.route_class = DirectRoute  # quicker where a route takes the raw request
    app.add_middleware(RequestMiddleware, settings=settings, metrics=service.metrics)
    answer_with_problem_details(app)
    describe_messages(app, (rows, events), (answer, Receipt, InferenceRequest, InferenceResponse))
    app.state.settings, app.state.service = settings, service
    app.state.admission, app.state.metrics = admission, service.metrics

    @app.post("/predict", openapi_extra=request_body(rows), responses=answers(answer, *OF_BODY, *GUARDED))
    async def predict(request: Request, explain: bool = False) -> Response:  # noqa: FBT001, FBT002 (a query)
        """Answer one row or many; `explain` adds the features that moved each decision most."""
        body = await read_body(request, settings.max_body_bytes)
        identifier, predictions = await service.predict(body, explain=explain)
        return JsonBytes(predictions, identifier)

    @app.post("/outcomes", openapi_extra=request_body(events), responses=answers(Receipt, *OF_BODY, *GUARDED))
    async def outcomes(request: Request) -> Response:
        """Take in what has happened: an event or many."""
        return JsonBytes(await service.ingest(await read_body(request, settings.max_body_bytes)))

    @app.get("/model", responses=answers(None, *GUARDED))
    async def model() -> dict[str, Any]:
        """Which model serves, and what it was made from."""
        return service.describe()

    @app.post("/reload", responses=answers(None, 409, *GUARDED))
    async def reload() -> dict[str, Any]:
        """Look now whether another model is to serve."""
        await service.reload()
        if service.reload_error:
            raise ProblemError(409, service.reload_error)
        return service.describe()

    public = APIRouter()  # without key or limit

    @public.get("/healthz", responses=answers(None))
    async def alive() -> dict[str, str]:
        """Whether the process lives."""
        return {"status": "alive"}

    @public.get("/readyz", responses=answers(None, 503))
    async def ready() -> dict[str, str]:
        """Whether requests should be sent here."""
        if not service.ready:
            raise ProblemError(503, service.status_detail)
        return {"status": "ready", "detail": service.status_detail}

    @public.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counts and durations for Prometheus."""
        return Response(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    @public.get("/", include_in_schema=False)
    async def form() -> HTMLResponse:
        """A form with the contract's columns."""
        return form_page(contract, service.model.artifact.as_of if service.model else None)

    protocol = inference_protocol(service, contract, admission)
    app.router.routes.extend([*public.routes, *documentation_pages(app).routes, *protocol.routes])
    return app


def create() -> FastAPI:
    """The application of this project, set by the environment; uvicorn calls it in each process."""
    prepare_process()
    return create_app(PROBLEM, Settings.from_environment())

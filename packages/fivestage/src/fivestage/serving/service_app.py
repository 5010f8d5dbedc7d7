"""FastAPI applications with API keys, limits, metrics, problem details, health checks and documentation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from fivestage.artifact.predictions import form_of
from fivestage.features.problem import Problem
from fivestage.serving.admission import Admission
from fivestage.serving.bodies import read_body
from fivestage.serving.decoders import Receipt, events_intake, rows_intake
from fivestage.serving.inference_protocol import InferenceRequest, InferenceResponse, inference_protocol
from fivestage.serving.middleware import KEY, AdmissionMiddleware, RequestMiddleware
from fivestage.serving.openapi import GUARDED, components_of, messages, refusals, show_refusals
from fivestage.serving.pages import documentation_pages, form_page
from fivestage.serving.problems import ProblemDetails, answer_with_problem_details
from fivestage.serving.server import Service, prepare_process, require_ready, stop_gracefully
from fivestage.serving.service import PredictionService
from fivestage.serving.service_settings import Settings


class ServiceApp(FastAPI):
    """An application that starts and stops a service.

    Args:
        service: The service behind the routes.
        title: Title of the OpenAPI document and the pages.
        description: Description in the OpenAPI document.
        components: JSON schemas that routes refer to, by name.

    Attributes:
        public: Router of the routes that need no API key and have no limits.
    """

    refusals = staticmethod(refusals)  # the error responses of a route, for its argument `responses`

    def __init__(
        self, service: Service, title: str, description: str, components: dict[str, Any] | None = None
    ) -> None:
        settings, admission = service.settings, Admission(service.settings)

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            prepare_process()
            await service.start()
            stop_gracefully(service)
            yield
            await service.stop()

        super().__init__(
            title=title,
            description=description,
            version="1",
            lifespan=lifespan,
            docs_url=None,  # replaced by pages that load nothing from other hosts
            redoc_url=None,
            redirect_slashes=False,
            dependencies=[Depends(KEY)] if settings.keys else [],
            responses=refusals(*GUARDED),
        )
        answer_with_problem_details(self)
        if settings.origins:  # browsers ask before they send JSON to another site, and hide response headers
            self.add_middleware(
                CORSMiddleware,
                allow_origins=sorted(settings.origins),
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["x-request-id", "retry-after"],
            )
        self.state.settings, self.state.service = settings, service
        self.state.admission, self.state.metrics = admission, service.metrics
        self._components = (components or {}) | components_of([ProblemDetails])
        self.public = public = APIRouter(routes=self.routes[:])  # FastAPI's own: the OpenAPI document
        self.routes.clear()
        # As Starlette's `Router` does with the middleware it is given; FastAPI has no argument for it.
        self.router.middleware_stack = AdmissionMiddleware(self.router, admission, public.routes)

        operations = APIRouter(tags=["Operations"])

        @operations.get("/healthz")
        async def alive() -> dict[str, str]:
            """Liveness probe."""
            return {"status": "alive"}

        @operations.get("/readyz", responses=refusals(503))
        async def ready() -> dict[str, str]:
            """Readiness probe; `detail` says what an operator should know."""
            require_ready(service)
            return {"status": "ready", "detail": service.status_detail}

        @operations.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
        async def metrics() -> Response:
            """Metrics in Prometheus' text format."""
            return Response(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

        public.routes.extend([*operations.routes, *documentation_pages(title)])

    def add_standard_routes(self) -> None:
        """Add the public routes; call it last, as routes are matched in order."""
        self.router.routes.extend(self.public.routes)

    def build_middleware_stack(self) -> ASGIApp:
        """Replace Starlette's `ServerErrorMiddleware` with `RequestMiddleware`."""
        framework = super().build_middleware_stack().app  # type: ignore[attr-defined]
        return RequestMiddleware(framework, self, self.public.routes)

    def openapi(self) -> dict[str, Any]:
        """Add schemas and error responses to FastAPI's OpenAPI document; see its page "Extending OpenAPI"."""
        if self.openapi_schema is None:
            document = super().openapi()
            document.setdefault("components", {}).setdefault("schemas", {}).update(self._components)
            show_refusals(document)
        return self.openapi_schema or {}


class PredictionApp(ServiceApp):
    """An application that serves a problem's model; the project adds routes for predictions and outcomes.

    Args:
        problem: Its contract defines the rows, events and predictions.
        settings: The service's settings.

    Attributes:
        service: The prediction service.
        reads_rows: Options that document a route that reads rows and returns predictions.
        reads_events: Options that document a route that reads events.
    """

    def __init__(self, problem: Problem, settings: Settings) -> None:
        self.service = PredictionService(settings, problem.features)
        self._contract = contract = problem.contract
        rows, events, answer = rows_intake(contract), events_intake(contract), form_of(contract).answer
        who = contract.decision.who
        super().__init__(
            self.service,
            title=contract.title,
            description=f"{who[:1].upper()}{who[1:]} decides: {contract.decision.what}.",
            components=rows.components()
            | events.components()
            | components_of([answer, Receipt, InferenceRequest, InferenceResponse]),
        )
        self.reads_rows = messages(rows.schema(), answer, rows.named_examples)
        self.reads_events = messages(events.schema(), Receipt, events.named_examples)

        @self.public.get("/", include_in_schema=False)
        async def form() -> HTMLResponse:
            """Form with the contract's columns."""
            model = self.service.model
            return form_page(contract, model.artifact.as_of if model else None)

    async def read(self, request: Request) -> bytes:
        """Read the body of a request, decompressed.

        Args:
            request: The request.

        Returns:
            The body as bytes of JSON; it is not parsed.

        Raises:
            ProblemError: 400 for corrupt compression, 413 if too large, 415 for another content type.
        """
        return await read_body(request, self.service.settings.max_body_bytes)

    def add_standard_routes(self) -> None:
        """Add the form, health checks, metrics, documentation and the Open Inference Protocol."""
        public, guarded = inference_protocol(self.service, self._contract, self.router.dependencies)
        self.public.routes.extend(public.routes)
        self.router.routes.extend(guarded.routes)
        super().add_standard_routes()

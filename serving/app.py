"""The service over HTTP."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector

from core.contract import load_contract
from serving import openapi
from serving.problems import MEDIA_TYPE, Refusal
from serving.schema import events_intake, rows_intake
from serving.service import Service
from serving.settings import Settings

JSON = "application/json"


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; it loads its model when it starts."""
    service = Service(settings or Settings.from_environment())
    contract = load_contract()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    def document() -> dict[str, Any]:
        model = service.model
        rows = model.rows if model else rows_intake(contract)
        events = model.events if model else events_intake(contract)
        return openapi.document(contract, rows, events)

    app = FastAPI(title=contract.title, version="1", lifespan=lifespan, redoc_url=None)
    app.state.service = service
    app.openapi = document  # type: ignore[method-assign]
    answers = Answers(service)
    for method, path, endpoint in (
        ("POST", "/predict", answers.predict),
        ("POST", "/outcomes", answers.outcomes),
        ("POST", "/reload", answers.reload),
        ("GET", "/model", answers.model),
        ("GET", "/healthz", answers.alive),
        ("GET", "/readyz", answers.ready),
        ("GET", "/metrics", answers.metrics),
    ):
        app.add_route(path, _counted(service, endpoint), methods=[method], include_in_schema=False)
    return app


class Answers:
    """What each path answers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._registry = CollectorRegistry()
        self._registry.register(service.metrics)
        ProcessCollector(registry=self._registry)

    async def predict(self, request: Request) -> Response:
        return Response(await self._service.predict(await _body(request)), media_type=JSON)

    async def outcomes(self, request: Request) -> Response:
        return Response(await self._service.tell(await _body(request)), media_type=JSON)

    async def reload(self, request: Request) -> Response:
        await self._service.reload()
        if self._service.trouble:
            raise Refusal(409, self._service.trouble)
        return await self.model(request)

    async def model(self, _: Request) -> Response:
        return _json(self._service.describe())

    async def alive(self, _: Request) -> Response:
        return _json({"status": "alive"})

    async def ready(self, _: Request) -> Response:
        if not self._service.ready:
            raise Refusal(503, self._service.trouble or "The service is starting or stopping.")
        return _json({"status": "ready", "trouble": self._service.trouble})

    async def metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


Endpoint = Callable[[Request], Awaitable[Response]]


def _counted(service: Service, endpoint: Endpoint) -> Endpoint:
    """Turn refusals into problem details, and count answers."""

    async def answer(request: Request) -> Response:
        started = time.perf_counter()
        try:
            response = await endpoint(request)
        except Refusal as refusal:
            response = Response(refusal.body, refusal.status, refusal.headers, MEDIA_TYPE)
        seconds = time.perf_counter() - started
        service.metrics.answered(request.method, request.url.path, response.status_code, seconds)
        return response

    return answer


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", JSON)
    if kind.partition(";")[0].strip().lower() != JSON:
        raise Refusal(415, f"Send {JSON}, not {kind}.")
    return await request.body()


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type=JSON)

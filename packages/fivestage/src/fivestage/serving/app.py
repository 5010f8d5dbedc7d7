"""The service over HTTP."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fivestage.contract.contract import Contract
from fivestage.features.problem import Problem
from fivestage.serving import openapi
from fivestage.serving.commit import Then
from fivestage.serving.decoders import events_intake, rows_intake
from fivestage.serving.door import HOT, Call, Door, Guard, Reply
from fivestage.serving.inference import Protocol
from fivestage.serving.manual import manual
from fivestage.serving.page import POLICY, page
from fivestage.serving.problems import MEDIA_TYPE, ProblemError
from fivestage.serving.service import Service
from fivestage.serving.settings import Settings


def create_app(problem: Problem, settings: Settings | None = None) -> FastAPI:
    """The application; it loads its model when it starts."""
    contract = problem.contract
    service = Service(settings or Settings.from_environment(), problem.features)

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

    app = _App(title=contract.title, version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    app.state.service = service
    app.add_exception_handler(HTTPException, _unknown)
    app.openapi = document  # type: ignore[method-assign]
    answers = Answers(service, contract, document)
    protocol = Protocol(service, contract)
    guard = Guard(service.settings)
    for method, path, endpoint, guarded in (
        ("POST", HOT, answers.predict, True),
        ("POST", "/outcomes", answers.outcomes, True),
        ("POST", "/reload", answers.reload, True),
        ("GET", "/model", answers.model, True),
        ("GET", "/healthz", answers.alive, False),
        ("GET", "/readyz", answers.ready, False),
        ("GET", "/metrics", answers.metrics, False),
        ("GET", "/", answers.page, False),
        ("GET", "/docs", answers.manual, False),
        ("GET", "/v2", protocol.server, False),
        ("GET", "/v2/health/live", protocol.live, False),
        ("GET", "/v2/health/ready", protocol.ready, False),
        ("GET", "/v2/models/{name}", protocol.model, True),
        ("GET", "/v2/models/{name}/ready", protocol.model_ready, False),
        ("POST", "/v2/models/{name}/infer", protocol.infer, True),
    ):
        soon = answers.predict_soon if path == HOT else None
        door = Door(endpoint, path, service.settings, service.metrics, guard if guarded else None, soon)
        app.router.routes.append(Route(path, door, methods=[method], include_in_schema=False))
        if path == HOT:
            app.state.hot = app.hot = door
    return app


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (the handler is registered for it alone)
    method, path = request.method, request.url.path
    told = {404: f"There is nothing at {path}", 405: f"{path} does not take {method}"}
    refusal = ProblemError(error.status_code, f"{told.get(error.status_code, error.detail)}: see /docs.")
    return Response(refusal.told(path), error.status_code, error.headers, MEDIA_TYPE)


class _App(FastAPI):
    """FastAPI, with a short cut past its layers for the path that carries the load."""

    hot: Door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == HOT and scope["method"] == "POST":
            await self.hot(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class Answers:
    """What each path answers."""

    def __init__(self, service: Service, contract: Contract, document: Callable[[], dict[str, Any]]) -> None:
        self._contract = contract
        self._service, self._document = service, document
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

    async def predict(self, call: Call) -> Reply:
        name, answer = await self._service.predict(call.body, explain=call.flag("explain"))
        return _predicted(name, answer)

    def predict_soon(self, body: bytes, then: Then) -> Reply:
        name, answer = self._service.answer(body, then)
        return _predicted(name, answer)

    async def outcomes(self, call: Call) -> Reply:
        return Reply(await self._service.tell(call.body))

    async def reload(self, call: Call) -> Reply:
        await self._service.reload()
        if self._service.trouble:
            raise ProblemError(409, self._service.trouble)
        return await self.model(call)

    async def model(self, _: Call) -> Reply:
        return Reply(msgspec.json.encode(self._service.describe()))

    async def alive(self, _: Call) -> Reply:
        return Reply(b'{"status":"alive"}')

    async def ready(self, _: Call) -> Reply:
        if self._service.draining:
            raise ProblemError(503, "The service is stopping.")
        if not self._service.ready:
            raise ProblemError(503, self._service.trouble or "The service is starting.")
        return Reply(msgspec.json.encode({"status": "ready", "trouble": self._service.notice}))

    async def page(self, _: Call) -> Reply:
        contract = self._service.model.artifact.contract if self._service.model else self._contract
        return _shown(page(contract))

    async def manual(self, _: Call) -> Reply:
        return _shown(manual(self._document()))

    async def metrics(self, _: Call) -> Reply:
        shared = self._service.shared
        registry = CollectorRegistry()
        registry.register(shared.total() if shared else self._service.metrics)
        text = generate_latest(registry)
        if shared is None:  # a worker's own figures would jump from one to another
            text += generate_latest(self._registry)
        return Reply(text, CONTENT_TYPE_LATEST.encode())


def _predicted(name: str, answer: bytes) -> Reply:
    return Reply(answer, headers=((b"x-request-id", name.encode()),))


def _shown(html: bytes) -> Reply:
    return Reply(html, b"text/html; charset=utf-8", headers=((b"content-security-policy", POLICY),))

"""Who comes in and what goes out: keys, limits, sizes, refusals as problems; and the end of a service."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from fivestage.artifact.artifact import Artifact
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.deployment import local_process as local
from fivestage.deployment.service_client import connect, url
from fivestage.serving.admission import REFUSAL_SECONDS
from fivestage.serving.problems import ProblemError
from fivestage.serving.service_app import PredictionApp
from fivestage.serving.service_settings import Settings
from tests.serving.conftest import (
    Deployed,
    Running,
    Traffic,
    deploy,
    first_events,
    free_port,
    hold_answers,
    running,
)
from tests.serving.prediction_app import create_app
from tests.serving.test_hostile import CHUNKED, connected, good
from tests.synthetic import synthetic_problem

PROBLEM = "application/problem+json"


def with_settings(deployed: Deployed, **given: object) -> Settings:
    return Settings(**{**deployed.settings.model_dump(), **given})


def test_with_keys_set_only_their_holders_come_in(deployed: Deployed, traffic: Traffic) -> None:
    with running(with_settings(deployed, api_keys="first, second")) as service:
        ask = service.client
        for headers in ({}, {"X-API-Key": "third"}, {"X-API-Key": ""}, {"Authorization": "Bearer firs"}):
            refused = ask.post("/predict", json=traffic.request(0), headers=headers)
            assert refused.status_code == 401
            assert refused.headers["content-type"] == PROBLEM
            assert refused.headers["www-authenticate"] == "Bearer"
        accepted = (
            {"X-API-Key": "first"},
            {"Authorization": "Bearer second"},
            {"Authorization": "bearer first"},
        )
        for headers in accepted:
            assert ask.post("/predict", json=traffic.request(0), headers=headers).status_code == 200
        assert ask.post("/outcomes", json={}).status_code == 401
        assert ask.post("/reload").status_code == 401
        assert [ask.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3


class WithoutPrefix:
    """Middleware that rewrites paths, as for a service behind a path of a proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = scope["path"].removeprefix("/api")
        await self.app(scope, receive, send)


class CookieAsKey(WithoutPrefix):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            key = dict(scope["headers"]).get(b"cookie", b"").removeprefix(b"key=")
            scope["headers"] = [*scope["headers"], (b"x-api-key", key)]
        await self.app(scope, receive, send)


def with_routes_of_all_kinds(settings: Settings, folder: Path) -> PredictionApp:
    app, others, below = create_app(synthetic_problem("binary"), settings), APIRouter(), FastAPI()
    app.router.redirect_slashes = True
    (folder / "a.html").write_text("a")

    @app.get("/typed")
    @app.get("/slash/")
    @others.get("/included")
    @below.get("/mounted")
    async def typed() -> str:
        return "typed"

    @app.get("/direct")
    async def direct(request: Request) -> Response:
        return Response(request.url.path)

    app.include_router(others, prefix="/others")
    app.mount("/below", below)
    app.frontend("/ui", directory=folder)
    return app


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_only_public_routes_are_served_without_a_key(deployed: Deployed, tmp_path: Path, prefix: str) -> None:
    """Paths that the middleware rewrites, and files of a frontend, were served to anybody."""
    app = with_routes_of_all_kinds(with_settings(deployed, api_keys="key"), tmp_path)
    if prefix:
        app.add_middleware(WithoutPrefix)
    guarded = [
        ("GET", "/typed", 200),
        ("GET", "/typed?a=1", 200),
        ("HEAD", "/typed", 200),
        ("POST", "/typed", 405),
        ("GET", "/direct", 200),
        ("HEAD", "/direct", 200),
        ("GET", "/direct?a=1", 200),
        ("POST", "/predict", 415),
        ("GET", "/predict", 405),
        ("GET", "/slash", 307),
        ("GET", "/others/included", 200),
        ("GET", "/below/mounted", 200),
        ("GET", "/below/nothing", 404),
        ("GET", "/ui/a.html", 200),
        ("HEAD", "/ui/a.html", 200),
        ("GET", "/ui/nothing", 404),
        ("GET", "/nothing", 404),
        ("POST", "/healthz", 405),
        ("OPTIONS", "/typed", 405),
        ("GET", "/v2/models/synthetic-binary", 200),
    ]
    with running(deployed.settings, app) as service:
        ask = service.client
        for method, path, status in guarded:
            assert ask.request(method, prefix + path).status_code == 401, (method, path)
            allowed = ask.request(method, prefix + path, headers={"x-api-key": "key"})
            assert allowed.status_code == status, (method, path)
        for path in ("/", "/healthz", "/readyz", "/metrics", "/docs", "/docs/assets/favicon.png", "/v2"):
            for method in ("GET", "HEAD"):
                assert ask.request(method, prefix + path).status_code == 200, (method, path)
        foreign = ask.post(f"{prefix}/nothing", headers={"x-api-key": "key", "origin": "https://a.example"})
        assert foreign.status_code == 403
        counted = ask.get("/metrics").text
    assert 'http_requests_total{handler="/typed",method="GET",status="401"} 3.0' in counted


def test_a_websocket_needs_a_key_and_an_allowed_origin(deployed: Deployed) -> None:
    """The service's own server accepts none; another server might."""
    app = create_app(synthetic_problem("binary"), with_settings(deployed, api_keys="key"))
    served = []

    async def socket(websocket: WebSocket) -> None:
        served.append(websocket)

    app.routes.append(WebSocketRoute("/socket", socket))

    def connect(**headers: str) -> None:
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "websocket", "path": "/socket", "query_string": b"", "headers": named}
        asyncio.run(app.router(scope, AsyncMock(), AsyncMock()))

    for sent, status in (({}, 401), ({"x_api_key": "key", "origin": "https://a.example"}, 403)):
        with pytest.raises(ProblemError) as refused:
            connect(**sent)
        assert refused.value.status_code == status
    assert served == []
    connect(x_api_key="key")
    assert len(served) == 1


def test_limits_hold_behind_middleware(deployed: Deployed) -> None:
    app = create_app(
        synthetic_problem("binary"), with_settings(deployed, rate_per_second=0.001, burst_seconds=1000)
    )
    app.add_middleware(WithoutPrefix)
    with running(deployed.settings, app) as service:
        assert [service.client.get("/api/model").status_code for _ in range(2)] == [200, 429]


def test_a_page_of_an_allowed_origin_passes_the_preflight(deployed: Deployed, traffic: Traffic) -> None:
    """JSON needs one: the setting alone did not let a browser send anything."""
    page, other = "https://page.example", "https://other.example"
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-api-key",
    }
    with running(with_settings(deployed, allowed_origins=f"{page}/", api_keys="key")) as service:
        ask = service.client
        for origin, status in ((page, 200), (other, 400)):
            assert ask.options("/predict", headers={"origin": origin} | asked).status_code == status
        answer = ask.post("/predict", json=traffic.request(0), headers={"origin": page, "x-api-key": "key"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page)
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        refused = ask.post("/predict", json={}, headers={"origin": other, "x-api-key": "key"})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers


def test_middleware_of_the_project_sees_refusals(deployed: Deployed, traffic: Traffic) -> None:
    """Scripts of an allowed origin could not read them, as they had no Access-Control-Allow-Origin."""
    settings = with_settings(deployed, api_keys="key", rate_per_second=0.001, burst_seconds=3000)
    app, page = create_app(synthetic_problem("binary"), settings), "https://page.example"
    app.add_middleware(CORSMiddleware, allow_origins=[page], allow_headers=["x-api-key", "content-type"])
    key, other = {"x-api-key": "key", "origin": page}, {"x-api-key": "other", "origin": page}
    with running(deployed.settings, app) as service:
        ask = service.client
        asked = {"access-control-request-method": "GET", "access-control-request-headers": "x-api-key"}
        preflight = ask.options("/model", headers={"origin": page} | asked)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, page)
        answers = [ask.get("/model", headers=other), ask.post("/predict", json={}, headers=key)]
        answers.append(ask.get("/model", headers=key))
        while app.state.admission.in_flight:  # the client has its answer before the request is over
            time.sleep(0.01)
        app.state.admission.in_flight = settings.max_in_flight
        answers.append(ask.get("/model", headers=key))
        app.state.admission.in_flight = 0
        answers += [ask.get("/model", headers=key) for _ in range(2)]
        assert [one.status_code for one in answers] == [401, 403, 200, 503, 200, 429]
        assert [one.headers["access-control-allow-origin"] for one in answers] == [page] * 6
    settings = with_settings(deployed, allowed_origins=page, max_body_bytes=1000)
    app = create_app(synthetic_problem("binary"), settings)
    app.add_middleware(CORSMiddleware, allow_origins=[page])
    with running(deployed.settings, app) as service, connected(service) as client:
        large = service.client.post("/predict", content=b" " * 1001, headers={"origin": page})
        assert (large.status_code, large.headers["access-control-allow-origin"]) == (413, page)
        app.state.admission.in_flight = settings.max_in_flight
        client.sendall(good(traffic).replace(b"\r\nHost: x", b"\r\nHost: x\r\nOrigin: %b" % page.encode()))
        head = client.recv(65_536).partition(b"\r\n\r\n")[0]
        app.state.admission.in_flight = 0
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"access-control-allow-origin: %b" % page.encode() in head
    cookies = create_app(synthetic_problem("binary"), with_settings(deployed, api_keys="key"))
    cookies.add_middleware(CookieAsKey)
    with running(deployed.settings, cookies) as service:
        for cookie, status in (("key=key", 200), ("key=other", 401)):
            answer = service.client.post("/predict", json=traffic.request(0), headers={"cookie": cookie})
            assert answer.status_code == status


class CountedRoute(APIRoute):
    matched = 0

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        CountedRoute.matched += 1
        return super().matches(scope)


def test_a_route_is_matched_once_and_middleware_may_read_bodies(deployed: Deployed) -> None:
    """Admission and the router each matched routes; bodies that middleware reads are bounded too."""
    settings = with_settings(deployed, api_keys="key", max_body_bytes=1000)
    app = create_app(synthetic_problem("binary"), settings)
    read: list[bytes] = []

    async def counted(request: Request, sent: dict[str, int]) -> str:
        return f"{request.url_for('counted').path} {sent}"

    app.router.routes.insert(0, CountedRoute("/counted", counted, methods=["POST"]))

    @app.middleware("http")
    async def reads(request: Request, following: RequestResponseEndpoint) -> Response:
        read.append(await request.body())
        return await following(request)

    with running(deployed.settings, app) as service:
        ask, key = service.client, {"x-api-key": "key"}
        assert ask.post("/counted", json={"a": 1}, headers=key).json() == "/counted {'a': 1}"
        assert CountedRoute.matched == 1
        assert ask.post("/counted", json={"a": "x" * 1000}, headers=key).status_code == 413
        assert ask.post("/counted", content=iter([b"{", b" " * 1000]), headers=key).status_code == 413
    assert read == [b'{"a":1}']


@pytest.mark.parametrize("keys", [" ", "a,,b", ","])
def test_a_setting_without_a_key_is_no_open_door(keys: str) -> None:
    with pytest.raises(UserError, match="SERVE_API_KEYS"):
        Settings.from_environment({"SERVE_API_KEYS": keys})


def test_a_client_beyond_its_rate_is_told_when_to_come_back(deployed: Deployed, traffic: Traffic) -> None:
    with running(with_settings(deployed, rate_per_second=0.001, burst_seconds=3000)) as service:
        answers = [service.client.post("/predict", json=traffic.request(0)) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 1000
        assert service.client.get("/healthz").status_code == 200


def test_too_many_at_once_are_turned_away(
    deployed: Deployed, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(with_settings(deployed, max_in_flight=2)) as service, ThreadPoolExecutor(2) as pool:
        held = hold_answers(service, monkeypatch)
        asked = [
            pool.submit(httpx.post, f"{service.url}/predict", json=traffic.request(0), timeout=300)
            for _ in range(2)
        ]
        until = time.monotonic() + 300
        while len(held) < 2 and time.monotonic() < until:
            time.sleep(0.005)
        with connected(service) as whole:  # head and body in one piece, as httpx may not send them
            whole.sendall(good(traffic))
            head, _, body = whole.recv(65_536).partition(b"\r\n\r\n")
        step_by_step = service.client.post(
            "/predict", json=traffic.request(0), headers={"connection": "close"}
        )
        counted = service.client.get("/metrics").text
        for written in held:
            written.get_loop().call_soon_threadsafe(written.set_result, None)
        assert [one.result().status_code for one in asked] == [200, 200]
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1" in head.lower()
    assert json.loads(body)["status"] == step_by_step.status_code == step_by_step.json()["status"] == 503
    assert step_by_step.headers["retry-after"] == "1"
    assert step_by_step.elapsed.total_seconds() >= REFUSAL_SECONDS / 2
    assert 'http_request_duration_seconds_count{handler="/predict"}' not in counted
    assert 'http_requests_total{handler="/predict",method="POST",status="503"} 2.0' in counted


def loop_of(service: Running, traffic: Traffic) -> asyncio.AbstractEventLoop:
    with connected(service) as connection:
        connection.sendall(good(traffic))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        protocols: set[Any] = {*service.server.server_state.connections}
        loop: asyncio.AbstractEventLoop = protocols.pop().loop
    return loop


def test_of_a_burst_no_more_are_admitted_than_the_limit(deployed: Deployed, traffic: Traffic) -> None:
    """Requests read in one iteration of the event loop all passed the limit."""
    with running(with_settings(deployed, max_in_flight=2)) as service, ExitStack() as stack:
        loop = loop_of(service, traffic)
        clients = [stack.enter_context(connected(service)) for _ in range(10)]
        while len(service.server.server_state.connections) < len(clients):
            time.sleep(0.01)
        loop.call_soon_threadsafe(time.sleep, 0.3)
        for client in clients:
            client.sendall(good(traffic))
        statuses = [client.recv(65_536)[9:12] for client in clients]
    assert sorted(statuses) == [b"200"] * 2 + [b"503"] * 8


def test_a_busy_event_loop_accepts_several_connections_at_once(live: Running, traffic: Traffic) -> None:
    """It accepted one per iteration: under overload, health checks waited for seconds."""
    loop = loop_of(live, traffic)
    connections = live.server.server_state.connections
    iterations: list[int] = []

    def count() -> None:
        iterations.append(len(connections))
        if len(connections) < 16:
            loop.call_soon(count)

    def be_busy() -> None:
        time.sleep(0.3)
        count()

    loop.call_soon_threadsafe(be_busy)
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(connected(live))
        while not iterations or iterations[-1] < 16:
            time.sleep(0.01)
    assert len(iterations) < 16


def test_what_follows_a_body_is_no_header(deployed: Deployed, traffic: Traffic) -> None:
    """Proxies check headers, not trailers: they would let a client say who it is."""
    body = json.dumps(traffic.request(0)).encode()
    request = CHUNKED + b"%x\r\n%b\r\n0\r\nX-API-Key: key\r\n\r\n" % (len(body), body)
    with running(with_settings(deployed, api_keys="key")) as service, connected(service) as connection:
        connection.sendall(request)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")
        connection.sendall(request.replace(b"\r\nHost: x", b"\r\nHost: x\r\nX-API-Key: key"))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_body_too_large_or_of_another_kind_is_refused(deployed: Deployed, traffic: Traffic) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    with running(with_settings(deployed, max_body_bytes=5000)) as service:
        json_type = {"content-type": "application/json"}
        for content in (b" " * 5001, chunks()):
            refused = service.client.post("/predict", content=content, headers=json_type)
            assert refused.status_code == 413
            assert "5000 bytes" in refused.json()["detail"]
        text = service.client.post("/predict", content=b"{}", headers={"content-type": "text/plain"})
        assert text.status_code == 415
        kind = {"content-type": "Application/JSON; charset=utf-8"}
        sent = httpx.Request("POST", "http://any", json=traffic.request(0)).content
        assert service.client.post("/predict", content=sent, headers=kind).status_code == 200


def test_wrong_paths_and_methods_are_problems_too(live: Running) -> None:
    asked = (("/nothing", 404), ("/predict/", 404), ("/predict", 405))
    for answer, status in ((live.client.get(path), status) for path, status in asked):
        assert answer.status_code == answer.json()["status"] == status
        assert answer.headers["content-type"] == PROBLEM


def test_every_page_answers(live: Running) -> None:
    for path in ("/", "/healthz", "/readyz", "/model", "/metrics", "/docs", "/redoc", "/openapi.json"):
        assert live.client.get(path).status_code == 200, path
    assert live.client.get("/model", timeout=300).json()["trees"] == "compiled"
    assert "trees_compiled 1.0" in live.client.get("/metrics").text


def test_the_page_has_a_field_for_each_column(live: Running, contract: Contract) -> None:
    answer = live.client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for name in contract.columns:
        assert answer.text.count(f'name="column-{name}"') == 1
    assert not re.search("(src|href)=.?http", answer.text)


def test_pages_need_nothing_from_elsewhere_and_stand_in_no_frame(live: Running) -> None:
    for path in ("/", "/docs", "/redoc"):
        answer = live.client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"https?://(?!www\.w3\.org)", answer.text)
        for asset in re.findall(r'(?:src|href)="(/[^"]*)"', answer.text):
            assert live.client.get(asset).status_code == 200, asset
    assert live.client.post("/predict", json={}).headers["x-content-type-options"] == "nosniff"


def test_an_answer_carries_its_name_and_the_log_the_callers_trace(
    deployed: Deployed, traffic: Traffic, caplog: pytest.LogCaptureFixture
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with running(with_settings(deployed, log_requests=True)) as service, caplog.at_level("INFO"):
        sent = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "x-request-id": "mine"}
        answer = service.client.post("/predict", json=traffic.request(0), headers=sent)
        other = service.client.post("/predict", json=traffic.request(0), headers={"traceparent": "nonsense"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert "traceparent" not in answer.headers, "a span that nobody exports"
    lines = [one for one in caplog.records if one.getMessage() == "answered"]
    found = [(one.trace_id, one.client_request_id, one.request_id) for one in lines]  # type: ignore[attr-defined]
    assert found == [
        (trace, "mine", answer.json()["request_id"]),
        ("", "", other.json()["request_id"]),
    ]


def test_a_page_of_another_site_cannot_send(live: Running, deployed: Deployed, traffic: Traffic) -> None:
    """What a browser sends for `fetch(url, {method: "POST", mode: "no-cors", body})` on any page."""
    host = live.url.removeprefix("http://")
    plain = {"content-type": "application/json"}
    (event,) = first_events(traffic, "delivery", 1)
    others: tuple[dict[str, Any], ...] = (
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"origin": b"http://\xff"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": f"http://{host}"},
    )
    for named in others:
        for path in ("/predict", "/outcomes", "/reload"):
            refused = live.client.post(path, content=json.dumps(event), headers=plain | named)
            assert refused.status_code == 403, (path, named)
    untyped = httpx.Request("POST", f"{live.url}/outcomes", content=json.dumps(event))
    assert "content-type" not in untyped.headers
    refused = live.client.send(untyped)
    assert refused.status_code == 415
    assert (
        live.client.post(
            "/outcomes", content=json.dumps(event), headers={"content-type": "text/plain"}
        ).status_code
        == 415
    )
    assert list(live.service.store.events()) == []
    for named in ({}, {"origin": f"http://{host}"}, {"sec-fetch-site": "same-origin"}):
        assert live.client.post("/outcomes", json=event, headers=named).status_code == 200
    allowed = with_settings(deployed, allowed_origins="https://elsewhere.example")
    with running(allowed) as service:
        sent = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
        assert service.client.post("/predict", json=traffic.request(0), headers=sent).status_code == 200


def test_clients_behind_a_trusted_proxy_have_rates_of_their_own(deployed: Deployed, traffic: Traffic) -> None:
    limits = {"rate_per_second": 0.001, "burst_seconds": 1000}  # one request each

    def ask(service: Running, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return service.client.post("/predict", json=traffic.request(0), headers=named).status_code

    with running(with_settings(deployed, **limits)) as service:
        assert ask(service, x_forwarded_for="10.0.0.1") == 200
        assert ask(service, x_forwarded_for="10.0.0.2") == 429, "whoever asks may say so"
    trusting = with_settings(deployed, **limits, trusted_proxies="127.0.0.0/8, 192.0.2.1")
    with running(trusting) as service:
        assert ask(service, x_forwarded_for="10.0.0.1") == 200
        assert ask(service, x_forwarded_for="10.0.0.2") == 200
        assert ask(service, x_forwarded_for="6.6.6.6, 10.0.0.2, 192.0.2.1") == 429, (
            "only the nearest hop counts"
        )
        assert ask(service, forwarded='for="[2001:db8::1]:4711";proto=https') == 200
        assert ask(service, forwarded="for=6.6.6.6, for=[2001:db8::1]") == 429
        assert ask(service, x_forwarded_for="no address") == 200


@pytest.mark.parametrize("proxies", ["proxy.example", "10.0.0.0/99"])
def test_a_proxy_is_named_by_its_network(proxies: str) -> None:
    with pytest.raises(UserError, match="SERVE_TRUSTED_PROXIES"):
        Settings.from_environment({"SERVE_TRUSTED_PROXIES": proxies})


@pytest.mark.parametrize("origins", ["*", "app.example", "https://*.example", "https://app.example/page"])
def test_an_origin_that_no_request_has_is_refused(origins: str) -> None:
    """With `*`, browsers were told that they may send requests, which were then refused."""
    with pytest.raises(UserError, match="SERVE_ALLOWED_ORIGINS"):
        Settings.from_environment({"SERVE_ALLOWED_ORIGINS": origins})


def test_a_failure_of_ours_is_a_problem_and_not_the_end(
    live: Running, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patched:
        assert live.service.model is not None
        patched.setattr(live.service.model.engine, "predict", broken)
        failed = live.client.post("/predict", json=traffic.request(0))
        assert failed.status_code == 500
        assert failed.headers["content-type"] == PROBLEM
        assert "space" not in failed.text
    assert live.client.post("/predict", json=traffic.request(0)).status_code == 200


@pytest.mark.usefixtures("synthetic_process")
def test_a_stopping_service_says_so_before_it_goes(
    tmp_path: Path, artifact: Artifact, traffic: Traffic
) -> None:
    deploy(artifact, tmp_path, "1")
    settings = Settings(
        folder=tmp_path, port=free_port(), drain_seconds=3600, api_keys="key", log_requests=True
    )
    process = local.start(settings)
    with connect(settings) as client:
        os.kill(process, signal.SIGTERM)
        until = time.monotonic() + 300
        while (stopping := client.get("/readyz")).status_code == 200:
            assert time.monotonic() < until
        assert stopping.json()["detail"] == "The service is stopping."
        answer = client.post("/predict", json=traffic.request(0))
        assert answer.status_code == 200
        while client.post("/predict", json=traffic.request(0)).headers.get("connection") != "close":
            assert time.monotonic() < until  # clients go elsewhere before connections are closed
    os.kill(process, signal.SIGTERM)  # told twice, it waits no longer
    while local.process(settings) is not None:
        assert time.monotonic() < until
        time.sleep(0.02)
    told = (tmp_path / "service.log").read_text()
    assert answer.headers["x-request-id"] in told
    assert "Traceback" not in told


@pytest.mark.usefixtures("synthetic_process")
def test_without_a_compiler_the_service_answers_and_says_so(
    tmp_path: Path, artifact: Artifact, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHETIC_WITHOUT_C", "yes")
    monkeypatch.setenv("FIVESTAGE_VAR", str(tmp_path / "var"))
    deploy(artifact, tmp_path, "1")
    settings = Settings(folder=tmp_path, port=free_port())
    local.start(settings)
    try:
        model = httpx.get(f"{url(settings)}/model", timeout=300).json()
        counted = httpx.get(f"{url(settings)}/metrics", timeout=300).text
        found = httpx.post(f"{url(settings)}/predict", json=traffic.request(0), timeout=300)
    finally:
        local.stop(settings)
    assert "compiled" in model["trees"] != "compiled"
    assert "trees_compiled 0.0" in counted
    assert found.status_code == 200
    assert "trees are scored by slower Python code" in (tmp_path / "service.log").read_text()

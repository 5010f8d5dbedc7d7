"""The application as a whole: an own route, two problems at once, nothing that blocks or dies unseen."""

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.shapley import Explainer
from fivestage.serving import service as service_module
from fivestage.serving.log import predictions
from fivestage.serving.middleware import direct_routes
from fivestage.serving.problems import ProblemError
from fivestage.serving.service_app import PredictionApp
from fivestage.serving.service_settings import Settings
from tests.serving.conftest import (
    DAY,
    NOW,
    Deployed,
    Running,
    Traffic,
    deploy,
    first_events,
    post_events,
    running,
)
from tests.serving.prediction_app import create_app
from tests.serving.test_hostile import connected, said
from tests.synthetic import request_of, synthetic_artifact, synthetic_problem


def with_settings(deployed: Deployed, **given: object) -> Settings:
    return Settings(**{**deployed.settings.model_dump(), **given})


def until(reached: Callable[[], object]) -> None:
    end = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


class Doubled(BaseModel):
    value: int


def with_own_route(settings: Settings) -> FastAPI:
    app = create_app(synthetic_problem("binary"), settings)

    @app.get("/double/{number}")
    async def double(number: int) -> Doubled:
        return Doubled(value=2 * number)

    return app


def test_a_route_of_ones_own_has_keys_limits_metrics_and_its_place_in_the_document(
    deployed: Deployed,
) -> None:
    settings = with_settings(deployed, api_keys="key", rate_per_second=0.001, burst_seconds=3000)
    with running(settings, with_own_route(settings)) as service:
        client, key = service.client, {"x-api-key": "key"}
        assert client.get("/double/4").status_code == 401
        assert client.get("/double/4", headers=key).json() == {"value": 8}
        refused = client.get("/double/four", headers=key)
        assert refused.status_code == 422
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["errors"][0]["field"] == "number"
        assert client.get("/double/5", headers=key).status_code == 200
        assert client.get("/double/6", headers=key).status_code == 429
        document = client.get("/openapi.json").json()
        counted = client.get("/metrics").text
    operation = document["paths"]["/double/{number}"]["get"]
    assert operation["security"] == [{"API key": []}]
    assert set(document["components"]["schemas"]) >= {"Doubled", "Row", "Answer", "ProblemDetails"}
    assert 'http_requests_total{handler="/double/{number}",method="GET",status="200"} 2.0' in counted
    assert 'http_requests_total{handler="/double/{number}",method="GET",status="401"} 1.0' in counted


def test_a_body_of_ones_own_is_refused_as_those_of_the_standard_routes(deployed: Deployed) -> None:
    app = with_own_route(deployed.settings)

    @app.post("/halve")
    async def halve(doubled: Doubled) -> int:
        return doubled.value // 2

    json_type, text = {"content-type": "application/json"}, {"content-type": "text/plain"}
    wrong = [
        (b"{", json_type, 400),
        (b"{}", text, 415),
        (b"{}", {}, 415),
        (b'{"value": "x"}', json_type, 422),
    ]
    with running(deployed.settings, app) as service:
        for path in ("/halve", "/predict"):
            for body, headers, status in wrong:
                refused = service.client.post(path, content=body, headers=headers)
                assert refused.status_code == status, refused.text
                assert refused.headers["content-type"] == "application/problem+json"
        without = service.client.post("/halve")  # as FastAPI does it, in our words
        assert (without.status_code, without.json()["detail"]) == (422, "body: Field required")
        assert service.client.post("/halve", json={"value": 8}).json() == 4
        document = service.client.get("/openapi.json").json()
    operations = document["paths"]["/halve"]["post"], document["paths"]["/double/{number}"]["get"]
    refusals = [{one for one in found["responses"] if one[0] == "4"} for found in operations]
    assert refusals[0] - refusals[1] == {"400", "413", "415"}
    for operation in operations:
        assert [*operation["responses"]["422"]["content"]] == ["application/problem+json"]
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


def test_an_http_exception_of_ones_own_keeps_its_status_and_detail(deployed: Deployed) -> None:
    """A 404 of a route said that there is no such route, and an unregistered status was answered with 500."""
    app = create_app(synthetic_problem("binary"), deployed.settings)
    refusals: dict[int, Any] = {
        404: "Item not found",
        405: "Not on Sundays.",
        409: {"code": 7, "why": ["a"]},
        499: "Odd",
        504: "The other service is slow.",
    }

    @app.get("/refuse/{status}")
    async def refuse(status: int) -> None:
        raise HTTPException(status, refusals.get(status), headers={"x-mine": "1"})

    with running(deployed.settings, app) as service:
        ask = service.client.get
        for status, detail in refusals.items():
            answer = ask(f"/refuse/{status}")
            assert (answer.status_code, answer.headers["x-mine"]) == (status, "1"), answer.text
            said = answer.json()["detail"]
            assert said == detail if isinstance(detail, str) else json.loads(said) == detail
        for status in (204, 304):  # which have no body
            answer = ask(f"/refuse/{status}")
            assert (answer.status_code, answer.content, answer.headers["x-mine"]) == (status, b"", "1")
        timed = 'http_request_duration_seconds_count{handler="/refuse/{status}"} 6.0'
        assert timed in ask("/metrics").text  # the 504 is an error, and not slow too
        assert ask("/nothing").json()["detail"] == "Nothing is at /nothing: /docs lists the routes."
        assert "does not accept GET" in ask("/predict").json()["detail"]


def test_an_application_can_be_started_again(deployed: Deployed) -> None:
    """As tests do with `with TestClient(app)`: the tasks of the first start were awaited in the second."""
    app = with_own_route(deployed.settings)
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/readyz").status_code == 200
            assert client.get("/double/4").json() == {"value": 8}


def test_a_raw_route_gets_its_dependencies_headers_and_query_defaults(deployed: Deployed) -> None:
    """Called directly, such a route got FastAPI's markers instead: a check of one's own was skipped."""
    app = create_app(synthetic_problem("binary"), with_settings(deployed, api_keys="key"))

    async def refuse() -> None:
        raise ProblemError(403, "Not for you.")

    @app.get("/checked")
    async def checked(request: Request, _: None = Depends(refuse)) -> Response:
        return Response(request.url.path)

    @app.get("/marked")
    async def marked(request: Request, agent: str = Header("?"), size: int = Query(5)) -> Response:
        return Response(f"{request.method} {agent} {size}")

    others = APIRouter(dependencies=[Depends(refuse)])

    @others.get("/other")
    async def other(request: Request) -> Response:
        return Response(request.url.path)

    app.include_router(others)
    with running(deployed.settings, app) as service:
        key = {"x-api-key": "key"}
        for path in ("/checked", "/other"):
            assert service.client.get(path).status_code == 401
            assert service.client.get(path, headers=key).status_code == 403
        assert service.client.get("/marked", headers={**key, "agent": "me"}).text == "GET me 5"


class Checked(APIRoute):
    """As in FastAPI's "Custom Request and APIRoute class"."""

    def get_route_handler(self) -> Any:
        async def refuse(_: Request) -> Response:
            raise ProblemError(403, "Not for you.")

        return refuse


def test_a_raw_route_is_called_directly_only_if_nothing_differs(deployed: Deployed) -> None:
    """One without parameters was answered with 500, and one with parameters in its path did not see them."""
    app = create_app(synthetic_problem("binary"), deployed.settings)
    checked = APIRouter(route_class=Checked)

    @app.get("/constant")
    async def constant() -> Response:
        return Response("constant")

    @app.get("/sized/{size}")
    @app.get("/raw")
    @checked.get("/checked")
    async def raw(request: Request) -> Response:
        return Response(f"{request.url.path} {request.path_params}")

    direct = [*direct_routes(app.routes, app.public.routes)]
    app.routes.extend(checked.routes)
    assert direct == [*direct_routes(app.routes, app.public.routes)]
    assert direct == [("POST", "/predict"), ("POST", "/outcomes"), ("GET", "/raw")]
    with running(deployed.settings, app) as service:
        ask = service.client.get
        assert [ask(path).text for path in ("/constant", "/raw")] == ["constant", "/raw {}"]
        assert ask("/sized/5").text == "/sized/5 {'size': '5'}"
        assert ask("/sized/%7Bsize%7D").text == "/sized/{size} {'size': '{size}'}"
        assert ask("/checked").status_code == 403


def test_a_route_of_a_host_takes_its_requests_and_no_others(deployed: Deployed) -> None:
    """All routes after it were answered with 500, health checks too."""
    other = FastAPI()
    app = PredictionApp(synthetic_problem("binary"), with_settings(deployed, api_keys="key"))
    app.host("other.example", other)

    @app.get("/mine")
    async def mine(request: Request) -> Response:
        return Response(request.url.path)

    @other.get("/mine")
    @other.get("/healthz")
    async def others() -> str:
        return "others"

    app.add_standard_routes()
    with running(deployed.settings, app) as service:
        ask = service.client.get
        for host, text in (("other.example", '"others"'), ("x", "/mine"), ("other.example", '"others"')):
            assert ask("/mine", headers={"host": host}).status_code == 401
            assert ask("/mine", headers={"host": host, "x-api-key": "key"}).text == text
        assert ask("/healthz").json() == {"status": "alive"}
        assert ask("/healthz", headers={"host": "other.example"}).status_code == 401


def test_a_middleware_and_a_handler_of_ones_own_see_requests_that_take_the_short_way(
    deployed: Deployed, traffic: Traffic, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(synthetic_problem("binary"), deployed.settings)

    @app.post("/mine")
    async def mine(request: Request) -> Response:
        assert not await request.is_disconnected()
        raise LookupError((await request.body()).decode())

    app.mount("/below/{name}", below := FastAPI())

    @below.get("/broken")
    async def broken() -> None:
        raise OSError("no space")

    @app.exception_handler(LookupError)
    async def answer(_: Request, error: Exception) -> Response:
        return Response(f"mine: {error}", 418)

    with running(deployed.settings, app) as service:
        refused = service.client.post("/mine", content=b"body")
        assert (refused.status_code, refused.text) == (418, "mine: body")
        assert service.client.get("/below/one/broken").status_code == 500
        assert service.client.get("/below/other/broken").status_code == 500
        until(lambda: "request failed" in [one.getMessage() for one in caplog.records])
        counted = service.client.get("/metrics").text
        assert 'handler="/mine",method="POST",status="418"} 1.0' in counted
        assert 'handler="/below/{name}/broken",method="GET",status="500"} 2.0' in counted
    wrapped = create_app(synthetic_problem("binary"), deployed.settings)
    wrapped.add_middleware(GZipMiddleware, minimum_size=1)
    with running(deployed.settings, wrapped) as service:
        packed = service.client.post("/predict", json=traffic.request(0))
        assert (packed.status_code, packed.headers["content-encoding"]) == (200, "gzip")


def test_who_is_still_sending_holds_no_place_whatever_its_route(deployed: Deployed, traffic: Traffic) -> None:
    limits = with_settings(deployed, max_in_flight=1)
    body = json.dumps(traffic.request(0)).encode()
    head = b"POST /predict?explain=true HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with running(limits) as service, connected(service) as slow:
        slow.sendall(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:10])
        time.sleep(0.1)
        assert service.client.post("/predict?explain=true", json=traffic.request(0)).status_code == 200
        slow.sendall(body[10:])
        assert said(slow).startswith(b"HTTP/1.1 200 ")


def test_two_problems_are_served_in_one_process(tmp_path: Path) -> None:
    tasks = ("binary", "regression")
    one, other = (deploy(synthetic_artifact(task), tmp_path / task, task) for task in tasks)
    with running(one.settings) as first, running(other.settings, problem=other.problem) as second:
        row = request_of(one.artifact.smoke[0].row)
        assert "probability" in first.client.post("/predict", json=row).json()["predictions"][0]
        assert "value" in second.client.post("/predict", json=row).json()["predictions"][0]
        for service, task in ((first, "binary"), (second, "regression")):
            assert service.client.get("/model").json()["version"] == task
            assert service.client.get(f"/v2/models/synthetic-{task}").status_code == 200
            answered = 'handler="/predict",method="POST",status="200"} 1.0'
            assert answered in service.client.get("/metrics").text


@pytest.mark.parametrize("kind", ["explain", "batch"])
def test_others_are_answered_while_a_large_request_is(
    live: Running, traffic: Traffic, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The large request takes until the others have had their answers."""
    begun, free = threading.Event(), threading.Event()

    def held(inner: Any) -> Any:
        def work(*given: Any) -> Any:
            begun.set()
            free.wait(300)
            return inner(*given)

        return work

    model = live.service.model
    assert model is not None
    if kind == "explain":
        path, body = "/predict?explain=true", traffic.request(0)
        monkeypatch.setattr(Explainer, "contributions", held(Explainer.contributions))
    else:
        path, body = "/predict", {"rows": [traffic.request(place % 400) for place in range(1000)]}
        monkeypatch.setattr(type(model.engine.scorer), "margins", held(type(model.engine.scorer).margins))
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(httpx.post, f"{live.url}{path}", json=body, timeout=300)
        try:
            assert begun.wait(300)
            assert [live.client.get("/healthz").status_code for _ in range(3)] == [200] * 3
            assert not large.done()
        finally:
            free.set()
        assert large.result().status_code == 200


def test_large_batches_meanwhile_see_the_same_history(live: Running, traffic: Traffic) -> None:
    """Events that come while a batch is answered wait: its rows all see the history that its log names."""
    rows = {"rows": [traffic.request(place % 400) for place in range(1000)]}
    before = live.client.post("/predict", json=rows).json()["predictions"]
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{live.url}/predict", json=rows, timeout=300).json())
    )
    asking.start()
    post_events(live.client, traffic.events)
    asking.join()
    logged = {record.request_id: record for _, record in live.service.store.answers()}
    offset = logged[answers[0]["request_id"]].event_offset
    assert offset in {0, live.service._log_offset} or offset % 1000 == 0
    if offset == 0:
        assert answers[0]["predictions"] == before


def test_what_waits_for_the_thread_is_bounded(
    deployed: Deployed, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    contributions = Explainer.contributions

    def held(*given: Any) -> Any:
        free.wait(300)
        return contributions(*given)

    monkeypatch.setattr(Explainer, "contributions", held)
    with running(with_settings(deployed, max_waiting_jobs=2)) as service:
        statuses: list[int] = []

        def ask() -> None:
            answer = httpx.post(f"{service.url}/predict?explain=true", json=traffic.request(0), timeout=300)
            statuses.append(answer.status_code)

        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        until(lambda: len(statuses) == 3)
        assert statuses == [503] * 3
        free.set()
        for thread in threads:
            thread.join()
    assert sorted(statuses) == [200, 200, 503, 503, 503]


@pytest.mark.parametrize(
    ("task", "broken"),
    [
        ("shadow", "store.write_shadows"),
        ("poll", "store.events"),
        ("prune", "_spool.count"),
        ("reload", "configured_version"),
    ],
)
def test_a_background_task_that_fails_says_so_and_goes_on(
    deployed: Deployed,
    traffic: Traffic,
    task: str,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running(with_settings(deployed, watch_seconds=0.05, poll_seconds=0.05)) as service:
        calls = []
        monkeypatch.setattr(logging.getLogger("serving"), "disabled", False)  # by what other tests import

        def fail(*_: Any) -> Any:
            calls.append(1)
            raise RuntimeError("nobody thought of this")

        def said() -> bool:
            if task == "shadow":  # which works where there is something to do
                service.service.shadow.model = service.service.model
                service.client.post("/predict", json=traffic.request(0))
            detail = service.client.get("/readyz").json()["detail"]
            return "nobody thought of this" in detail and len(calls) > 1

        with monkeypatch.context() as patched:
            owner, _, name = broken.rpartition(".")
            where = getattr(service.service, owner) if owner else service_module
            patched.setattr(where, name, fail)
            until(said)
        until(lambda: not said() and service.client.get("/readyz").json()["detail"] == "")
        counted = service.client.get("/metrics").text
    if task != "reload":  # which says so itself
        assert f'background_task_failures_total{{task="{task}"}} 0.0' not in counted
        assert f'background_task_failures_total{{task="{task}"}}' in counted
    assert "nobody thought of this" in caplog.text


def test_the_log_holds_the_row_and_not_what_it_came_in(live: Running, traffic: Traffic) -> None:
    row = json.dumps(traffic.request(0))
    padded = row.replace("{", "{" + " " * 1_000_000, 1) + " " * 900_000
    headers = {"content-type": "application/json"}
    answer = live.client.post("/predict", content=padded, headers=headers)
    assert answer.status_code == 200
    doubled = '{"customer": "' + "x" * 8 + '", ' + row[1:]  # of a name that is there twice the last holds
    assert live.client.post("/predict", content=doubled, headers=headers).status_code == 200
    records = [record for _, record in live.service.store.answers()]
    assert all(len(record.request) < 300 for record in records)
    contract = synthetic_problem("binary").contract
    for one in predictions(live.service.store, contract):
        assert repr({name: one[name] for name in contract.columns}) == repr(traffic.row(0))


def test_a_row_far_from_the_known_history_says_so_and_is_counted(
    live: Running, traffic: Traffic, artifact: Artifact
) -> None:
    def gap(at: int) -> float | None:
        row = {**traffic.request(0), **request_of({"deliver_at": at + 3600})}
        found = live.client.post("/predict", json=row).json()["predictions"][0]
        many = live.client.post("/predict", json={"rows": [row] * 60}).json()["predictions"]
        assert [one.get("history_gap_hours") for one in many] == [found.get("history_gap_hours")] * 60
        hours: float | None = found.get("history_gap_hours")
        return hours

    assert artifact.as_of == NOW
    assert gap(NOW) is None
    assert gap(NOW + DAY) is None
    ahead = gap(NOW + 10 * DAY)
    assert ahead == 240
    behind = gap(NOW - 100 * DAY)
    assert behind is not None
    assert behind < -24
    post_events(live.client, traffic.events)  # of twenty days
    assert gap(NOW + 10 * DAY) is None
    counted = live.client.get("/metrics").text
    assert 'rows_outside_history_total{side="ahead"} 61.0' in counted
    assert 'rows_outside_history_total{side="behind"} 61.0' in counted


def test_the_example_of_the_form_is_of_the_models_time(live: Running) -> None:
    assert 'value="2024-04-20T01:00:00Z"' in live.client.get("/").text


def test_what_is_no_number_is_sent_as_it_was_typed(live: Running, traffic: Traffic) -> None:
    """The form sends text where a number was asked for, and the service says what is wrong with it."""
    page = live.client.get("/").text
    assert "Number.isNaN(number) ? text : number" in page
    refused = live.client.post("/predict", json={**traffic.request(0), "amount": "abc"})
    assert refused.json()["detail"] == "row 0, field amount: Expected a number or null, got text"


def test_events_are_refused_while_the_database_is_away_and_nothing_is_learnt(
    live: Running, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object) -> None:
        raise OSError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(live.service.store, "write_events", away)
        refused = live.client.post("/outcomes", json={"events": first_events(traffic, "delivery", 2)})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
    assert live.service._log_offset == 0
    assert live.client.post("/outcomes", json={"events": first_events(traffic, "delivery", 2)}).json() == {
        "accepted": 2,
        "repeated": 0,
    }


def test_a_problem_is_an_exception_that_becomes_the_answer(deployed: Deployed) -> None:
    app = create_app(synthetic_problem("binary"), deployed.settings)

    @app.post("/refuse")
    async def refuse() -> None:
        raise ProblemError(409, "Not now.", headers={"Retry-After": "7"})

    with running(deployed.settings, app) as service:
        refused = service.client.post("/refuse")
    assert refused.status_code == 409
    assert refused.headers["retry-after"] == "7"
    assert refused.json() == {"title": "Conflict", "status": 409, "detail": "Not now."}

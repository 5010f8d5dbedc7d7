"""The client before a service that writes down what it is sent."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fivestage.cli.simulated_client import (
    Exchange,
    background_requests,
    report_outcomes,
    request_decisions,
    time_rows,
)
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.data.event_tables import known_at
from fivestage.deployment.service_client import SmokeRows, json_rows, smoke
from fivestage.serving.decoders import events_intake, rows_intake
from fivestage.serving.service_settings import Settings
from tests.serving.conftest import DAY, HOUR, NOW, free_port
from tests.synthetic import AS_OF, changed, prepared

LIMIT = 3  # of a batch
START, END = NOW, NOW + 2 * DAY


@dataclass
class Received:
    """What a service was sent, in order, and the paths and orders that it refuses."""

    settings: Settings
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    refused: set[object] = field(default_factory=set)

    def bodies(self, path: str, name: str) -> list[list[dict[str, Any]]]:
        return [body[name] for sent, body in self.sent if sent == path]

    def refuses(self, path: str, body: dict[str, Any]) -> bool:
        return path in self.refused or body.get("order_number") in self.refused


@dataclass(frozen=True)
class Made:
    """Rows and events as the warehouse has them."""

    contract: Contract
    rows: pd.DataFrame
    events: dict[str, pd.DataFrame]

    def due(self) -> pd.DataFrame:
        at = self.rows["decision_at"]
        return self.rows[(at >= START) & (at < END)]


@pytest.fixture
def received() -> Iterator[Received]:
    found = Received(Settings(port=free_port(), api_keys="a-key"))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.sent.append((self.path, body))
            found.keys.add(self.headers["X-API-Key"])
            self.send_response(422 if found.refuses(self.path, body) else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((found.settings.host, found.settings.port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def made() -> Made:
    found = prepared("binary")
    contract = changed(found.contract, service={"max_batch": LIMIT})
    near = found.rows[(found.rows["decision_at"] >= START - DAY) & (found.rows["decision_at"] < END + DAY)]
    return Made(contract, near.reset_index(drop=True), dict(found.event_tables.events))


def reported(received: Received, made: Made) -> Exchange:
    return report_outcomes(received.settings, made.events, made.contract, START, END)


def requested(received: Received, made: Made) -> Exchange:
    return request_decisions(received.settings, made.rows, made.contract, START, END)


def seconds(moment: str) -> int:
    return int(pd.Timestamp(moment).timestamp())


def known(event: dict[str, Any], contract: Contract) -> int:
    about = contract.events[event["kind"]]
    return int(about.known_at({about.known: seconds(event[about.known])}))


def test_rows_are_written_as_a_client_writes_them(made: Made) -> None:
    first = made.rows.iloc[[0]].assign(deliver_at=START + 90)
    (wire,) = json_rows(first, made.contract.columns)
    assert list(wire) == list(made.contract.columns)
    assert wire["deliver_at"] == f"{AS_OF}T00:01:30Z"
    assert (type(wire["order_number"]), type(wire["amount"])) == (int, float)
    assert json_rows(first.iloc[:0], made.contract.columns) == []


def test_what_is_missing_is_null(made: Made) -> None:
    traffic = made.events["traffic"].head(500)
    assert traffic["level"].isna().any()
    wire = json_rows(traffic, made.contract.events["traffic"].columns)
    assert [one["level"] is None for one in wire] == traffic["level"].isna().tolist()
    assert "NaN" not in json.dumps(wire)


def test_an_empty_text_is_missing_too(made: Made) -> None:
    """The rows that an artifact keeps for its smoke test have none for a category that is missing."""
    rows = made.rows.head(2).assign(customer=["", "c01"])
    assert [one["customer"] for one in json_rows(rows, made.contract.columns)] == [None, "c01"]


def test_the_service_reads_what_the_client_writes(made: Made) -> None:
    wire = json_rows(made.rows.head(LIMIT), made.contract.columns)
    found = rows_intake(made.contract).read(json.dumps({"rows": wire}).encode())
    names = list(made.contract.columns)
    pd.testing.assert_frame_equal(pd.DataFrame(found)[names], made.rows[names].head(LIMIT), check_dtype=False)
    for kind, frame in made.events.items():
        events = json_rows(frame.head(LIMIT), made.contract.events[kind].columns)
        body = json.dumps({"events": [{"kind": kind} | event for event in events]}).encode()
        assert len(events_intake(made.contract).read(body)) == len(events) > 0


def test_outcomes_come_in_the_order_in_which_they_became_known(received: Received, made: Made) -> None:
    reported(received, made)
    told = [event for body in received.bodies("/outcomes", "events") for event in body]
    moments = [known(event, made.contract) for event in told]
    assert moments == sorted(moments)
    assert {path for path, _ in received.sent} == {"/outcomes"}


def test_decisions_come_hour_by_hour(received: Received, made: Made) -> None:
    requested(received, made)
    order = []
    for _, body in received.sent:
        due = [seconds(row["deliver_at"]) for row in body["rows"]]
        hours = {(at - made.contract.decision.lead_seconds) // HOUR for at in due}
        assert len(hours) == 1
        order.append(hours.pop())
    assert order == sorted(order)
    assert {path for path, _ in received.sent} == {"/predict"}


def test_all_of_the_stretch_is_told_and_asked_once(received: Received, made: Made) -> None:
    outcomes, found = reported(received, made), requested(received, made)
    due = made.due()
    rows = [row for body in received.bodies("/predict", "rows") for row in body]
    told = [event for body in received.bodies("/outcomes", "events") for event in body]
    asked = sorted(map(json.dumps, rows))
    assert asked == sorted(map(json.dumps, json_rows(due, made.contract.columns)))
    for kind, frame in made.events.items():
        at = known_at(made.contract.events[kind], frame)
        count = int(((at >= START) & (at < END)).sum())
        assert count == sum(event["kind"] == kind for event in told) > 0
    assert outcomes == Exchange(len(received.bodies("/outcomes", "events")), 0, 0)
    assert found == Exchange(len(received.bodies("/predict", "rows")), 0, len(due))
    assert received.keys == {"a-key"}


def test_no_batch_is_larger_than_the_service_takes(received: Received, made: Made) -> None:
    reported(received, made)
    requested(received, made)
    for path, name in (("/predict", "rows"), ("/outcomes", "events")):
        sizes = [len(body) for body in received.bodies(path, name)]
        assert (min(sizes) > 0, max(sizes)) == (True, LIMIT)


@pytest.mark.parametrize("path", ["/predict", "/outcomes"])
def test_refusals_are_counted(received: Received, made: Made, path: str) -> None:
    received.refused.add(path)
    found = reported(received, made) if path == "/outcomes" else requested(received, made)
    assert found == Exchange(len(received.sent), len(received.sent), 0)
    assert received.sent


def test_silence_is_counted_too(made: Made) -> None:
    nobody = Settings(port=free_port())
    assert request_decisions(nobody, made.due().head(1), made.contract, START, END) == Exchange(1, 1, 0)


def test_rows_one_by_one_are_timed_each(received: Received, made: Made) -> None:
    rows = made.rows.head(4)
    found = time_rows(received.settings, rows, made.contract)
    assert [body for _, body in received.sent] == json_rows(rows, made.contract.columns)
    assert len(found) == 4
    assert (np.array(found) > 0).all()


def test_a_row_without_an_answer_is_a_sentence(received: Received, made: Made) -> None:
    received.refused.add(made.rows["order_number"].iloc[2])
    with pytest.raises(UserError, match=rf"127\.0\.0\.1:{received.settings.port} does not answer"):
        time_rows(received.settings, made.rows.head(4), made.contract)
    assert len(received.sent) == 3  # the first that fails ends it


def test_a_refused_smoke_test_says_what_the_service_said(received: Received, made: Made) -> None:
    received.refused.add("/predict")
    expected = SmokeRows(json_rows(made.rows.head(2), made.contract.columns), [(0.5,), (0.5,)])
    with pytest.raises(UserError, match=r"was refused by .*: 422, \{\}"):
        smoke(received.settings, expected)


def test_one_asks_as_long_as_the_block_runs(received: Received, made: Made) -> None:
    rows = made.rows.head(2)
    with background_requests(received.settings, rows, made.contract) as asked:
        deadline = time.monotonic() + 300
        while asked.requests < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
    sent = [body for _, body in received.sent]
    assert asked.requests == len(sent) >= 5
    assert sent[:4] == 2 * json_rows(rows, made.contract.columns)
    assert asked.failed == 0


def test_what_fails_meanwhile_is_counted(made: Made) -> None:
    with background_requests(Settings(port=free_port()), made.rows.head(1), made.contract) as asked:
        pass
    assert asked.requests == asked.failed == 1


def test_nothing_to_ask_asks_nothing(received: Received, made: Made) -> None:
    with background_requests(received.settings, made.rows.head(0), made.contract) as asked:
        pass
    assert (asked.requests, received.sent) == (0, [])

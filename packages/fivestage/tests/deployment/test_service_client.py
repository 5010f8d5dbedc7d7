"""The smoke test against a service that changes between two of its answers."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from fivestage.common.errors import UserError
from fivestage.contract.contract import epoch
from fivestage.deployment.service_client import SmokeRows, smoke
from fivestage.serving.service_settings import Settings

AT = datetime(2026, 3, 1, tzinfo=UTC)
EXPECTED = SmokeRows([{"at": AT.isoformat()}], [(0.9,)], "a" * 64)


@dataclass
class FakeService:
    """Answers 0.5 for every row; its model changes after the first prediction as `changes` says."""

    settings: Settings
    model: dict[str, Any]
    changes: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def service() -> Iterator[FakeService]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(fake.model)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            fake.model |= fake.changes
            self.answer({"predictions": [{"probability": 0.5}]})

        def answer(self, content: dict[str, Any]) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            pass

    decision = {"time_column": "at", "hours_before": 0}
    model = {"version": "1", "digest": EXPECTED.digest, "reach_hours": 24, "contract": {"decision": decision}}
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        fake = FakeService(Settings(port=server.server_port), model)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


def test_a_row_is_compared_if_its_history_is_there(service: FakeService) -> None:
    with pytest.raises(UserError, match=r"differ by up to 0\.4 "):
        smoke(service.settings, EXPECTED)


def test_a_row_whose_history_is_dropped_meanwhile_is_not_compared(service: FakeService) -> None:
    service.changes = {"forgotten": epoch(AT)}
    assert smoke(service.settings, EXPECTED) == 0


def test_a_version_that_is_replaced_meanwhile_is_an_error(service: FakeService) -> None:
    service.changes = {"version": "2", "digest": "b" * 64}
    with pytest.raises(UserError, match="serves version 2"):
        smoke(service.settings, EXPECTED)

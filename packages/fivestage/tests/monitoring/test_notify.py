"""Alerts as they arrive at a webhook: each once, reminders after a week, and the end of it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.monitoring.notify import Alert, notify, senders_from_environment

BROKEN = Alert("Data broken: temp", "data", "temp: missing in 40% of rows")
WORSE = Alert("Concept shift", "model", "its relation to the label has changed")


class Webhook(HTTPServer):
    """Takes what is posted, or refuses it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken: list[dict[str, str]] = []
        self.status = 200

    @property
    def address(self) -> str:
        return f"json://127.0.0.1:{self.server_port}/alerts"

    def titles(self) -> list[str]:
        found = [one["title"] for one in self.taken]
        self.taken.clear()
        return found


class Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.status == 200:
            self.server.taken.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    server = Webhook()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("NOTIFY_DATA", server.address)
    monkeypatch.setenv("NOTIFY_MODEL", server.address)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_alert_is_told_once_then_again_after_a_week_then_ends(webhook: Webhook, tmp_path: Path) -> None:
    memory = tmp_path / "told.json"
    assert notify([BROKEN], 0, memory) == ()
    assert webhook.taken[0]["message"] == BROKEN.body
    assert webhook.titles() == ["Data broken: temp"]
    for _ in range(2):
        assert notify([BROKEN, WORSE], DAY, memory) == ()
    assert webhook.titles() == ["Concept shift"]
    notify([BROKEN], 7 * DAY, memory)
    assert webhook.titles() == ["Still: Data broken: temp", "Over: Concept shift"]
    notify([], 8 * DAY, memory)
    notify([], 9 * DAY, memory)
    assert webhook.titles() == ["Over: Data broken: temp"]


def test_what_nobody_took_is_tried_again(webhook: Webhook, tmp_path: Path) -> None:
    memory = tmp_path / "told.json"
    webhook.status = 503
    assert notify([BROKEN], 0, memory) == ("The data team could not be notified: Data broken: temp.",)
    webhook.status = 200
    assert notify([BROKEN], 60, memory) == ()
    assert webhook.titles() == ["Data broken: temp"]
    webhook.status = 503
    assert notify([], 120, memory)
    webhook.status = 200
    assert notify([], 180, memory) == ()
    assert webhook.titles() == ["Over: Data broken: temp"]


def test_a_run_cut_short_says_nothing_twice(webhook: Webhook, tmp_path: Path) -> None:
    memory = tmp_path / "told.json"
    real = senders_from_environment()

    def killed(_title: str, _body: str) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        notify([BROKEN, WORSE], 0, memory, real | {"model": killed})
    notify([BROKEN, WORSE], 60, memory)
    assert webhook.titles() == ["Data broken: temp", "Concept shift"]


def test_each_team_is_told_its_own(webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_MODEL")
    assert notify([BROKEN, WORSE], 0, tmp_path / "told.json") == ()
    assert webhook.titles() == ["Data broken: temp"]


def test_an_address_that_is_none_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_DATA", "json://127.0.0.1/ secret-without-scheme")
    with pytest.raises(UserError, match=r"^NOTIFY_DATA: URL 2 is no valid Apprise URL") as raised:
        notify([], 0, tmp_path / "told.json")
    assert "secret" not in str(raised.value)

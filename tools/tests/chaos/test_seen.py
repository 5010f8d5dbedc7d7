"""How client tries are counted, and what counts as a broken promise."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from tools.chaos.seen import Seen, broken_promises, count, table

CLIENT = Path(__file__).resolve().parents[2] / "chaos" / "client.py"


def line(attempt: int, name: str, *, kept: bool = False, seconds: float = 0.01) -> dict[str, Any]:
    failed = "" if name else "503"
    about = {"try": attempt, "last": attempt == 1, "kept": kept, "seconds": seconds}
    return about | {"id": name, "failed": failed}


def test_a_request_that_fails_counts_once_and_again_when_its_last_try_does() -> None:
    seen = Seen("a flood")
    count(seen, [line(0, "a"), line(0, "", kept=True), line(1, "b", seconds=2), line(0, ""), line(1, "")])
    assert (seen.requests, seen.failed, seen.lost, seen.slowest_ms) == (3, 2, 1, 2000)
    assert json.loads(json.dumps(asdict(seen)))["failures"] == {
        "503, kept connection": 1,
        "503, new connection": 1,
    }


def test_what_was_promised_depends_on_what_happened() -> None:
    failed = {"503, new connection": 2}
    assert broken_promises(Seen("an update", failures=failed)) == [
        "an update: 2 requests failed at the first try."
    ]
    assert broken_promises(Seen("a crash", "the pod was gone", failures=failed)) == []
    assert len(broken_promises(Seen("a crash", "the pod was gone", failures=failed, lost=1, missing=3))) == 2
    assert broken_promises(Seen("a drain", skipped="one node")) == []


def test_the_table_tells_each_scenario_and_what_failed() -> None:
    told = table(
        [Seen("a drain", skipped="one node"), Seen("a crash", "it was gone", failures={"503": 2})], 20, "here"
    )
    assert "| a drain | skipped: one node | | | | | | |" in told
    assert "- a crash: 2 x 503 (it was gone)." in told


class Moody(BaseHTTPRequestHandler):
    """Refuses every fourth request."""

    protocol_version = "HTTP/1.1"
    asked = 0
    turn = Lock()

    def do_POST(self) -> None:
        with Moody.turn:
            Moody.asked += 1
            number = Moody.asked
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"request_id": f"r{number}"}).encode()
        self.send_response(503 if number % 4 == 0 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_the_client_asks_until_told_to_stop_and_tells_every_try(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CLIENT.read_text())
    (tmp_path / "rows.json").write_text("[{}]")
    stop = tmp_path / "stop"
    with ThreadingHTTPServer(("127.0.0.1", 0), Moody) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        client = subprocess.Popen(
            [sys.executable, tmp_path / "client.py", f"127.0.0.1:{server.server_port}", "200"],
            env=os.environ | {"STOP": str(stop)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert client.stdout
        lines = [json.loads(client.stdout.readline()) for _ in range(30)]
        stop.touch()
        lines += map(json.loads, client.communicate(timeout=600)[0].splitlines())
        server.shutdown()
    assert client.returncode == 0
    assert len(lines) == Moody.asked
    seen = Seen("moods")
    count(seen, lines)
    assert seen.requests < len(lines)
    assert seen.lost < seen.failed
    assert {one["kept"] for one in lines} == {True, False}

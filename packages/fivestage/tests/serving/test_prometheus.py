"""A real Prometheus scrapes the real service: nothing fires while all is well, each alert in its drill."""

import json
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from fivestage.artifact.artifact import Artifact
from fivestage.deployment import local_process as local
from fivestage.deployment.service_client import url
from fivestage.monitoring.alerts import FOLDER
from fivestage.monitoring.exposition import ABOUT, expose
from fivestage.serving.served_version import ServedVersion, read_served_version, write_served_version
from fivestage.serving.service_settings import Settings
from tests.serving.conftest import Traffic, deploy, free_port, messages, post_events

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.usefixtures("synthetic_process"),
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed"),
]
OFTEN = "250ms"
PATIENCE = 300  # seconds
WELL = dict.fromkeys(ABOUT, 0.0) | {"label_share": 1.0, "min_label_share": 0.9}
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Prometheus:
    """A server with the project's rules, and the same alerts again without their patience."""

    client: httpx.Client

    def ask(self, expression: str) -> list[Any]:
        found: list[Any] = self._get("query", query=expression)["result"]
        return found

    def firing(self) -> set[str]:
        return {
            one["labels"]["alertname"] for one in self._get("alerts")["alerts"] if one["state"] == "firing"
        }

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **params: str) -> Any:
        answer = self.client.get(f"/api/v1/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


JSON = {"content-type": "application/json"}


class Quiet(SimpleHTTPRequestHandler):
    """Any web server does for the file that the monitoring job writes."""

    extensions_map = {".prom": "text/plain; version=0.0.4"}  # noqa: RUF012 (the base class has it so)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Path]:
    """A file of the monitoring job, and a web server beside it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "metrics"))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        (tmp_path / "metrics.port").write_text(str(server.server_port))
        yield tmp_path / "metrics" / "monitoring.prom"
        server.shutdown()


@contextmanager
def prometheus(folder: Path, targets: dict[str, str]) -> Iterator[Prometheus]:
    """Prometheus on a port of its own; targets are paths by address."""
    folder.mkdir()
    shutil.copy(FOLDER / "rules.yaml", folder)
    hasty = [
        {key: value for key, value in rule.items() if key != "for"}
        for group in RULES["groups"]
        for rule in group["rules"]
        if "for" in rule
    ]
    (folder / "hasty.yaml").write_text(yaml.safe_dump({"groups": [{"name": "hasty", "rules": hasty}]}))
    scraped = [
        {"job_name": path, "metrics_path": path, "static_configs": [{"targets": [address]}]}
        for address, path in targets.items()
    ]
    config = {
        "global": {"scrape_interval": OFTEN, "scrape_timeout": OFTEN, "evaluation_interval": OFTEN},
        "rule_files": ["rules.yaml", "hasty.yaml"],
        "scrape_configs": scraped,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    words = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(PROMETHEUS), *words, f"--web.listen-address={address}"], cwd=folder, stdout=log, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=300) as client:
            until(lambda: _ready(client, process, folder / "log"))
            yield Prometheus(client)
    finally:
        process.terminate()
        process.wait()


def _ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return client.get("/-/ready").is_success
    except httpx.TransportError:
        return False


def until(done: Callable[[], object], told: Callable[[], object] = str) -> None:
    late = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < late, told()
        time.sleep(0.1)


@contextmanager
def service(folder: Path, artifact: Artifact) -> Iterator[Settings]:
    """The service as a process of its own."""
    settings = deploy(artifact, folder, "1").settings.model_copy(update={"port": free_port()})
    local.start(settings)
    try:
        yield settings
    finally:
        local.stop(settings)


def test_a_real_prometheus_sees_everything_go_well_and_then_wrong(
    tmp_path: Path,
    watched: Path,
    artifact: Artifact,
    traffic: Traffic,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expose(WELL | {"ran_at_seconds": time.time()}, watched, "drill")
    port = (tmp_path / "metrics.port").read_text()
    every = {rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
    with service(tmp_path / "service", artifact) as settings:
        address = url(settings).removeprefix("http://")
        targets = {address: "/metrics", f"127.0.0.1:{port}": f"/{watched.name}"}
        sound = read_served_version(settings.current_file)
        with prometheus(tmp_path / "prometheus", targets) as seen:
            with httpx.Client(base_url=url(settings), timeout=300) as client:
                assert_all_is_well(seen, client, traffic)
                assert_each_alert_fires(
                    seen, client, settings, watched, traffic, every - {"ServiceAbsent", "TreesInterpreted"}
                )
            local.stop(settings)
            until(lambda: "ServiceAbsent" in seen.firing())
            write_served_version(settings.current_file, sound)
            monkeypatch.setenv("SYNTHETIC_WITHOUT_C", "yes")
            monkeypatch.setenv("FIVESTAGE_VAR", str(tmp_path / "var"))
            local.start(settings)
            until(lambda: "TreesInterpreted" in seen.firing() and "ServiceAbsent" not in seen.firing())


def assert_all_is_well(seen: Prometheus, client: httpx.Client, traffic: Traffic) -> None:
    """Every rule is in order, every panel of the dashboard has something to draw, and nothing fires."""
    post_events(client, traffic.events)
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    drawn = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    place = iter(range(10_000))

    def ask() -> list[str]:
        rows = [traffic.request(next(place) % len(traffic.at)) for _ in range(20)]
        for row in [*rows, rows[0] | {"customer": "new"}]:  # which training has not seen
            client.post("/predict", json=row).raise_for_status()
        return [expression for expression in drawn if not seen.ask(expression)]

    until(lambda: not ask(), ask)
    assert {rule["health"] for rule in seen.rules()} == {"ok"}, [
        rule for rule in seen.rules() if rule["health"] != "ok"
    ]
    # On a busy machine answers may be slow, and one late scrape counts as absence.
    until(lambda: all(name.startswith("Latency") for name in seen.firing()), seen.firing)


def assert_each_alert_fires(
    seen: Prometheus,
    client: httpx.Client,
    settings: Settings,
    watched: Path,
    traffic: Traffic,
    expected: set[str],
) -> None:
    """The log's database is taken away, a model is refused, and the monitoring job has found the worst."""
    write_served_version(
        settings.current_file, ServedVersion(version="2", folder=Path("/nowhere"), digest="0" * 64)
    )
    worst = {
        "broken": 1.0,
        "drifted": 3.0,
        "bad": 1.0,
        "label_share": 0.5,
        "retrain": 1.0,
        "ran_at_seconds": 0.0,
    }
    expose(WELL | worst, watched, "drill")
    fired: set[str] = set()
    some = messages(traffic.events)[:2]

    def slowly() -> Iterator[bytes]:  # the first one also waits for the database
        yield b" "
        time.sleep(0.2)
        yield json.dumps(traffic.request(0)).encode()

    def ask() -> bool:
        client.post("/predict", content=slowly(), headers=JSON).raise_for_status()
        assert client.post("/outcomes", json={"events": some}).status_code == 503
        fired.update(seen.firing())
        return fired >= expected

    with closing(sqlite3.connect(settings.folder / "log.sqlite", isolation_level=None)) as busy:
        busy.execute("BEGIN EXCLUSIVE")
        until(ask, lambda: expected - fired)
    assert fired - {"ServiceAbsent"} == expected  # one late scrape of a busy machine is absence for a moment

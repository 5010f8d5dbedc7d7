"""The service over real HTTP: parity, the log, reloads, and honest states."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from fivestage.artifact.artifact import Artifact, save_artifact
from fivestage.contract.contract import Contract
from fivestage.serving.log import predictions
from fivestage.serving.served_version import ServedVersion, write_served_version
from fivestage.serving.service_settings import Settings
from fivestage.serving.sqlite import SqliteStore
from tests.serving.conftest import (
    Deployed,
    Running,
    Traffic,
    deploy,
    first_events,
    offline,
    post_events,
    running,
)


def asked(client: httpx.Client, traffic: Traffic, places: range) -> list[dict[str, Any]]:
    answer = client.post("/predict", json={"rows": [traffic.request(place) for place in places]})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


def test_http_gives_the_probabilities_of_offline_evaluation(
    live: Running, artifact: Artifact, traffic: Traffic
) -> None:
    post_events(live.client, traffic.events)
    found = [one["probability"] for one in asked(live.client, traffic, range(len(traffic.at)))]
    assert np.allclose(found, offline(artifact, traffic), rtol=0, atol=1e-9)
    assert [asked(live.client, traffic, range(i, i + 1))[0]["probability"] for i in range(50)] == found[:50]


def test_of_events_told_again_only_the_new_ones_are_numbered(live: Running, traffic: Traffic) -> None:
    sent = first_events(traffic, "delivery", 3)
    assert live.client.post("/outcomes", json={"events": [sent[1], sent[1]]}).json() == {
        "accepted": 1,
        "repeated": 1,
    }
    assert live.client.post("/outcomes", json={"events": sent}).json() == {"accepted": 2, "repeated": 1}
    numbers = [number for number, _, _ in live.service.store.events()]
    assert numbers == [1, 2, 3]
    assert live.service._log_offset == 3


def test_an_unknown_category_is_served_named_and_counted(live: Running, traffic: Traffic) -> None:
    row = {**traffic.request(0), "customer": "new"}
    answer = live.client.post("/predict", json=row).json()
    assert answer["predictions"][0]["unknown"] == ["region"]
    assert 'unknown_categories_total{feature="region"} 1.0' in live.client.get("/metrics").text


def test_every_answer_is_in_the_log_with_its_inputs(
    live: Running, contract: Contract, traffic: Traffic
) -> None:
    bare = live.client.post("/predict", json=traffic.request(0)).json()
    many = live.client.post("/predict", json={"rows": [traffic.request(place) for place in range(3)]}).json()
    logged = list(predictions(live.service.store, contract))
    assert [one["request_id"] for one in logged] == [bare["request_id"]] + [many["request_id"]] * 3
    assert [one["place"] for one in logged] == [0, 0, 1, 2]
    for one, place in zip(logged, (0, 0, 1, 2), strict=True):
        assert repr({name: one[name] for name in contract.columns}) == repr(traffic.row(place))
    assert logged[2]["forecast"] == (many["predictions"][1]["probability"],)


def test_a_repeated_event_counts_once(live: Running, traffic: Traffic) -> None:
    (event,) = first_events(traffic, "delivery", 1)
    assert live.client.post("/outcomes", json=event).json() == {"accepted": 1, "repeated": 0}
    assert live.client.post("/outcomes", json=event).json() == {"accepted": 0, "repeated": 1}
    other = {**event, "delay": 99.0}
    assert live.client.post("/outcomes", json=other).json() == {"accepted": 0, "repeated": 1}


def test_a_restart_knows_what_was_told(deployed: Deployed, traffic: Traffic) -> None:
    with running(deployed.settings) as service:
        post_events(service.client, traffic.events)
        before = asked(service.client, traffic, range(400, 500))
    with running(deployed.settings) as service:
        assert asked(service.client, traffic, range(400, 500)) == before


def test_without_a_model_the_service_lives_and_is_not_ready(tmp_path: Path, traffic: Traffic) -> None:
    with running(Settings(folder=tmp_path)) as service:
        assert service.client.get("/healthz").status_code == 200
        for answer in (
            service.client.get("/readyz"),
            service.client.post("/predict", json=traffic.request(0)),
        ):
            assert answer.status_code == 503
            assert "no model has been deployed" in answer.json()["detail"]


def test_a_reload_under_load_drops_no_request(
    deployed: Deployed, other_artifact: Artifact, traffic: Traffic
) -> None:
    with running(deployed.settings) as service:
        statuses: list[tuple[int, str]] = []
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=service.url, timeout=300) as client:
                while not stop.is_set():
                    answer = client.post("/predict", json=traffic.request(1))
                    statuses.append((answer.status_code, answer.json()["model_version"]))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        deploy(other_artifact, deployed.settings.folder, "2")
        assert service.client.post("/reload").json()["version"] == "2"
        last = service.client.post("/predict", json=traffic.request(1)).json()
        stop.set()
        for thread in threads:
            thread.join()
    assert last["model_version"] == "2"
    assert {status for status, _ in statuses} == {200}
    assert {version for _, version in statuses} >= {"1"}


def test_the_history_survives_a_reload(
    deployed: Deployed, other_artifact: Artifact, traffic: Traffic
) -> None:
    with running(deployed.settings) as service:
        post_events(service.client, traffic.events)
        deploy(other_artifact, deployed.settings.folder, "2")
        assert service.client.post("/reload").status_code == 200
        found = [one["probability"] for one in asked(service.client, traffic, range(len(traffic.at)))]
    assert np.allclose(found, offline(other_artifact, traffic), rtol=0, atol=1e-9)


FILES = ["model.npz", "history.npz", "parity.npz", "manifest.json"]


@pytest.mark.parametrize("harm", [*FILES, "parity", "smoke", "folder"])
def test_a_bad_artifact_is_refused_and_the_old_one_stays(
    live: Running, deployed: Deployed, other_artifact: Artifact, traffic: Traffic, harm: str
) -> None:
    folder = deployed.settings.folder / "models" / "2"
    if harm == "smoke":
        object.__setattr__(other_artifact.smoke[0], "forecast", (other_artifact.smoke[0].forecast[0] + 0.01,))
    if harm == "parity":
        other_artifact.parity.margins[0] += 1e-6
    digest = save_artifact(other_artifact, folder)
    if harm == "parity":
        other_artifact.parity.margins[0] -= 1e-6
    elif harm == "smoke":
        object.__setattr__(other_artifact.smoke[0], "forecast", (other_artifact.smoke[0].forecast[0] - 0.01,))
    elif harm != "folder":
        content = bytearray((folder / harm).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / harm).write_bytes(content)
    meant = folder if harm != "folder" else folder.parent / "none"
    write_served_version(
        deployed.settings.current_file, ServedVersion(version="2", folder=meant, digest=digest)
    )
    refused = live.client.post("/reload")
    assert refused.status_code == 409
    assert refused.json()["detail"]
    assert live.client.get("/model").json()["version"] == "1"
    assert live.client.post("/predict", json=traffic.request(0)).json()["model_version"] == "1"


def test_a_given_model_serves_until_the_folder_points_to_another(
    deployed: Deployed, other_artifact: Artifact, tmp_path: Path
) -> None:
    given = deployed.settings.folder / "models" / "1"
    settings = Settings(
        folder=tmp_path / "own", model=str(given), model_version="7", model_digest=deployed.digest
    )
    with running(settings) as service:
        assert service.client.get("/model").json()["version"] == "7"
        deploy(other_artifact, settings.folder, "8")
        assert service.client.post("/reload").json()["version"] == "8"
    with running(settings.model_copy(update={"folder": tmp_path / "new", "model_version": ""})) as service:
        assert service.client.get("/model").json()["version"] == deployed.digest[:12]


@pytest.mark.parametrize(
    ("given", "digest", "sentence"),
    [
        ("models/1", "0" * 64, "is not the artifact that was registered"),
        ("models/none", "", "has no artifact"),
    ],
)
def test_a_given_model_that_is_not_the_one_meant_does_not_serve(
    deployed: Deployed, tmp_path: Path, given: str, digest: str, sentence: str
) -> None:
    folder = deployed.settings.folder / given
    settings = Settings(folder=tmp_path / "own", model=str(folder), model_version="7", model_digest=digest)
    with running(settings) as service:
        answer = service.client.get("/readyz")
    assert answer.status_code == 503
    assert sentence in answer.json()["detail"]


def test_the_log_is_readable_while_it_is_written(live: Running, deployed: Deployed, traffic: Traffic) -> None:
    asked(live.client, traffic, range(10))
    other = SqliteStore(deployed.settings.folder / "log.sqlite")
    assert len(list(other.answers())) == 1
    other.close()
    with sqlite3.connect(deployed.settings.folder / "log.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()

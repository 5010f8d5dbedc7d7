"""A challenger answers what the champion is asked, and nobody waits for it."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fivestage.artifact.artifact import Artifact, save_artifact
from fivestage.serving.served_version import ServedVersion, write_served_version
from fivestage.serving.shadow import QUEUE, Shadow
from fivestage.serving.store import ShadowRecord
from tests.serving.conftest import Deployed, Running, Traffic, deploy, offline, post_events, running
from tests.synthetic import FEATURES


def shadow_with(deployed: Deployed, artifact: Artifact, version: str) -> None:
    folder = deployed.settings.folder / "models" / version
    digest = save_artifact(artifact, folder)
    pointer = ServedVersion(version=version, folder=folder, digest=digest)
    write_served_version(deployed.settings.shadow_file, pointer)


def shadows(service: Running, number: int) -> list[ShadowRecord]:
    end = time.monotonic() + 300
    while len(found := [one for _, one in service.service.store.shadows()]) < number:
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def asked(service: Running, traffic: Traffic, places: Any) -> dict[str, Any]:
    answer = service.client.post("/predict", json={"rows": [traffic.request(place) for place in places]})
    found: dict[str, Any] = answer.json()
    return found


def test_a_challenger_is_written_down_beside_the_champion(
    deployed: Deployed, artifact: Artifact, other_artifact: Artifact, traffic: Traffic
) -> None:
    shadow_with(deployed, other_artifact, "2")
    with running(deployed.settings) as service:
        assert service.client.get("/model").json()["shadow"] == "2"
        post_events(service.client, traffic.events)
        places = range(len(traffic.at))
        answer = asked(service, traffic, places)
        single = asked(service, traffic, [5])
        many, one = shadows(service, 2)
    assert (many.request_id, one.request_id) == (answer["request_id"], single["request_id"])
    assert {many.model_version, one.model_version} == {"2"}
    assert answer["model_version"] == "1"
    expected = offline(other_artifact, traffic)
    assert np.allclose(json.loads(many.probabilities), expected, rtol=0, atol=1e-9)
    assert np.allclose(json.loads(one.probabilities), expected[5], rtol=0, atol=1e-9)
    served = [one["probability"] for one in answer["predictions"]]
    assert np.allclose(served, offline(artifact, traffic), rtol=0, atol=1e-9)


def test_a_challenger_follows_the_champion_and_goes(
    deployed: Deployed, other_artifact: Artifact, traffic: Traffic
) -> None:
    with running(deployed.settings) as service:
        shadow_with(deployed, other_artifact, "2")
        assert service.client.post("/reload").json()["shadow"] == "2"
        deploy(other_artifact, deployed.settings.folder, "3")
        assert service.client.post("/reload").json()["shadow"] == "2"
        post_events(service.client, traffic.events)
        answer = asked(service, traffic, range(50))
        (found,) = shadows(service, 1)
        served = [one["probability"] for one in answer["predictions"]]
        assert json.loads(found.probabilities) == served, "the same model on the same history"
        deployed.settings.shadow_file.unlink()
        assert service.client.post("/reload").json()["shadow"] is None


def test_a_challenger_that_reads_otherwise_is_refused_and_the_champion_serves(
    deployed: Deployed, other_artifact: Artifact, traffic: Traffic
) -> None:
    other = {**other_artifact.reference, "more": {}}
    shadow_with(deployed, replace(other_artifact, reference=other), "2")
    with running(deployed.settings) as service:
        assert service.client.get("/model").json()["shadow"] is None
        assert asked(service, traffic, [0])["model_version"] == "1"


def test_of_more_than_can_wait_the_oldest_go(tmp_path: Path) -> None:
    shadow = Shadow(tmp_path / "shadow", FEATURES)
    assert [shadow.offer(str(number), []) for number in range(QUEUE + 3)].count(True) == 3
    assert len(shadow._waiting) == QUEUE
    assert shadow._waiting[0][0] == "3"

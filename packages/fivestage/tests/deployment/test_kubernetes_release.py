"""Releases to Kubernetes: drills of every check and of the way back; real services, a fake cluster."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.scorer import TOLERANCE
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.deployment import releases
from fivestage.deployment.kubernetes_release import (
    ClusterReleases,
    ReleaseCheckError,
)
from fivestage.deployment.release_manifests import require_own_namespace
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.service_client import SmokeRows
from fivestage.serving.service_settings import Settings
from tests.deployment.fake_cluster import FakeCluster, manifests
from tests.serving.conftest import deploy, running
from tests.synthetic import request_of

OVERLAY = Path("k8s/overlays/local")


class Locked(BaseHTTPRequestHandler):
    """A service that requires a key."""

    def do_GET(self) -> None:
        self.send_error(401)


@pytest.fixture(autouse=True)
def _own_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "HISTORY", tmp_path / "releases.jsonl")


@pytest.fixture(scope="module")
def served(
    artifact: Artifact, other_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[int, str]]]:
    """Two versions that answer: their ports and digests."""
    with ExitStack() as services:
        found = {}
        for version, made in (("1", artifact), ("2", other_artifact)):
            deployed = deploy(made, tmp_path_factory.mktemp(version), version)
            one = services.enter_context(running(deployed.settings))
            found[version] = int(one.url.rpartition(":")[2]), deployed.digest
        yield found


@pytest.fixture
def cluster(served: dict[str, tuple[int, str]]) -> FakeCluster:
    return FakeCluster(
        "fivestage", ports={f"fivestage-serving:{version}": port for version, (port, _) in served.items()}
    )


@pytest.fixture
def models(
    served: dict[str, tuple[int, str]], artifact: Artifact, other_artifact: Artifact
) -> dict[str, ReleasedModel]:
    found = {}
    for version, made in (("1", artifact), ("2", other_artifact)):
        rows = [request_of(one.row) for one in made.smoke]
        answers = [one.forecast for one in made.smoke]
        found[version] = ReleasedModel(
            version,
            served[version][1],
            "c" * 64,
            "abc",
            OVERLAY,
            SmokeRows(rows, answers, served[version][1]),
        )
    return found


@pytest.fixture
def easy(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> Contract:
    """Models that were made apart may differ, and this machine may be slow, now more and now less."""
    monkeypatch.setattr("fivestage.deployment.canary.MAX_SLOWDOWN", 1000)
    monkeypatch.setattr("fivestage.deployment.kubernetes_release.PROBES", 48)
    gates = contract.gates.model_copy(update={"max_bias": 1.0})
    service = contract.service.model_copy(update={"p99_ms": 10_000})
    return contract.model_copy(update={"gates": gates, "service": service})


def releases_to(cluster: FakeCluster) -> ClusterReleases:
    return ClusterReleases(cluster, OVERLAY, Settings(), wait_seconds=2)


def put(cluster: FakeCluster, model: ReleasedModel, contract: Contract, **settings: str) -> releases.Release:
    cluster.overlay[:] = manifests(f"fivestage-serving:{model.version}", **settings)
    return releases_to(cluster).release(model, contract, why="a drill", bake_seconds=0)


def image(cluster: FakeCluster) -> Any:
    return cluster.image(cluster.objects["deployment", "fivestage"])


def recorded(cluster: FakeCluster) -> list[tuple[int, str, str]]:
    return [(one.number, one.outcome, one.model) for one in releases.history(cluster)]


def test_a_release_serves_and_is_recorded(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    done = put(cluster, models["1"], easy)
    assert (done.number, done.previous, done.outcome) == (1, 0, "serving")
    assert done.digest == "sha256:fivestage-serving:1"
    pods = cluster.objects["deployment", "fivestage"]["spec"]["template"]["metadata"]
    assert pods["annotations"] == {"fivestage/model-version": "1", "fivestage/contract": "c" * 12}
    (kept,) = releases.history(cluster)
    assert kept.model_copy(update={"manifests": done.manifests}) == done
    assert "Secret" not in {one["kind"] for one in kept.manifests}
    assert releases.HISTORY.read_text().count("\n") == 1
    assert "deployment fivestage-canary" not in " ".join(cluster.did)  # beside nothing there is no canary


def test_the_next_release_goes_by_a_canary_that_does_not_stay(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    put(cluster, models["1"], easy)
    cluster.did.clear()
    cluster.overlay[:] = manifests("fivestage-serving:2")
    done = releases_to(cluster).release(models["2"], easy, bake_seconds=0)
    assert [one.partition(":")[0] for one in done.compared] == ["errors", "latency", "distribution"]
    assert releases.history(cluster)[-1].compared == done.compared
    assert cluster.did == [
        "apply fivestage-canary fivestage-serving:2",
        "delete deployment fivestage-canary",
        "apply fivestage fivestage-serving:2",
    ]
    assert done.previous == 1


def test_a_canary_is_compared_only_with_pods_that_are_ready(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    put(cluster, models["1"], easy)
    cluster.unready.append("fivestage-starting")
    cluster.misrouted["pod/fivestage-starting"] = 9  # the discard port: nothing answers
    assert put(cluster, models["2"], easy).outcome == "serving"


def test_the_canary_s_own_probes_are_no_live_traffic(
    cluster: FakeCluster,
    models: dict[str, ReleasedModel],
    easy: Contract,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fivestage.deployment.canary.MIN_LIVE_ROWS", 1)
    put(cluster, models["1"], easy)
    assert "on live traffic" not in put(cluster, models["2"], easy).compared[-1]


def fails(
    cluster: FakeCluster, models: dict[str, ReleasedModel], contract: Contract, check: str, *, touched: bool
) -> str:
    """Release version 2 over 1, which must fail in a check and leave version 1."""
    before = image(cluster)
    cluster.did.clear()
    with pytest.raises(ReleaseCheckError) as failure:
        put(cluster, models["2"], contract)
    assert failure.value.check == check
    assert image(cluster) == before == "fivestage-serving:1"
    assert ("deployment", "fivestage-canary") not in cluster.objects
    assert ("apply fivestage fivestage-serving:2" in cluster.did) == touched
    last = releases.history(cluster)[-1]
    assert last.outcome == "failed"
    assert check in last.failed
    assert recorded(cluster)[0] == (1, "serving", "1")
    return str(failure.value)


def test_a_bad_image_fails_in_the_canary(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    put(cluster, models["1"], easy)
    cluster.broken.add("fivestage-serving:2")
    told = fails(cluster, models, easy, "canary rollout", touched=False)
    assert "ImagePullBackOff. no such image" in told


def test_another_model_than_the_one_meant_fails_in_the_canary(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    put(cluster, models["1"], easy)
    cluster.ports["fivestage-serving:2"] = cluster.ports["fivestage-serving:1"]
    told = fails(cluster, models, easy, "canary smoke", touched=False)
    assert "serves version 1" in told


def test_answers_unlike_the_offline_ones_fail_in_the_canary(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    put(cluster, models["1"], easy)
    expected = models["2"].expected
    halved = replace(expected, predictions=[[one[0] / 2] for one in expected.predictions])
    lies = replace(models["2"], expected=halved)
    assert "differ by up to" in fails(cluster, models | {"2": lies}, easy, "canary smoke", touched=False)


def test_another_distribution_fails_in_the_canary(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cluster, models["1"], easy)
    monkeypatch.setattr(
        "fivestage.deployment.canary.STANDARD_ERRORS", 0
    )  # these two differ no more than rows do by chance
    strict = easy.model_copy(update={"gates": easy.gates.model_copy(update={"max_bias": 1e-6})})
    refusal = fails(cluster, models, strict, "canary distribution", touched=False)
    assert "the mean differs by" in refusal
    assert "release with --accept distribution" in refusal
    done = releases_to(cluster).release(models["2"], strict, bake_seconds=0, accept="distribution")
    assert (done.outcome, image(cluster)) == ("serving", "fivestage-serving:2")
    assert "the mean differs by" in done.compared[-1]


def test_what_fails_after_the_canary_is_undone(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    put(cluster, models["1"], easy, COLOUR="red")
    cluster.misrouted["service/fivestage"] = cluster.ports["fivestage-serving:1"]
    message = fails(cluster, models, easy, "smoke", touched=True)
    assert "serves version 1" in message
    assert ("configmap", "settings-1") in cluster.objects
    assert ("configmap", "settings-0") not in cluster.objects  # what only the failed one had


def test_a_first_release_that_fails_leaves_no_deployment(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    cluster.broken.add("fivestage-serving:1")
    with pytest.raises(ReleaseCheckError, match="rollout"):
        put(cluster, models["1"], easy)
    assert ("deployment", "fivestage") not in cluster.objects
    assert recorded(cluster) == [(1, "failed", "1")]


def test_what_breaks_the_pod_security_standard_is_not_begun(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    cluster.warnings.append('Warning: would violate PodSecurity "restricted:latest": runAsNonRoot')
    with pytest.raises(ReleaseCheckError, match="manifests"):
        put(cluster, models["1"], easy)
    assert recorded(cluster) == []


def test_a_release_that_serves_is_recorded_as_serving_though_cleaning_up_fails(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cluster, models["1"], easy, COLOUR="red")
    delete = FakeCluster.delete

    def failing(self: FakeCluster, kind: str, name: str, *, wait: bool = False) -> None:
        if name.startswith("settings"):
            raise UserError("the API server is away")
        delete(self, kind, name, wait=wait)

    monkeypatch.setattr(FakeCluster, "delete", failing)
    with pytest.raises(UserError, match="API server is away"):
        put(cluster, models["2"], easy)
    assert image(cluster) == "fivestage-serving:2"
    assert recorded(cluster) == [(1, "serving", "1"), (2, "serving", "2")]


def test_who_asks_the_service_hears_how_far_its_answers_are_from_offline(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    put(cluster, models["1"], easy)
    assert releases_to(cluster).smoke(models["1"]) <= TOLERANCE
    with pytest.raises(ReleaseCheckError, match="serves version 1") as failure:
        releases_to(cluster).smoke(models["2"])
    assert failure.value.check == "smoke"


def test_pods_that_require_an_api_key_say_which_setting_has_it(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    put(cluster, models["1"], easy)
    with HTTPServer(("127.0.0.1", 0), Locked) as locked, ThreadPoolExecutor(1) as pool:
        cluster.misrouted["service/fivestage"] = locked.server_port
        pool.submit(locked.handle_request)
        with pytest.raises(ReleaseCheckError, match="set SERVE_API_KEYS to one of its API keys"):
            releases_to(cluster).smoke(models["1"])


def test_a_rollback_returns_image_manifests_and_model_together_and_goes_on_further_back(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    put(cluster, models["1"], easy)
    put(cluster, models["2"], easy, COLOUR="red")
    put(cluster, models["1"], easy, COLOUR="red", SHAPE="round")
    back = releases_to(cluster).roll_back(models["2"], "too round")
    assert (back.number, back.model, back.previous) == (4, "2", 1)
    assert back.why == "back from release 3: too round"
    assert image(cluster) == "fivestage-serving:2"
    assert {name for kind, name in cluster.objects if name.startswith("settings")} == {"settings-1"}
    assert ("secret", "fivestage") in cluster.objects
    assert releases_to(cluster).roll_back(models["1"], "").model == "1"
    with pytest.raises(Exception, match="rollback is impossible"):
        releases_to(cluster).roll_back(models["1"], "")


def test_a_rollback_with_another_registry_touches_no_pod(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    put(cluster, models["1"], easy)
    put(cluster, models["2"], easy)
    before = list(cluster.did)
    with pytest.raises(UserError, match="Release 1 serves another version 1 than this registry has"):
        releases_to(cluster).roll_back(replace(models["1"], digest="d" * 64), "")
    assert cluster.did == before
    assert recorded(cluster) == [(1, "serving", "1"), (2, "serving", "2")]


def test_a_rollback_to_a_tag_that_has_moved_is_undone(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    first = put(cluster, models["1"], easy)
    put(cluster, models["2"], easy)
    releases.end(cluster, first.model_copy(update={"digest": "sha256:other"}))
    with pytest.raises(ReleaseCheckError, match="a tag can move"):
        releases_to(cluster).roll_back(models["1"], "")
    assert image(cluster) == "fivestage-serving:2"


def test_another_projects_namespace_is_left_alone(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    def named(project: str) -> None:
        cluster.overlay[:] = manifests()
        cluster.overlay[-1]["metadata"]["labels"]["app.kubernetes.io/instance"] = project

    named("churn")
    releases_to(cluster).release(models["1"], easy)
    named("fraud")
    with pytest.raises(ReleaseCheckError, match="already serves the project churn: give fraud another one"):
        releases_to(cluster).release(models["1"], easy)
    assert recorded(cluster) == [(1, "serving", "1")]


def test_a_deployment_without_labels_belongs_to_no_other_project() -> None:
    existing = {"kind": "Deployment", "metadata": {"name": "fivestage"}}
    require_own_namespace(existing, manifests())


def test_two_releases_do_not_go_on_at_once(
    cluster: FakeCluster, models: dict[str, ReleasedModel], easy: Contract
) -> None:
    done = put(cluster, models["1"], easy)
    going = {"outcome": "going", "who": "somebody", "when": datetime.now(UTC).isoformat()}
    other = done.model_copy(update={"number": 2, **going})
    releases.end(cluster, other)
    with pytest.raises(Exception, match="Release 2 is in progress, started by somebody"):
        put(cluster, models["2"], easy)
    long_ago = {"when": "2026-01-01T00:00:00+00:00"}
    releases.end(cluster, other.model_copy(update=long_ago))  # killed
    assert put(cluster, models["2"], easy).number == 3

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fivestage.common.settings import ROOT
from fivestage.serving.service_settings import Settings
from tools.tests.k8s.policy import faults, unpinned
from tools.tests.k8s.rendering import (
    PLACES,
    Resource,
    containers,
    named,
    of_kind,
    pod_template,
    pods,
    rendered,
)

CONTRACT_PATH = ROOT / "problem" / "problem.yaml"

DOCKERFILES = (ROOT / "serving" / "Dockerfile", ROOT / "pipelines" / "Dockerfile")
LAPTOP = ("base", "overlays/local", "overlays/platform")
PRODUCTION = [place for place in PLACES if not place.startswith(LAPTOP) or "production" in place]


@pytest.mark.parametrize("place", PLACES)
def test_our_promises_hold(place: str) -> None:
    assert list(faults(rendered(place))) == []


@pytest.mark.parametrize("place", PRODUCTION)
def test_production_names_its_images_exactly(place: str) -> None:
    assert list(unpinned(rendered(place))) == []


@pytest.mark.parametrize("place", PRODUCTION)
def test_production_serves_this_version(place: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    container = pod_template(named(rendered(place), "Deployment", "fivestage"))["spec"]["containers"][0]
    assert container["image"].endswith(f"/fivestage-serving:{version}")


@pytest.mark.parametrize("place", PRODUCTION)
def test_production_does_not_start_without_its_secret(place: str) -> None:
    ours = [one for _, pod in pods(rendered(place)) for one in containers(pod) if one["name"] != "fetch"]
    secrets = [source["secretRef"] for one in ours for source in one["envFrom"] if "secretRef" in source]
    assert len(secrets) == len(ours) >= 3
    assert not any(secret["optional"] for secret in secrets)


@pytest.mark.parametrize("place", [one for one in PLACES if one != "base"])  # overlays set the namespace
def test_everything_is_ours_to_remove(place: str) -> None:
    wide = {"Namespace", "StorageClass"}
    for one in rendered(place):
        assert one["metadata"].get("namespace") == (None if one["kind"] in wide else "fivestage"), one


@pytest.mark.parametrize("place", PLACES)
def test_the_contract_goes_along_as_it_is(place: str) -> None:
    resources = rendered(place)
    container = pod_template(named(resources, "Deployment", "fivestage"))["spec"]
    (volume,) = [one["configMap"]["name"] for one in container["volumes"] if "configMap" in one]
    held = named(resources, "ConfigMap", volume)["data"]
    assert held == {"problem.yaml": CONTRACT_PATH.read_text(encoding="utf-8")}
    assert yaml.safe_load(held["problem.yaml"])["name"]


@pytest.mark.parametrize("place", PLACES)
def test_the_contract_takes_the_place_of_the_one_in_the_image(place: str) -> None:
    folders = re.findall(r"(?m)^WORKDIR (/opt/\S+)$", "".join(path.read_text() for path in DOCKERFILES))
    assert set(folders) == {"/opt/fivestage"}
    for _, pod in pods(rendered(place)):
        for one in containers(pod):
            for mount in one["volumeMounts"] if one["image"].startswith("fivestage") else []:
                if mount["name"] == "contract":
                    assert mount["mountPath"] == f"{folders[0]}/{CONTRACT_PATH.relative_to(ROOT)}"
                    assert mount["subPath"] == CONTRACT_PATH.name


def test_kubectl_has_nothing_to_warn_of() -> None:
    """kubectl sorts resources itself, and warns if a kustomization asks for it too."""
    assert not [
        path for path in (ROOT / "k8s").rglob("kustomization.yaml") if "sortOptions" in path.read_text()
    ]


@pytest.mark.parametrize("place", PLACES)
def test_the_service_takes_its_settings(place: str) -> None:
    held = [one["data"] for one in of_kind(rendered(place), "ConfigMap")]
    (serving,) = [one for one in held if "SERVE_FOLDER" in one]
    assert Settings.from_environment(serving).folder == Path("/var/lib/fivestage")


def test_the_operator_gets_the_alerts_and_the_dashboard_as_they_are() -> None:
    resources = rendered("overlays/local+../monitoring")
    rules = named(resources, "PrometheusRule", "fivestage")["spec"]
    assert rules == yaml.safe_load((ROOT / "monitoring" / "rules.yaml").read_text(encoding="utf-8"))
    dashboard = named(resources, "ConfigMap", "fivestage-dashboard")
    assert dashboard["metadata"]["labels"] == {"grafana_dashboard": "1"}
    text = (ROOT / "monitoring" / "dashboard.json").read_text(encoding="utf-8")
    assert dashboard["data"] == {"fivestage.json": text}


def test_the_base_needs_nothing_but_kubernetes() -> None:
    groups = {one["apiVersion"].rpartition("/")[0] for one in rendered("base")}
    assert all(not group or "." not in group or group.endswith(".k8s.io") for group in groups)
    assert not {group for group in groups if group.startswith("gateway.")}


def test_a_tenth_of_the_requests_meets_the_canary() -> None:
    resources = rendered("overlays/canary")
    service = named(resources, "Service", "fivestage")["spec"]["selector"]
    behind = [
        one
        for one in of_kind(resources, "Deployment")
        if service.items() <= pod_template(one)["metadata"]["labels"].items()
    ]
    assert {one["metadata"]["name"] for one in behind} == {"fivestage", "fivestage-canary"}
    stable = named(resources, "HorizontalPodAutoscaler", "fivestage")["spec"]
    canary = named(resources, "Deployment", "fivestage-canary")["spec"]["replicas"]
    assert stable["minReplicas"] == stable["maxReplicas"]
    assert canary / (canary + stable["minReplicas"]) == 0.1


def test_a_canary_is_what_it_may_replace_but_for_its_image() -> None:
    resources = rendered("overlays/canary")
    stable, canary = (
        pod_template(named(resources, "Deployment", name))["spec"]
        for name in ("fivestage", "fivestage-canary")
    )
    assert stable["containers"][0].pop("image") != canary["containers"][0].pop("image")
    for one in (stable, canary):
        del one["topologySpreadConstraints"]  # each version is spread for itself
    assert stable == canary


Change = Callable[[list[Resource]], object]


def test_training_starts_pods_that_may_and_steps_that_may_not() -> None:
    resources = rendered("overlays/platform")
    train = containers(pod_template(named(resources, "CronJob", "fivestage-train")))[-1]
    given = {one["name"]: one.get("value", "") for one in train["env"]}
    assert not given["FIVESTAGE_IMAGE"].endswith(":latest")  # ZenML sets no policy: the kubelet would pull it
    (settings,) = [one for one in of_kind(resources, "ConfigMap") if "stack.yaml" in one["data"]]
    runner = yaml.safe_load(settings["data"]["stack.yaml"])["components"]["orchestrator"]["configuration"]
    asked = "automount_service_account_token"
    assert runner["orchestrator_pod_settings"]["additional_pod_spec_args"][asked]  # its account gives none
    assert asked not in runner["pod_settings"]["additional_pod_spec_args"]
    for name in ("service_account_name", "step_pod_service_account_name"):
        assert named(resources, "ServiceAccount", runner[name])["automountServiceAccountToken"] is False


def deployment(resources: list[Resource]) -> Resource:
    return named(resources, "Deployment", "fivestage")


def pod(resources: list[Resource]) -> Resource:
    spec: Resource = pod_template(deployment(resources))["spec"]
    return spec


def container(resources: list[Resource]) -> Resource:
    first: Resource = pod(resources)["containers"][0]
    return first


def without(kind: str) -> Change:
    def change(resources: list[Resource]) -> None:
        resources[:] = [one for one in resources if one["kind"] != kind]

    return change


def spec(resources: list[Resource], kind: str, name: str = "fivestage") -> Resource:
    found: Resource = named(resources, kind, name)["spec"]
    return found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda all_: pod(all_).pop("automountServiceAccountToken"), "mounts a token that it does not need"),
        (lambda all_: pod(all_).pop("enableServiceLinks"), "gets environment variables"),
        (
            lambda all_: container(all_)["resources"]["limits"].pop("memory"),
            "lacks resource requests or a memory limit",
        ),
        (
            lambda all_: container(all_)["securityContext"].pop("readOnlyRootFilesystem"),
            "writable root filesystem",
        ),
        (lambda all_: container(all_).pop("livenessProbe"), "has no livenessProbe"),
        (lambda all_: container(all_)["ports"][0].update(name="web"), "targets the port 'http'"),
        (lambda all_: container(all_)["ports"][0].update(name="web"), "opens 'http'"),
        (
            lambda all_: pod_template(deployment(all_))["metadata"]["labels"].popitem(),
            "does not select the pods",
        ),
        (lambda all_: spec(all_, "Service")["selector"].update(x="y"), "Service fivestage has no pods"),
        (
            lambda all_: spec(all_, "PodDisruptionBudget")["selector"]["matchLabels"].update(x="y"),
            "PodDisruptionBudget fivestage has no pods",
        ),
        (
            lambda all_: spec(all_, "HorizontalPodAutoscaler")["scaleTargetRef"].update(name="x"),
            "has no target",
        ),
        (lambda all_: spec(all_, "HorizontalPodAutoscaler").update(minReplicas=9), "cannot scale"),
        (lambda all_: deployment(all_)["spec"].update(replicas=2), "sets replicas"),
        (without("NetworkPolicy"), "there is no default-deny policy"),
        (
            lambda all_: spec(all_, "NetworkPolicy", "serving")["podSelector"]["matchLabels"].update(x="y"),
            "selects no",
        ),
        (without("ServiceAccount"), "needs the ServiceAccount fivestage"),
        (without("PersistentVolumeClaim"), "needs the PersistentVolumeClaim"),
        (
            lambda all_: container(all_)["envFrom"][0]["configMapRef"].update(name="x"),
            "needs the ConfigMap x",
        ),
        (lambda all_: pod(all_).update(terminationGracePeriodSeconds=30), "killed before it has drained"),
        (
            lambda all_: spec(all_, "CronJob", "fivestage-monitor").update(concurrencyPolicy="Allow"),
            "run concurrently",
        ),
        (without("Service"), "routes /predict to no Service"),
        (
            lambda all_: spec(all_, "Ingress")["rules"][0]["http"]["paths"][0].update(pathType="Prefix"),
            "exposes the operators' paths",
        ),
    ],
)
def test_a_broken_promise_is_told(change: Change, told: str) -> None:
    resources = rendered("overlays/production")
    change(resources)
    assert any(told in fault for fault in faults(resources))


@pytest.mark.parametrize(
    ("place", "kind", "change", "told"),
    [
        (
            "overlays/canary+../packages/fivestage/k8s/gateway",
            "HTTPRoute",
            lambda spec: spec["rules"][0]["backendRefs"][0].update(name="x"),
            "routes to x",
        ),
        (
            "overlays/local+../monitoring",
            "ServiceMonitor",
            lambda spec: spec["endpoints"][0].update(port="x"),
            "does not select one Service",
        ),
    ],
)
def test_a_custom_resource_that_points_nowhere_is_told(
    place: str, kind: str, change: Callable[[Resource], object], told: str
) -> None:
    resources = rendered(place)
    change(spec(resources, kind))
    (fault,) = faults(resources)
    assert told in fault


def test_an_image_that_may_change_is_told() -> None:
    assert "Deployment fivestage: fivestage-serving:latest" in unpinned(rendered("base"))

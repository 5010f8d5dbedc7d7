"""Which pods may connect to which under the network policies; verified once against a real enforcer."""

from collections.abc import Iterable
from typing import Any

import pytest

from tools.tests.k8s.rendering import Resource, of_kind, pods, rendered

SERVING = "Deployment fivestage"
JOBS = "CronJob fivestage-monitor"
MLFLOW, ZENML = "Deployment mlflow", "Deployment zenml"
OBJECTS, POSTGRES = "StatefulSet objects", "StatefulSet postgres"
LOCAL = {(SERVING, POSTGRES), (JOBS, POSTGRES), (JOBS, MLFLOW)}
PLATFORM = LOCAL | {(JOBS, OBJECTS), (JOBS, ZENML), (MLFLOW, OBJECTS)}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("overlays/local", LOCAL),
        ("overlays/local+../packages/fivestage/k8s/fetched-model", LOCAL | {(SERVING, MLFLOW)}),
        ("overlays/platform", PLATFORM),
        ("overlays/platform+../packages/fivestage/k8s/fetched-model", PLATFORM | {(SERVING, MLFLOW)}),
    ],
)
def test_each_reaches_what_it_needs_and_nothing_else(place: str, expected: set[tuple[str, str]]) -> None:
    resources = rendered(place)
    policies = of_kind(resources, "NetworkPolicy")
    there = dict(pods(resources))
    found = {
        (one, other)
        for one in (SERVING, JOBS, MLFLOW, ZENML, OBJECTS, POSTGRES)
        for other in (MLFLOW, ZENML, OBJECTS, POSTGRES)
        if one != other and {one, other} <= there.keys() and _reaches(policies, there[one], there[other])
    }
    assert found == expected


def _reaches(policies: list[Resource], source: Resource, target: Resource) -> bool:
    """Return whether one pod may connect to a named port of another."""
    out = _rules(policies, source, "egress")
    into = _rules(policies, target, "ingress")
    ports = [port for container in target["spec"]["containers"] for port in container.get("ports", [])]
    return any(
        any(_opens(rule, "to", target, port) for rule in out)
        and any(_opens(rule, "from", source, port) for rule in into)
        for port in ports
    )


def _rules(policies: Iterable[Resource], pod: Resource, direction: str) -> list[dict[str, Any]]:
    return [
        rule
        for policy in policies
        if _chosen(policy["spec"]["podSelector"], pod)
        for rule in policy["spec"].get(direction, [])
    ]


def _opens(rule: dict[str, Any], side: str, pod: Resource, port: dict[str, Any]) -> bool:
    peers = rule.get(side)
    known = {port["name"], port["containerPort"]}
    return (
        peers is None or any("podSelector" in one and _chosen(one["podSelector"], pod) for one in peers)
    ) and ("ports" not in rule or any(one["port"] in known for one in rule["ports"]))


def _chosen(selector: dict[str, Any], pod: Resource) -> bool:
    assert selector.keys() <= {"matchLabels"}
    return bool(selector.get("matchLabels", {}).items() <= pod["metadata"]["labels"].items())

"""Rules for our manifests beyond their schemas, as a list of violations."""

from collections.abc import Iterator
from typing import Any

from tools.tests.k8s.rendering import (
    WORKLOADS,
    Resource,
    called,
    containers,
    of_kind,
    pod_template,
    pods,
)

LONG_RUNNING = ("Deployment", "StatefulSet")
OUTSIDE = {"fivestage", "fivestage-tls"}  # Secrets that a person or cert-manager makes
ANSWER_SECONDS = 25  # for requests that are still being answered when the drain ends


def faults(resources: list[Resource]) -> Iterator[str]:
    """Yield all violations in a set of resources."""
    for check in (
        _pods,
        _jobs,
        _selectors,
        _services,
        _ingresses,
        _routes,
        _monitors,
        _guards,
        _policies,
        _references,
        _grace,
    ):
        yield from check(resources)


def unpinned(resources: list[Resource]) -> Iterator[str]:
    """Yield images without a digest or a fixed tag."""
    for name, pod in pods(resources):
        for container in containers(pod):
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            if "@sha256:" not in container["image"] and tag in {"", "latest"}:
                yield f"{name}: {container['image']}"


def _pods(resources: list[Resource]) -> Iterator[str]:
    granted = {one["name"] for binding in of_kind(resources, "RoleBinding") for one in binding["subjects"]}
    for workload in of_kind(resources, *WORKLOADS):
        pod = pod_template(workload)
        needed = pod["spec"].get("serviceAccountName") in granted
        if pod["spec"].get("automountServiceAccountToken") is not needed:
            yield (
                f"{called(workload)} mounts a token that it does not need"
                if not needed
                else f"{called(workload)} does not mount the token that it needs"
            )
        if pod["spec"].get("enableServiceLinks") is not False:
            yield f"{called(workload)} gets environment variables of other services"
        for container in containers(pod):
            name = f"{called(workload)}, container {container['name']}"
            given = container.get("resources", {})
            if not {"cpu", "memory"} <= set(given.get("requests", {})) or "memory" not in given.get(
                "limits", {}
            ):
                yield f"{name} lacks resource requests or a memory limit"
            if not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
                yield f"{name} has a writable root filesystem"
        if workload["kind"] in LONG_RUNNING:
            probes = ("startupProbe", "readinessProbe", "livenessProbe")
            for container in pod["spec"]["containers"]:
                for probe in [probe for probe in probes if probe not in container]:
                    yield f"{called(workload)}, container {container['name']} has no {probe}"


def _jobs(resources: list[Resource]) -> Iterator[str]:
    for job in of_kind(resources, "CronJob"):
        if job["spec"].get("concurrencyPolicy") != "Forbid":
            yield f"{called(job)} may run concurrently"
        if "activeDeadlineSeconds" not in job["spec"]["jobTemplate"]["spec"]:
            yield f"{called(job)} has no deadline"


def _selectors(resources: list[Resource]) -> Iterator[str]:
    long_running = of_kind(resources, *LONG_RUNNING)
    for workload in long_running:
        selector = workload["spec"]["selector"]["matchLabels"]
        for other in long_running:
            if _matches(selector, pod_template(other)) != (other is workload):
                verb = "does not select" if other is workload else "selects"
                yield f"{called(workload)} {verb} the pods of {called(other)}"


def _services(resources: list[Resource]) -> Iterator[str]:
    for service in of_kind(resources, "Service"):
        behind = [pod for _, pod in pods(resources) if _matches(service["spec"]["selector"], pod)]
        if not behind:
            yield f"{called(service)} has no pods"
        for port in service["spec"]["ports"]:
            yield from (
                f"{called(service)} targets the port {port['targetPort']!r}, which a pod does not have"
                for pod in behind
                if port["targetPort"] not in _ports(pod)
            )


def _ingresses(resources: list[Resource]) -> Iterator[str]:
    services = {one["metadata"]["name"]: one for one in of_kind(resources, "Service")}
    for ingress in of_kind(resources, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                ports = services.get(backend["name"], {}).get("spec", {}).get("ports", [])
                if backend["port"]["name"] not in {port["name"] for port in ports}:
                    yield f"{called(ingress)} routes {path['path']} to no Service"
                if path["pathType"] == "Prefix" and path["path"] == "/":
                    yield f"{called(ingress)} exposes the operators' paths"


def _routes(resources: list[Resource]) -> Iterator[str]:
    services = {one["metadata"]["name"]: one for one in of_kind(resources, "Service")}
    for route in of_kind(resources, "HTTPRoute"):
        for backend in [backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]]:
            ports = services.get(backend["name"], {}).get("spec", {}).get("ports", [])
            if backend["port"] not in {port["port"] for port in ports}:
                yield f"{called(route)} routes to {backend['name']}, which does not exist"


def _monitors(resources: list[Resource]) -> Iterator[str]:
    for monitor in of_kind(resources, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        chosen = [
            one for one in of_kind(resources, "Service") if _has_labels(selector, one["metadata"]["labels"])
        ]
        ports = {port["name"] for service in chosen for port in service["spec"]["ports"]}
        if len(chosen) != 1 or not {one["port"] for one in monitor["spec"]["endpoints"]} <= ports:
            yield f"{called(monitor)} does not select one Service and its ports"


def _guards(resources: list[Resource]) -> Iterator[str]:
    """Yield violations of disruption budgets and autoscalers."""
    for budget in of_kind(resources, "PodDisruptionBudget"):
        if not any(_matches(budget["spec"]["selector"]["matchLabels"], pod) for _, pod in pods(resources)):
            yield f"{called(budget)} has no pods"
    for scaler in of_kind(resources, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        found = [
            one for one in of_kind(resources, target["kind"]) if one["metadata"]["name"] == target["name"]
        ]
        if not found:
            yield f"{called(scaler)} has no target"
        yield from (
            f"{called(one)} sets replicas, although it has an autoscaler"
            for one in found
            if "replicas" in one["spec"]
        )
        if not 1 <= scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]:
            yield f"{called(scaler)} cannot scale"


def _policies(resources: list[Resource]) -> Iterator[str]:
    policies = of_kind(resources, "NetworkPolicy")
    if not any(
        one["spec"]["podSelector"] == {}
        and set(one["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not {"ingress", "egress"} & set(one["spec"])
        for one in policies
    ):
        yield "there is no default-deny policy"
    for policy in policies:
        chosen = [
            pod
            for _, pod in pods(resources)
            if _matches(policy["spec"]["podSelector"].get("matchLabels", {}), pod)
        ]
        if not chosen:
            yield f"{called(policy)} selects no pods"
        for rule in policy["spec"].get("ingress", []):
            for port in [port["port"] for port in rule["ports"] if isinstance(port["port"], str)]:
                if not all(port in _ports(pod) for pod in chosen):
                    yield f"{called(policy)} opens {port!r}, which a pod does not have"


def _references(resources: list[Resource]) -> Iterator[str]:
    existing = {(one["kind"], one["metadata"]["name"]) for one in resources}
    for name, pod in pods(resources):
        account = pod["spec"].get("serviceAccountName")
        required = {("ServiceAccount", account)} if account else set()
        for container in containers(pod):
            for source in container.get("envFrom", []):
                for kind, field in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                    if field in source:
                        required.add((kind, source[field]["name"]))
        for volume in pod["spec"].get("volumes", []):
            if "configMap" in volume:
                required.add(("ConfigMap", volume["configMap"]["name"]))
            if "persistentVolumeClaim" in volume:
                required.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
        yield from (
            f"{name} needs the {kind} {missing}, which does not exist"
            for kind, missing in sorted(required - existing)
            if not (kind == "Secret" and missing in OUTSIDE)
        )


def _grace(resources: list[Resource]) -> Iterator[str]:
    for deployment in of_kind(resources, "Deployment"):
        pod = pod_template(deployment)["spec"]
        (container,) = pod["containers"]
        if container["name"] == "serving":
            name = container["envFrom"][0]["configMapRef"]["name"]
            settings = [one for one in of_kind(resources, "ConfigMap") if one["metadata"]["name"] == name]
            drain = sum(float(one["data"]["SERVE_DRAIN_SECONDS"]) for one in settings)
            before = container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain
            if pod["terminationGracePeriodSeconds"] < before + ANSWER_SECONDS:
                yield f"{called(deployment)} is killed before it has drained"


def _matches(labels: dict[str, str], pod: Resource) -> bool:
    return _has_labels(labels, pod["metadata"]["labels"])


def _has_labels(labels: dict[str, str], worn: dict[str, str]) -> bool:
    return labels.items() <= worn.items()


def _ports(pod: Resource) -> set[Any]:
    return {port["name"] for container in pod["spec"]["containers"] for port in container.get("ports", [])}

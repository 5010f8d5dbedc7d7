"""The `restricted` Pod Security Standard, which the namespaces enforce, as a list of violations.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (of Kubernetes 1.34).
"""

from collections.abc import Iterator

from tools.tests.k8s.rendering import Resource, containers

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"}
VOLUMES |= {"persistentVolumeClaim", "projected", "secret"}
HANDLERS = ("startupProbe", "readinessProbe", "livenessProbe")


def violations(pod: Resource) -> Iterator[str]:
    """Yield the settings of a pod that `restricted` forbids."""
    spec = pod["spec"]
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes", []):
        yield from (f"volume of kind {kind}" for kind in set(volume) - {"name"} - VOLUMES)
    shared = spec.get("securityContext", {})
    if shared.get("sysctls"):
        yield "sysctls"
    for container in containers(pod):
        name = container["name"]
        yield from (f"{name}: {fault}" for fault in _container(container, shared))


def _container(container: Resource, shared: Resource) -> Iterator[str]:
    own = container.get("securityContext", {})
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"
    handlers = [container.get(name, {}) for name in HANDLERS]
    handlers += container.get("lifecycle", {}).values()
    if any("host" in handler.get(kind, {}) for handler in handlers for kind in ("httpGet", "tcpSocket")):
        yield "a probe of another host"
    yield from _capabilities(own.get("capabilities", {}))
    yield from _identity(shared | own)


def _capabilities(capabilities: Resource) -> Iterator[str]:
    if "ALL" not in capabilities.get("drop", []):
        yield "keeps capabilities"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "adds capabilities"


def _identity(holding: Resource) -> Iterator[str]:
    if holding.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if holding.get("runAsUser") == 0:
        yield "runs as root"
    if holding.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "seccompProfile"
    if holding.get("appArmorProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield "appArmorProfile"
    if set(holding.get("seLinuxOptions", {})) & {"user", "role"}:
        yield "seLinuxOptions"

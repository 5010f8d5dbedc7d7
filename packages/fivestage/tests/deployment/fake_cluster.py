"""A fake cluster that stores the objects applied to it, and whose Deployments roll out at once or never."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fivestage.common.errors import UserError
from fivestage.deployment.kubectl import Cluster, Manifest
from fivestage.deployment.rollout import HASH, REVISION

LABELS = {
    "app.kubernetes.io/name": "fivestage",
    "app.kubernetes.io/component": "serving",
    "fivestage/track": "stable",
}


def manifests(image: str = "fivestage-serving:1", **settings: str) -> list[Manifest]:
    """Return a small set of manifests as rendered from an overlay."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fivestage"}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"settings-{len(settings)}", "namespace": "fivestage"},
            "data": settings,
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "fivestage", "namespace": "fivestage"},
            "stringData": {"SERVE_API_KEYS": "secret"},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "fivestage", "namespace": "fivestage", "labels": dict(LABELS)},
            "spec": {
                "selector": {"matchLabels": dict(LABELS)},
                "template": {
                    "metadata": {"labels": dict(LABELS)},
                    "spec": {"containers": [{"name": "serving", "image": image}]},
                },
            },
        },
    ]


@dataclass(frozen=True)
class FakeCluster(Cluster):
    """Stores objects by kind and name, and records calls in `did`.

    Images in `broken` never become ready, and `ports` has the local port of each image. A port forwarded to a
    target in `misrouted` leads to that port instead. Pods in `unready` precede the stable one.
    """

    overlay: list[Manifest] = field(default_factory=manifests)
    objects: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    misrouted: dict[str, int] = field(default_factory=dict)
    unready: list[str] = field(default_factory=list)
    did: list[str] = field(default_factory=list)

    def run(self, *arguments: str, stdin: str = "", timeout: float = 60) -> str:  # noqa: ARG002
        self.did.append(" ".join(arguments))
        return ""

    def render(self, overlay: Path) -> list[Manifest]:  # noqa: ARG002
        return self.overlay

    def apply(self, manifests: Sequence[Manifest], *, dry_run: bool = False) -> list[str]:
        for one in manifests if not dry_run else ():
            key = one["kind"].lower(), one["metadata"]["name"]
            old = self.objects.get(key, {})
            if one["kind"] == "Deployment":
                self.did.append(f"apply {key[1]} {self.image(one)}")
            self.objects[key] = {**old, **one}
        return self.warnings if dry_run else []

    def get(self, kind: str, name: str) -> Manifest | None:
        found = self.objects.get((kind, name))
        if found is None or kind != "deployment":
            return found
        running = int(self.image(found) not in self.broken)
        own = found["metadata"] | {"uid": name, "generation": 1, "annotations": {REVISION: "1"}}
        status = {
            "observedGeneration": 1,
            "replicas": 1,
            "updatedReplicas": running,
            "availableReplicas": running,
        }
        return found | {"metadata": own, "status": status}

    def find(self, kind: str, labels: Mapping[str, str]) -> list[Manifest]:
        if kind == "configmaps":
            return [
                one
                for (of, _), one in self.objects.items()
                if of == "configmap" and labels.items() <= one["metadata"].get("labels", {}).items()
            ]
        track = {"stable": "fivestage", "canary": "fivestage-canary"}[labels["fivestage/track"]]
        if kind == "replicasets":
            about = {
                "annotations": {REVISION: "1"},
                "labels": {HASH: "h"},
                "ownerReferences": [{"uid": track}],
            }
            return [{"metadata": about}]
        image = self.image(self.objects["deployment", track])
        broken = image in self.broken
        state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}} if broken else {}
        container = {
            "name": "serving",
            "imageID": f"sha256:{image}",
            "ready": not broken,
            "started": not broken,
            "restartCount": 0,
            "state": state,
        }
        status = {
            "conditions": [{"type": "Ready", "status": str(not broken)}],
            "containerStatuses": [container],
        }
        unready = status | {"conditions": [{"type": "Ready", "status": "False"}]}
        others = [{"metadata": {"name": name}, "status": unready} for name in self.unready]
        return [
            *(others if track == "fivestage" else []),
            {"metadata": {"name": f"{track}-0"}, "status": status},
        ]

    def create(self, manifest: Manifest) -> None:
        key = manifest["kind"].lower(), manifest["metadata"]["name"]
        if key in self.objects:
            raise UserError(f"{key} exists already.")
        self.objects[key] = manifest

    def replace(self, manifest: Manifest) -> None:
        self.objects[manifest["kind"].lower(), manifest["metadata"]["name"]] = manifest

    def delete(self, kind: str, name: str, *, wait: bool = False) -> None:  # noqa: ARG002
        self.did.append(f"delete {kind} {name}")
        self.objects.pop((kind.partition(".")[0].lower(), name), None)

    @contextmanager
    def forward(self, target: str, port: int) -> Iterator[int]:  # noqa: ARG002
        track = "fivestage-canary" if "canary" in target else "fivestage"
        yield self.misrouted.get(target) or self.ports[self.image(self.objects["deployment", track])]

    @staticmethod
    def image(deployment: Manifest) -> Any:
        return deployment["spec"]["template"]["spec"]["containers"][0]["image"]

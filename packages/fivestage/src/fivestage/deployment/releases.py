"""What was released to a cluster: a ConfigMap each, with the manifests to go back to, and a line in var/."""

import getpass
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import yaml
from pydantic import TypeAdapter

from fivestage.common.errors import UserError
from fivestage.common.settings import VAR
from fivestage.deployment.kubectl import Cluster, Manifest

KEPT = 10  # releases with their manifests
STALE = timedelta(minutes=30)  # a release that was going on for longer has been killed
HISTORY = VAR / "releases.jsonl"
LABELS = {"app.kubernetes.io/part-of": "fivestage", "app.kubernetes.io/component": "release"}
Outcome = Literal["going", "serving", "failed"]


@dataclass(frozen=True)
class Release:
    """What was brought into service, by whom, when and why; `previous` is what a rollback goes back to."""

    number: int
    previous: int  # 0: nothing
    outcome: Outcome
    image: str
    digest: str  # of the image, as the nodes run it; empty until they do
    model: str  # the version in the registry
    model_digest: str
    contract: str
    commit: str
    overlay: str
    who: str
    when: str
    why: str
    failed: str = ""  # the check that failed, and how

    @property
    def name(self) -> str:
        """Of its ConfigMap."""
        return f"fivestage-release-{self.number:04}"


@dataclass(frozen=True)
class Kept:
    """A release and the manifests that make it."""

    release: Release
    manifests: tuple[Manifest, ...]


def operator() -> str:
    """Who is at work: the actor of a CI run, or the user of this machine."""
    actor = os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN")
    return actor or f"{getpass.getuser()}@{socket.gethostname()}"


def now() -> str:
    """The moment, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def history(cluster: Cluster) -> list[Kept]:
    """The releases that the cluster remembers, the oldest first."""
    found = [
        Kept(
            TypeAdapter(Release).validate_json(one["data"]["release.json"]),
            tuple(yaml.safe_load_all(one["data"]["manifests.yaml"])),
        )
        for one in cluster.find("configmaps", LABELS)
    ]
    return sorted(found, key=lambda kept: kept.release.number)


def serving(past: Sequence[Kept]) -> Kept | None:
    """The release that serves: the last that passed every check."""
    return next((kept for kept in reversed(past) if kept.release.outcome == "serving"), None)


def before(past: Sequence[Kept]) -> Kept:
    """The release to go back to.

    Raises:
        UserError: when there is none.
    """
    current = serving(past)
    if current is None:
        raise UserError("No release serves here: deploy one first.")
    for kept in past:
        if kept.release.number == current.release.previous:
            return kept
    raise UserError(f"Nothing is known from before release {current.release.number}: there is no way back.")


def begin(cluster: Cluster, past: Sequence[Kept], release: Release, manifests: Sequence[Manifest]) -> Release:
    """Take the next number for a release that goes on now; nobody else can begin until it has ended.

    Raises:
        UserError: when another is going on.
    """
    for other in (kept.release for kept in past):
        if other.outcome == "going" and datetime.fromisoformat(other.when) > datetime.now(UTC) - STALE:
            raise UserError(
                f"Release {other.number} is going on, begun by {other.who} at {other.when}: wait for it."
            )
    begun = replace(release, number=past[-1].release.number + 1 if past else 1, outcome="going")
    cluster.create(_configmap(cluster, begun, manifests))
    return begun


def end(cluster: Cluster, release: Release, manifests: Sequence[Manifest]) -> None:
    """Record how a release went, here and in the cluster, and forget the oldest."""
    with_outcome = _configmap(cluster, release, manifests if release.outcome == "serving" else ())
    cluster.replace(with_outcome)
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    with HISTORY.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(release)) + "\n")
    for kept in history(cluster)[:-KEPT]:
        if kept.release.number not in (release.number, release.previous):
            cluster.delete("configmap", kept.release.name)


def _configmap(cluster: Cluster, release: Release, manifests: Sequence[Manifest]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": release.name, "namespace": cluster.namespace, "labels": LABELS},
        "data": {
            "release.json": json.dumps(asdict(release), indent=1),
            "manifests.yaml": yaml.safe_dump_all(m for m in manifests if m["kind"] != "Secret"),
        },
    }

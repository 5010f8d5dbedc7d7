"""The history of releases: a ConfigMap each, with the manifests to go back to, and a line in var/."""

import getpass
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import yaml
from pydantic import TypeAdapter

from fivestage.common.errors import UserError
from fivestage.common.settings import VAR
from fivestage.deployment.kubectl import Cluster, Manifest

KEPT = 10  # releases with their manifests
ABANDONED_AFTER = timedelta(minutes=30)  # a release that has not ended by then was killed
HISTORY = VAR / "releases.jsonl"
LABELS = {"app.kubernetes.io/part-of": "fivestage", "app.kubernetes.io/component": "release"}


@dataclass(frozen=True)
class Release:
    """What was brought into service, by whom, when and why.

    Attributes:
        number: Counted from 1 in a namespace.
        previous: Number of the release that a rollback returns to; 0 if there is none.
        outcome: "going" while it is being carried out.
        image: Name and tag, or digest, as in the manifests.
        digest: Of the image as the nodes run it; empty until they do.
        model: Version in the registry.
        model_digest: SHA-256 of the version's artifact.
        contract: SHA-256 of the contract that it was trained by.
        commit: Of the code that trained it.
        overlay: Name of the kustomize overlay.
        who: The user or CI actor.
        when: Its beginning, in ISO 8601.
        why: The reason given.
        failed: The check that failed, and how.
    """

    number: int
    previous: int
    outcome: Literal["going", "serving", "failed"]
    image: str
    digest: str
    model: str
    model_digest: str
    contract: str
    commit: str
    overlay: str
    who: str
    when: str
    why: str
    failed: str = ""

    @property
    def name(self) -> str:
        """The name of its ConfigMap."""
        return f"fivestage-release-{self.number:04}"


@dataclass(frozen=True)
class RecordedRelease:
    """A release and the manifests that it applied."""

    release: Release
    manifests: tuple[Manifest, ...]


def operator() -> str:
    """Return who is at work: the actor of a CI run, or the user of this machine."""
    actor = os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN")
    return actor or f"{getpass.getuser()}@{socket.gethostname()}"


def now() -> str:
    """Return the current time in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def history(cluster: Cluster) -> list[RecordedRelease]:
    """Return the releases that the cluster keeps, the oldest first.

    Args:
        cluster: Whose ConfigMaps hold the releases, in one namespace.

    Returns:
        Each release with the manifests that it applied, without Secrets; none for one that failed.

    Raises:
        UserError: When kubectl fails, is not installed or takes too long.
    """
    found = [
        RecordedRelease(
            TypeAdapter(Release).validate_json(one["data"]["release.json"]),
            tuple(yaml.safe_load_all(one["data"]["manifests.yaml"])),
        )
        for one in cluster.find("configmaps", LABELS)
    ]
    return sorted(found, key=lambda recorded: recorded.release.number)


def serving_release(past: Sequence[RecordedRelease]) -> RecordedRelease | None:
    """Return the release that serves, which is the last one that passed every check."""
    return next((one for one in reversed(past) if one.release.outcome == "serving"), None)


def rollback_target(past: Sequence[RecordedRelease]) -> RecordedRelease:
    """Return the release that a rollback goes back to.

    Args:
        past: All of them, as `history` returns them.

    Returns:
        The one before the release that serves.

    Raises:
        UserError: When there is none.
    """
    current = serving_release(past)
    if current is None:
        raise UserError("No release serves here: deploy one first.")
    for one in past:
        if one.release.number == current.release.previous:
            return one
    raise UserError(f"Nothing is known from before release {current.release.number}: there is no way back.")


def begin(
    cluster: Cluster, past: Sequence[RecordedRelease], draft: Release, manifests: Sequence[Manifest]
) -> Release:
    """Give a release the next number and record it; no other can begin until it has ended."""
    for other in (one.release for one in past):
        if (
            other.outcome == "going"
            and datetime.fromisoformat(other.when) > datetime.now(UTC) - ABANDONED_AFTER
        ):
            raise UserError(
                f"Release {other.number} is going on, begun by {other.who} at {other.when}: wait for it."
            )
    begun = replace(draft, number=past[-1].release.number + 1 if past else 1, outcome="going")
    cluster.create(_configmap(cluster, begun, manifests))
    return begun


def end(cluster: Cluster, release: Release, manifests: Sequence[Manifest]) -> None:
    """Record how a release ended, here and in the cluster, and delete the oldest records."""
    cluster.replace(_configmap(cluster, release, manifests if release.outcome == "serving" else ()))
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    with HISTORY.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(release)) + "\n")
    for one in history(cluster)[:-KEPT]:
        if one.release.number not in (release.number, release.previous):
            cluster.delete("configmap", one.release.name)


@contextmanager
def failure_recorded(cluster: Cluster, release: Release) -> Iterator[None]:
    """Record a release as failed when what is done within raises, an interruption included."""
    try:
        yield
    except BaseException as error:
        end(cluster, replace(release, outcome="failed", failed=str(error) or type(error).__name__), ())
        raise


def _configmap(cluster: Cluster, release: Release, manifests: Sequence[Manifest]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": release.name, "namespace": cluster.namespace, "labels": LABELS},
        "data": {
            "release.json": json.dumps(asdict(release), indent=1),
            "manifests.yaml": yaml.safe_dump_all(one for one in manifests if one["kind"] != "Secret"),
        },
    }

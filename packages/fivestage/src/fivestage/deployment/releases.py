"""The history of releases: a ConfigMap each, with the manifests to go back to, and a line in var/."""

import getpass
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from fivestage.common.errors import UserError
from fivestage.common.settings import VAR
from fivestage.deployment.kubectl import Cluster, Manifest

KEPT = 10  # releases with their manifests
ABANDONED_AFTER = timedelta(minutes=30)  # a release that has not ended by then was killed
HISTORY = VAR / "releases.jsonl"
LABELS = {"app.kubernetes.io/part-of": "fivestage", "app.kubernetes.io/component": "release"}


def operator() -> str:
    """Return who is at work: the actor of a CI run, or the user of this machine."""
    actor = os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN")
    return actor or f"{getpass.getuser()}@{socket.gethostname()}"


def now() -> str:
    """Return the current time in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Release(BaseModel):
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
        compared: A sentence for each check of its canary; none where there was nothing to compare with.
        manifests: What it applied; the record in the cluster has them, without Secrets, if it serves.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    number: int = 0
    previous: int
    outcome: Literal["going", "serving", "failed"] = "going"
    image: str
    digest: str = ""
    model: str
    model_digest: str
    contract: str
    commit: str
    overlay: str
    who: str = Field(default_factory=operator)
    when: str = Field(default_factory=now)
    why: str
    failed: str = ""
    compared: tuple[str, ...] = ()
    manifests: tuple[Manifest, ...] = Field(default=(), exclude=True, repr=False)

    @property
    def name(self) -> str:
        """The name of its ConfigMap."""
        return f"fivestage-release-{self.number:04}"


def history(cluster: Cluster) -> list[Release]:
    """Return the releases that the cluster keeps, the oldest first."""
    found = [
        Release.model_validate(
            json.loads(one["data"]["release.json"])
            | {"manifests": tuple(yaml.safe_load_all(one["data"]["manifests.yaml"]))}
        )
        for one in cluster.find("configmaps", LABELS)
    ]
    return sorted(found, key=lambda one: one.number)


def serving_release(past: Sequence[Release]) -> Release | None:
    """Return the release that serves, which is the last one that passed every check."""
    return next((one for one in reversed(past) if one.outcome == "serving"), None)


def rollback_target(past: Sequence[Release]) -> Release:
    """Return the release that a rollback goes back to."""
    current = serving_release(past)
    if current is None:
        raise UserError("No release serves here: deploy one first.")
    for one in past:
        if one.number == current.previous:
            return one
    raise UserError(f"Nothing is known from before release {current.number}: there is no way back.")


def begin(cluster: Cluster, past: Sequence[Release], draft: Release) -> Release:
    """Give a release the next number and record it; no other can begin until it has ended."""
    for other in past:
        when = datetime.fromisoformat(other.when)
        if other.outcome == "going" and when > datetime.now(UTC) - ABANDONED_AFTER:
            raise UserError(
                f"Release {other.number} is going on, begun by {other.who} at {other.when}: wait for it."
            )
    begun = draft.model_copy(update={"number": past[-1].number + 1 if past else 1})
    cluster.create(_configmap(cluster, begun))
    return begun


def end(cluster: Cluster, release: Release) -> None:
    """Record how a release ended, here and in the cluster, and delete the oldest records."""
    cluster.replace(_configmap(cluster, release))
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    with HISTORY.open("a", encoding="utf-8") as lines:
        lines.write(release.model_dump_json() + "\n")
    for one in history(cluster)[:-KEPT]:
        if one.number not in (release.number, release.previous):
            cluster.delete("configmap", one.name)


@contextmanager
def failure_recorded(cluster: Cluster, release: Release) -> Iterator[None]:
    """Record a release as failed when what is done within raises, an interruption included."""
    try:
        yield
    except BaseException as error:
        reason = str(error) or type(error).__name__
        end(cluster, release.model_copy(update={"outcome": "failed", "failed": reason, "manifests": ()}))
        raise


def _configmap(cluster: Cluster, release: Release) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": release.name, "namespace": cluster.namespace, "labels": LABELS},
        "data": {
            "release.json": release.model_dump_json(indent=1),
            "manifests.yaml": yaml.safe_dump_all(one for one in release.manifests if one["kind"] != "Secret"),
        },
    }

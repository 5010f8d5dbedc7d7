"""The release history: one ConfigMap per release, with its manifests for rollback, and a log under var/."""

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

KEPT = 10  # releases whose manifests are kept
ABANDONED_AFTER = timedelta(minutes=30)  # a release still going after this time was killed
HISTORY = VAR / "releases.jsonl"
LABELS = {"app.kubernetes.io/part-of": "fivestage", "app.kubernetes.io/component": "release"}


def operator() -> str:
    """Return who is releasing: the actor of a CI run, or the user on this machine."""
    actor = os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN")
    return actor or f"{getpass.getuser()}@{socket.gethostname()}"


class Release(BaseModel):
    """A release: what was deployed, by whom, when and why."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    number: int = 0  # counted from 1 in each namespace
    previous: int  # number of the release that a rollback returns to; 0 if there is none
    outcome: Literal["going", "serving", "failed"] = "going"  # "going" while it is in progress
    image: str  # name and tag, or digest, as in the manifests
    digest: str = ""  # of the image that the nodes run; empty until they do
    model: str  # version in the registry
    model_digest: str  # SHA-256 of the version's artifact
    contract: str  # SHA-256 of the contract that the version was trained on
    commit: str  # commit of the training code
    overlay: str  # name of the kustomize overlay
    who: str = ""  # the user or CI actor
    when: str = ""  # start time in ISO 8601
    why: str  # the reason given
    failed: str = ""  # the check that failed, and its reason
    compared: tuple[str, ...] = ()  # a sentence per canary check; empty without a version to compare with
    # The applied manifests; the cluster keeps them, without Secrets, unless the release failed.
    manifests: tuple[Manifest, ...] = Field(default=(), exclude=True, repr=False)

    @property
    def name(self) -> str:
        """The name of the release's ConfigMap."""
        return f"fivestage-release-{self.number:04}"


def history(cluster: Cluster) -> list[Release]:
    """Return the releases that the cluster keeps, the oldest first."""
    releases = [
        Release.model_validate(
            json.loads(one["data"]["release.json"])
            | {"manifests": tuple(yaml.safe_load_all(one["data"]["manifests.yaml"]))}
        )
        for one in cluster.find("configmaps", LABELS)
    ]
    return sorted(releases, key=lambda release: release.number)


def serving_release(past: Sequence[Release]) -> Release | None:
    """Return the release that serves: the last one that passed every check."""
    return next((one for one in reversed(past) if one.outcome == "serving"), None)


def rollback_target(past: Sequence[Release]) -> Release:
    """Return the release that a rollback goes back to."""
    current = serving_release(past)
    if current is None:
        raise UserError("No release is serving: deploy one first.")
    for one in past:
        if one.number == current.previous:
            return one
    raise UserError(
        f"There is no record of a release before release {current.number}: rollback is impossible."
    )


@contextmanager
def recorded(cluster: Cluster, past: Sequence[Release], draft: Release) -> Iterator[Release]:
    """Begin a release: record it with the next number, and as failed if the block raises or is interrupted.

    No other release can begin until this one ends.
    """
    for other in past:
        when = datetime.fromisoformat(other.when)
        if other.outcome == "going" and when > datetime.now(UTC) - ABANDONED_AFTER:
            raise UserError(
                f"Release {other.number} is in progress, started by {other.who} at {other.when}: wait for it."
            )
    begun = draft.model_copy(
        update={
            "number": past[-1].number + 1 if past else 1,
            "outcome": "going",
            "who": operator(),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "compared": (),
        }
    )
    cluster.create(_configmap(cluster, begun))
    try:
        yield begun
    except BaseException as error:
        reason = str(error) or type(error).__name__
        end(cluster, begun.model_copy(update={"outcome": "failed", "failed": reason, "manifests": ()}))
        raise


def end(cluster: Cluster, release: Release) -> None:
    """Record the outcome of a release in the cluster and in var/, and delete the oldest records."""
    cluster.replace(_configmap(cluster, release))
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    with HISTORY.open("a", encoding="utf-8") as lines:
        lines.write(release.model_dump_json() + "\n")
    for one in history(cluster)[:-KEPT]:
        if one.number not in (release.number, release.previous):
            cluster.delete("configmap", one.name)


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

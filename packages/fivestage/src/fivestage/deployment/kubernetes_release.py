"""Release a version to Kubernetes: compare a canary with what serves, replace it, or put back what served."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.deployment.canary import (
    CanaryCheck,
    Traffic,
    compare,
    parse_traffic,
    probe_in_turns,
)
from fivestage.deployment.kubectl import Cluster, Manifest
from fivestage.deployment.release_manifests import (
    PREREQUISITES,
    annotated,
    canary_of,
    namespace_of,
    removed,
    serving_container,
    serving_deployment,
)
from fivestage.deployment.releases import (
    RecordedRelease,
    Release,
    begin,
    end,
    failure_recorded,
    history,
    now,
    operator,
    rollback_target,
    serving_release,
)
from fivestage.deployment.rollout import newest_pods, wait_for_rollout
from fivestage.deployment.service_client import headers, smoke, smoke_rows
from fivestage.registry.versions import ModelRegistry
from fivestage.serving.service_settings import Settings

PROBE_ROUNDS = 10  # of the smoke rows, to each version: enough to see one failure in a hundred
SERVICE_PORT, POD_PORT = 80, 8000


class ReleaseCheckError(UserError):
    """A check that a release did not pass; `check` is its name."""

    def __init__(self, check: str, sentence: str) -> None:
        super().__init__(f"The check `{check}` failed: {sentence}")
        self.check = check


@dataclass(frozen=True)
class ReleasePlan:
    """What to release, and how long to wait for it.

    Attributes:
        overlay: Folder of a kustomize overlay.
        image: Image of the service; the overlay's own if empty.
        why: Reason, for the record.
        wait_seconds: Longest time that a rollout may take.
        bake_seconds: Time that the canary shares the live traffic for.
        accept: Name of a check that the canary need not pass, as where predictions are meant to differ.
    """

    overlay: Path
    image: str
    why: str
    wait_seconds: float = 300
    bake_seconds: float = 30
    accept: str = ""


@dataclass(frozen=True)
class ReleasedModel:
    """A version in the registry, and raw rows with the predictions that it must answer them with.

    Attributes:
        version: Its version in the registry.
        digest: SHA-256 of its artifact.
        contract: SHA-256 of the contract that it was trained by.
        commit: Of the code that trained it.
        rows: Raw rows as a client writes them in JSON.
        predictions: The numbers of each row's prediction, computed offline.
    """

    version: str
    digest: str
    contract: str
    commit: str
    rows: Sequence[Mapping[str, Any]]
    predictions: Sequence[Sequence[float]]


@dataclass(frozen=True)
class _Replacement:
    """The manifests and the model that are to serve, and what served before them."""

    manifests: Sequence[Manifest]
    model: ReleasedModel
    settings: Settings
    current: RecordedRelease | None
    existing: Manifest | None  # the Deployment, whoever made it
    wait_seconds: float

    @property
    def name(self) -> str:
        """The name of the Deployment, which is that of the Service too."""
        return str(serving_deployment(self.manifests)["metadata"]["name"])

    @property
    def current_manifests(self) -> Sequence[Manifest]:
        """Those of the release that serves."""
        return self.current.manifests if self.current else ()


def release(
    cluster: Cluster, plan: ReleasePlan, model: ReleasedModel, contract: Contract, settings: Settings
) -> tuple[Release, list[CanaryCheck]]:
    """Bring a version into service if it passes every check, and else leave or put back what served.

    Args:
        cluster: Where to.
        plan: What to release.
        model: What its image must serve.
        contract: With the objectives that the canary must keep.
        settings: Of the service, for its API keys.

    Returns:
        The release, and the canary's checks (none for a first release).

    Raises:
        ReleaseCheckError: When a check fails.
        UserError: When another release is being carried out.
    """
    annotations = {"model-version": model.version, "contract": model.contract[:12]}
    cause = plan.why or f"model {model.version}"
    manifests = annotated(cluster.render(plan.overlay), plan.image, annotations, cause)
    with _check("manifests"):
        cluster.apply([one for one in manifests if one["kind"] == "Namespace"])
        for warning in cluster.apply(manifests, dry_run=True):
            if "PodSecurity" in warning:
                raise UserError(warning)
    past, name = history(cluster), serving_deployment(manifests)["metadata"]["name"]
    current, existing = serving_release(past), cluster.get("deployment", name)
    new = _Replacement(manifests, model, settings, current, existing, plan.wait_seconds)
    draft = Release(
        number=0,
        previous=current.release.number if current else 0,
        outcome="going",
        image=str(serving_container(manifests)["image"]),
        digest="",
        model=model.version,
        model_digest=model.digest,
        contract=model.contract,
        commit=model.commit,
        overlay=plan.overlay.name,
        who=operator(),
        when=now(),
        why=plan.why,
    )
    begun = begin(cluster, past, draft, manifests)
    with failure_recorded(cluster, begun):
        checks: list[CanaryCheck] = []
        if existing is not None and existing.get("status", {}).get("availableReplicas"):
            checks = _try_canary(cluster, new, existing, contract, plan)
        digest = _replace(cluster, new, begun.image)
    return _finish(cluster, new, begun, digest), checks


def roll_back(
    cluster: Cluster, model: ReleasedModel, settings: Settings, why: str, wait_seconds: float = 300
) -> Release:
    """Return to the release before: its manifests, its image, and the model in it.

    Args:
        cluster: Where.
        model: The model of the release before, as `rollback_target` names it.
        settings: Of the service, for its API keys.
        why: Reason, for the record.
        wait_seconds: Longest time that the rollout may take.

    Returns:
        A release with a number of its own.

    Raises:
        UserError: When there is no release before.
        ReleaseCheckError: When it does not serve as it did; what served until now then stays.
    """
    past = history(cluster)
    target, current = rollback_target(past), serving_release(past)
    existing = cluster.get("deployment", serving_deployment(target.manifests)["metadata"]["name"])
    new = _Replacement(target.manifests, model, settings, current, existing, wait_seconds)
    reason = f"back from release {current.release.number if current else 0}: {why}".strip(": ")
    draft = replace(target.release, who=operator(), when=now(), why=reason)
    begun = begin(cluster, past, draft, target.manifests)
    with failure_recorded(cluster, begun):
        digest = _replace(cluster, new, begun.image, target.release.digest)
    return _finish(cluster, new, begun, digest)


def smoke_service(
    cluster: Cluster, overlay: Path, model: ReleasedModel, settings: Settings, wait_seconds: float = 300
) -> float:
    """Wait for the rollout of an overlay's Deployment, and post raw rows through its Service.

    Args:
        cluster: Where it runs.
        overlay: Folder of the kustomize overlay.
        model: What it must serve.
        settings: Of the service, for its API keys.
        wait_seconds: Longest time that the rollout may take.

    Returns:
        The largest difference of its answers from the offline ones, as `smoke` measures it.

    Raises:
        ReleaseCheckError: When the rollout, the model that is served or its answers are not as they must be.
    """
    name = serving_deployment(cluster.render(overlay))["metadata"]["name"]
    with _check("rollout"):
        wait_for_rollout(cluster, name, wait_seconds)
    with _check("smoke"), _client(cluster, f"service/{name}", SERVICE_PORT, settings) as client:
        return _smoke_model(client, model, settings)


def cluster_of(overlay: Path, context: str = "") -> Cluster:
    """Return the namespace that an overlay deploys to.

    Args:
        overlay: Folder of the kustomize overlay.
        context: Context of the kubeconfig file; the current one if empty.
    """
    return Cluster(namespace_of(Cluster("default", context).render(overlay)), context)


def released_model(name: str, version: str) -> ReleasedModel:
    """Return a registered version with the rows and predictions that its artifact carries.

    Args:
        name: Of the model in the registry.
        version: Its version.

    Raises:
        UserError: When the registry does not have it.
    """
    found, artifact = ModelRegistry(name).open(version)
    contract, rows = artifact.lineage.contract, smoke_rows(artifact)
    return ReleasedModel(found.version, found.digest, contract, found.commit, *rows)


def _try_canary(
    cluster: Cluster, new: _Replacement, existing: Manifest, contract: Contract, plan: ReleasePlan
) -> list[CanaryCheck]:
    """Let one new pod share the traffic, compare it with the stable ones, and delete it."""
    canary = canary_of(new.manifests)
    prerequisites = [one for one in new.manifests if one["kind"] in PREREQUISITES]
    try:
        with _check("canary rollout"):
            cluster.apply([*prerequisites, canary])
            pod = wait_for_rollout(cluster, canary["metadata"]["name"], new.wait_seconds)[0]
        with ExitStack() as forwarded:
            mine, *others = [
                forwarded.enter_context(
                    _client(cluster, f"pod/{one['metadata']['name']}", POD_PORT, new.settings)
                )
                for one in (pod, *newest_pods(cluster, existing))
            ]
            with _check("canary smoke"):
                _smoke_model(mine, new.model, new.settings)
            baked_at = time.monotonic() + plan.bake_seconds
            before = [_traffic([mine]), _traffic(others)]
            probes = probe_in_turns([mine, others[0]], new.model.rows, PROBE_ROUNDS)
            time.sleep(max(0.0, baked_at - time.monotonic()))
            after = [_traffic([mine]), _traffic(others)]
        live = [one.since(other) for one, other in zip(after, before, strict=True)]
        mine_seen, stable_seen = (
            replace(one, traffic=traffic) for one, traffic in zip(probes, live, strict=True)
        )
        checks = compare(mine_seen, stable_seen, contract)
        for check in checks:
            if not check.passed and check.name != plan.accept:
                raise ReleaseCheckError(
                    f"canary {check.name}",
                    f"{check.sentence}. If that is as it should be, release with --accept {check.name}.",
                )
        return checks
    finally:
        cluster.delete("deployment", canary["metadata"]["name"])


def _replace(cluster: Cluster, new: _Replacement, image: str, expected_digest: str = "") -> str:
    """Apply the manifests and check what then serves, or put back what did; return the image's digest."""
    try:
        digest = _apply(cluster, new)
        with _check("image"):
            _require_same_image(image, digest, expected_digest)
    except BaseException:  # an interruption too: what has not passed its checks must not stay
        _put_back(cluster, new)
        raise
    return digest


def _finish(cluster: Cluster, new: _Replacement, begun: Release, digest: str) -> Release:
    """Record that the release serves, then delete what it no longer has."""
    done = replace(begun, outcome="serving", digest=digest)
    end(cluster, done, new.manifests)
    _delete_removed(cluster, new.current_manifests, new.manifests)
    return done


def _apply(cluster: Cluster, new: _Replacement) -> str:
    """Apply the manifests, post raw rows through the Service, and return the digest of the running image."""
    with _check("rollout"):
        cluster.apply(new.manifests)
        pods = wait_for_rollout(cluster, new.name, new.wait_seconds)
    with _check("smoke"), _client(cluster, f"service/{new.name}", SERVICE_PORT, new.settings) as client:
        _smoke_model(client, new.model, new.settings)
    digests = {status["imageID"] for pod in pods for status in pod["status"]["containerStatuses"][:1]}
    return ", ".join(sorted(digests))


def _require_same_image(image: str, digest: str, expected: str) -> None:
    if expected and digest != expected:
        raise UserError(f"{image} was {expected} and is now {digest}: name images by digest, a tag can move.")


def _put_back(cluster: Cluster, new: _Replacement) -> None:
    """Put back the last release, or the Deployment that was there without one, or nothing."""
    if new.current is not None:
        cluster.apply(new.current_manifests)
        _delete_removed(cluster, new.manifests, new.current_manifests)
    elif new.existing is not None:
        cluster.run("rollout", "undo", f"deployment/{new.name}")
    else:
        cluster.delete("deployment", new.name)
        return
    with suppress(UserError):  # the first error is the one to report
        wait_for_rollout(cluster, new.name, new.wait_seconds)


def _delete_removed(cluster: Cluster, before: Sequence[Manifest], after: Sequence[Manifest]) -> None:
    for kind, name in removed(before, after):
        cluster.delete(kind, name)


def _smoke_model(client: httpx.Client, model: ReleasedModel, settings: Settings) -> float:
    """Make sure that this model is served, and return how far its answers are from the offline ones."""
    try:
        served = client.get("/model").raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise UserError(f"{client.base_url} does not say which model it serves: {error}.") from error
    if served.get("digest") != model.digest:
        raise UserError(
            f"the pods serve version {served.get('version')} ({str(served.get('digest'))[:12]}), and version "
            f"{model.version} ({model.digest[:12]}) is to be released: build an image with it, or name it."
        )
    address = settings.model_copy(update={"host": client.base_url.host, "port": client.base_url.port})
    return smoke(address, model.rows, model.predictions)


def _traffic(clients: Sequence[httpx.Client]) -> Traffic:
    """What the pods have answered together since they started."""
    found = Traffic()
    for client in clients:
        with suppress(httpx.HTTPError):  # a pod that has gone
            found += parse_traffic(client.get("/metrics").raise_for_status().text)
    return found


@contextmanager
def _client(cluster: Cluster, target: str, port: int, settings: Settings) -> Iterator[httpx.Client]:
    """A client of a pod or Service, through the API server."""
    with cluster.forward(target, port) as local_port:
        address = f"http://127.0.0.1:{local_port}"
        with httpx.Client(base_url=address, headers=headers(settings), timeout=30, trust_env=False) as client:
            yield client


@contextmanager
def _check(name: str) -> Iterator[None]:
    """Name the check when what is done within it fails."""
    try:
        yield
    except UserError as error:
        raise ReleaseCheckError(name, str(error)) from error

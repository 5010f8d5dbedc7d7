"""Release a version to Kubernetes: compare a canary with the stable version, then roll out or roll back."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.deployment.canary import (
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
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.releases import (
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
from fivestage.deployment.rollout import ready_pods, wait_for_rollout
from fivestage.deployment.service_client import headers, smoke
from fivestage.serving.service_settings import PREFIX, Settings

PROBE_ROUNDS = 10  # times that each version gets the smoke rows: enough to see one failure in a hundred
SERVICE_PORT, POD_PORT = 80, 8000


class ReleaseCheckError(UserError):
    """A failed check of a release; `check` is its name."""

    def __init__(self, check: str, sentence: str) -> None:
        super().__init__(f"The check `{check}` failed: {sentence}")
        self.check = check


@dataclass(frozen=True)
class _Rollout:
    """A release in progress, and the state before it."""

    release: Release
    model: ReleasedModel
    current: Release | None
    existing: Manifest | None  # the Deployment in the cluster, whoever created it

    @property
    def name(self) -> str:
        """The name of the Deployment and the Service."""
        return str(serving_deployment(self.release.manifests)["metadata"]["name"])

    @property
    def current_manifests(self) -> Sequence[Manifest]:
        """The manifests of the release that serves."""
        return self.current.manifests if self.current else ()


@dataclass(frozen=True)
class ClusterReleases:
    """Releases of one overlay to a cluster: a release serves only if it passes every check."""

    cluster: Cluster  # cluster and namespace
    overlay: Path  # folder of a kustomize overlay
    settings: Settings  # the service's, for its API keys
    wait_seconds: float = 300  # maximum duration of a rollout

    @classmethod
    def to(cls, overlay: Path, context: str) -> "ClusterReleases":
        """Create the releases of a kustomize overlay, with settings from the environment.

        Args:
            overlay: Folder of the overlay.
            context: Context of the kubeconfig file; the current one if empty.

        Returns:
            The releases, in the namespace of the overlay's Deployment.
        """
        namespace = namespace_of(Cluster("default", context).render(overlay))
        return cls(Cluster(namespace, context), overlay, Settings.from_environment())

    @property
    def model_before(self) -> str:
        """The registry version that `roll_back` returns to."""
        return rollback_target(history(self.cluster)).model

    def release(
        self,
        model: ReleasedModel,
        contract: Contract,
        *,
        image: str = "",
        why: str = "",
        bake_seconds: float = 30,
        accept: str = "",
    ) -> Release:
        """Serve a version if it passes every check; otherwise keep or restore the previous release.

        Args:
            model: The version that the image must serve.
            contract: The contract, with the objectives for the canary.
            image: Image of the service; the overlay's own if empty.
            why: Reason, for the record.
            bake_seconds: How long the canary shares the live traffic.
            accept: Name of a check that the canary may fail, for example if predictions are meant to differ.

        Returns:
            The release.

        Raises:
            ReleaseCheckError: If a check fails.
            UserError: If another release is in progress.
        """
        annotations = {"model-version": model.version, "contract": model.contract[:12]}
        cause = why or f"model {model.version}"
        manifests = annotated(self.cluster.render(self.overlay), image, annotations, cause)
        with _check("manifests"):
            self.cluster.apply([one for one in manifests if one["kind"] == "Namespace"])
            for warning in self.cluster.apply(manifests, dry_run=True):
                if "PodSecurity" in warning:
                    raise UserError(warning)
        past = history(self.cluster)
        current = serving_release(past)
        draft = Release(
            previous=current.number if current else 0,
            image=str(serving_container(manifests)["image"]),
            model=model.version,
            model_digest=model.digest,
            contract=model.contract,
            commit=model.commit,
            overlay=self.overlay.name,
            why=why,
            manifests=tuple(manifests),
        )
        compared: tuple[str, ...] = ()
        with self._begun(past, draft, model) as new:
            if new.existing is not None and new.existing.get("status", {}).get("availableReplicas"):
                compared = self._try_canary(new, new.existing, contract, bake_seconds, accept)
            digest = self._replace(new)
        return self._finish(new, digest, compared)

    def roll_back(self, model: ReleasedModel, why: str) -> Release:
        """Return to the previous release: its manifests, its image and the model in it.

        Args:
            model: The model of the previous release, which `model_before` names.
            why: Reason, for the record.

        Returns:
            A new release with its own number.

        Raises:
            UserError: If there is no previous release.
            ReleaseCheckError: If it does not serve as it did before; the current release then keeps serving.
        """
        past = history(self.cluster)
        target, current = rollback_target(past), serving_release(past)
        reason = f"back from release {current.number if current else 0}: {why}".strip(": ")
        update = {"outcome": "going", "who": operator(), "when": now(), "why": reason, "compared": ()}
        with self._begun(past, target.model_copy(update=update), model) as new:
            digest = self._replace(new, target.digest)
        return self._finish(new, digest)

    def smoke(self, model: ReleasedModel) -> float:
        """Wait for the rollout of the overlay's Deployment, and run the smoke test through its Service.

        Args:
            model: The version that it must serve.

        Returns:
            The largest difference between its predictions and the offline ones; see `service_client.smoke`.

        Raises:
            ReleaseCheckError: If the rollout fails, or the model or its predictions differ.
        """
        name = serving_deployment(self.cluster.render(self.overlay))["metadata"]["name"]
        with _check("rollout"):
            wait_for_rollout(self.cluster, name, self.wait_seconds)
        return self._smoke_service(name, model)

    @contextmanager
    def _begun(self, past: Sequence[Release], draft: Release, model: ReleasedModel) -> Iterator[_Rollout]:
        """Begin a release; record an exception in the block as its failure."""
        existing = self.cluster.get("deployment", serving_deployment(draft.manifests)["metadata"]["name"])
        begun = begin(self.cluster, past, draft)
        with failure_recorded(self.cluster, begun):
            yield _Rollout(begun, model, serving_release(past), existing)

    def _try_canary(
        self, new: _Rollout, existing: Manifest, contract: Contract, bake_seconds: float, accept: str
    ) -> tuple[str, ...]:
        """Run one new pod on a share of the traffic, compare it with the stable pods, and delete it."""
        canary = canary_of(new.release.manifests)
        prerequisites = [one for one in new.release.manifests if one["kind"] in PREREQUISITES]
        try:
            with _check("canary rollout"):
                self.cluster.apply([*prerequisites, canary])
                pod = wait_for_rollout(self.cluster, canary["metadata"]["name"], self.wait_seconds)[0]
                stable = ready_pods(self.cluster, existing)
            with ExitStack() as forwarded:
                mine, *others = [
                    forwarded.enter_context(self._client(f"pod/{one['metadata']['name']}", POD_PORT))
                    for one in (pod, *stable)
                ]
                with _check("canary smoke"):
                    _smoke_model(mine, new.model, self.settings)
                baked_at = time.monotonic() + bake_seconds
                before = [_traffic([mine]), _traffic(others)]
                probes = probe_in_turns([mine, others[0]], new.model.expected.rows, PROBE_ROUNDS)
                time.sleep(max(0.0, baked_at - time.monotonic()))
                after = [_traffic([mine]), _traffic(others)]
            mine_seen, stable_seen = (
                replace(probe, traffic=late.since(early))
                for probe, late, early in zip(probes, after, before, strict=True)
            )
            checks = compare(mine_seen, stable_seen, contract)
            for check in checks:
                if not check.passed and check.name != accept:
                    raise ReleaseCheckError(
                        f"canary {check.name}",
                        f"{check.sentence}. If this is intended, release with --accept {check.name}.",
                    )
            return tuple(f"{check.name}: {check.sentence}" for check in checks)
        finally:
            self.cluster.delete("deployment", canary["metadata"]["name"])

    def _replace(self, new: _Rollout, expected_digest: str = "") -> str:
        """Apply the manifests and check the new pods, or restore the old ones; return the image's digest."""
        try:
            with _check("rollout"):
                self.cluster.apply(new.release.manifests)
                pods = wait_for_rollout(self.cluster, new.name, self.wait_seconds)
            self._smoke_service(new.name, new.model)
            image_ids = {
                status["imageID"] for pod in pods for status in pod["status"]["containerStatuses"][:1]
            }
            digest = ", ".join(sorted(image_ids))
            with _check("image"):
                _require_same_image(new.release.image, digest, expected_digest)
        except BaseException:  # also on interruption: an unchecked release must not keep serving
            self._put_back(new)
            raise
        return digest

    def _finish(self, new: _Rollout, digest: str, compared: tuple[str, ...] = ()) -> Release:
        """Record that the release serves, then delete the objects that it no longer contains."""
        done = new.release.model_copy(update={"outcome": "serving", "digest": digest, "compared": compared})
        end(self.cluster, done)
        self._delete_removed(new.current_manifests, done.manifests)
        return done

    def _put_back(self, new: _Rollout) -> None:
        """Restore the last release or an existing Deployment; without either, delete the new Deployment."""
        if new.current is not None:
            self.cluster.apply(new.current_manifests)
            self._delete_removed(new.release.manifests, new.current_manifests)
        elif new.existing is not None:
            self.cluster.run("rollout", "undo", f"deployment/{new.name}")
        else:
            self.cluster.delete("deployment", new.name)
            return
        with suppress(UserError):  # the first error is the one to report
            wait_for_rollout(self.cluster, new.name, self.wait_seconds)

    def _delete_removed(self, before: Sequence[Manifest], after: Sequence[Manifest]) -> None:
        for kind, name in removed(before, after):
            self.cluster.delete(kind, name)

    def _smoke_service(self, name: str, model: ReleasedModel) -> float:
        with _check("smoke"), self._client(f"service/{name}", SERVICE_PORT) as client:
            return _smoke_model(client, model, self.settings)

    @contextmanager
    def _client(self, target: str, port: int) -> Iterator[httpx.Client]:
        """Open an HTTP client to a pod or Service through the API server."""
        with (
            self.cluster.forward(target, port) as local_port,
            httpx.Client(
                base_url=f"http://127.0.0.1:{local_port}",
                headers=headers(self.settings),
                timeout=30,
                trust_env=False,
            ) as client,
        ):
            yield client


def _require_same_image(image: str, digest: str, expected: str) -> None:
    if expected and digest != expected:
        raise UserError(
            f"{image} was {expected} and is now {digest}: a tag can move, so name images by digest."
        )


def _smoke_model(client: httpx.Client, model: ReleasedModel, settings: Settings) -> float:
    """Verify that this model is served, and return the largest difference from its offline predictions."""
    try:
        response = client.get("/model")
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise UserError(f"the pods require an API key: set {PREFIX}API_KEYS to a key from their Secret.")
        served = response.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise UserError(f"{client.base_url} does not report which model it serves: {error}.") from error
    if served.get("digest") != model.digest:
        raise UserError(
            f"the pods serve version {served.get('version')} ({str(served.get('digest'))[:12]}) instead of "
            f"version {model.version} ({model.digest[:12]}): build an image with that version, or name one."
        )
    address = settings.model_copy(update={"host": client.base_url.host, "port": client.base_url.port})
    return smoke(address, model.expected)


def _traffic(clients: Sequence[httpx.Client]) -> Traffic:
    """Return the total traffic of the pods since they started."""
    total = Traffic()
    for client in clients:
        with suppress(httpx.HTTPError):  # the pod may have been deleted
            total += parse_traffic(client.get("/metrics").raise_for_status().text)
    return total


@contextmanager
def _check(name: str) -> Iterator[None]:
    """Attribute a UserError in the block to this check."""
    try:
        yield
    except UserError as error:
        raise ReleaseCheckError(name, str(error)) from error

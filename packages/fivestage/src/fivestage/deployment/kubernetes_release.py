"""Release a version to Kubernetes: compare a canary with the stable version, then roll out or roll back."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.deployment import release_manifests, releases
from fivestage.deployment.canary import Traffic, compare, parse_traffic, probe_in_turns
from fivestage.deployment.kubectl import Cluster, Manifest
from fivestage.deployment.release_manifests import serving_deployment
from fivestage.deployment.released_model import ReleasedModel
from fivestage.deployment.releases import Release
from fivestage.deployment.rollout import ready_pods, wait_for_rollout
from fivestage.deployment.service_client import connect, smoke
from fivestage.serving.service_settings import Settings

PROBES = 960  # of each version, so that 2% of slow requests differ from noise on a node that is not busy
SERVICE_PORT, POD_PORT = 80, 8000


class ReleaseCheckError(UserError):
    """A failed check of a release; `check` is its name."""

    def __init__(self, check: str, sentence: str) -> None:
        super().__init__(f"The check `{check}` failed: {sentence}")
        self.check = check


@dataclass(frozen=True)
class ClusterReleases:
    """Releases of one overlay to a cluster: a release serves only if it passes every check."""

    cluster: Cluster  # cluster and namespace
    overlay: Path  # folder of a kustomize overlay
    settings: Settings  # the service's, for its API keys
    wait_seconds: float = 300  # maximum duration of a rollout

    @classmethod
    def to(cls, overlay: Path, context: str) -> "ClusterReleases":
        """Create the releases of a kustomize overlay, in the namespace of its Deployment.

        Args:
            overlay: Folder of the overlay.
            context: Context of the kubeconfig file; the current one if empty.
        """
        namespace = release_manifests.namespace_of(Cluster("default", context).render(overlay))
        return cls(Cluster(namespace, context), overlay, Settings.from_environment())

    @property
    def model_before(self) -> str:
        """The registry version that `roll_back` returns to."""
        return releases.rollback_target(releases.history(self.cluster)).model

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
        manifests = release_manifests.annotated(
            self.cluster.render(self.overlay),
            image,
            {"model-version": model.version, "contract": model.contract[:12]},
            why or f"model {model.version}",
        )
        existing = self._deployment(manifests)
        with _check("manifests"):
            release_manifests.require_own_namespace(existing, manifests)
            self.cluster.apply([one for one in manifests if one["kind"] == "Namespace"])
            for warning in self.cluster.apply(manifests, dry_run=True):
                if "PodSecurity" in warning:
                    raise UserError(warning)
        past = releases.history(self.cluster)
        current = releases.serving_release(past)
        draft = Release(
            previous=current.number if current else 0,
            image=str(release_manifests.serving_container(manifests)["image"]),
            model=model.version,
            model_digest=model.digest,
            contract=model.contract,
            commit=model.commit,
            overlay=self.overlay.name,
            why=why,
            manifests=tuple(manifests),
        )
        compared: tuple[str, ...] = ()
        with releases.recorded(self.cluster, past, draft) as begun:
            if existing is not None and existing.get("status", {}).get("availableReplicas"):
                compared = self._try_canary(begun, existing, model, contract, bake_seconds, accept)
            done = self._replace(begun, model, current, existing)
        return self._finish(done.model_copy(update={"compared": compared}), current)

    def roll_back(self, model: ReleasedModel, why: str) -> Release:
        """Return to the previous release: its manifests, its image and the model in it.

        Args:
            model: The model of the previous release, which `model_before` names.
            why: Reason, for the record.

        Returns:
            A new release with its own number.

        Raises:
            UserError: If there is no previous release, or it serves another model than this one.
            ReleaseCheckError: If it does not serve as it did before; the current release then keeps serving.
        """
        past = releases.history(self.cluster)
        target, current = releases.rollback_target(past), releases.serving_release(past)
        if model.digest != target.model_digest:
            raise UserError(
                f"Release {target.number} serves another version {model.version} than this registry has: set "
                "MLFLOW_TRACKING_URI to the registry that its image was built with."
            )
        reason = f"back from release {current.number if current else 0}: {why}".strip(": ")
        with releases.recorded(self.cluster, past, target.model_copy(update={"why": reason})) as begun:
            done = self._replace(begun, model, current, self._deployment(target.manifests))
        return self._finish(done, current)

    def smoke(self, model: ReleasedModel) -> float:
        """Wait for the rollout of the overlay's Deployment, and smoke-test the version through its Service.

        Return the largest difference from its offline predictions; see `service_client.smoke`.
        """
        return self._verify(self.cluster.render(self.overlay), model)[1]

    def _deployment(self, manifests: Sequence[Manifest]) -> Manifest | None:
        """Return the service's Deployment in the cluster, whoever created it."""
        return self.cluster.get("deployment", serving_deployment(manifests)["metadata"]["name"])

    def _try_canary(
        self,
        begun: Release,
        existing: Manifest,
        model: ReleasedModel,
        contract: Contract,
        bake_seconds: float,
        accept: str,
    ) -> tuple[str, ...]:
        """Run one new pod on a share of the traffic, compare it with the stable pods, and delete it."""
        canary = release_manifests.canary_of(begun.manifests)
        prerequisites = [one for one in begun.manifests if one["kind"] in release_manifests.PREREQUISITES]
        try:
            with _check("canary rollout"):
                self.cluster.apply([*prerequisites, canary])
                pod = wait_for_rollout(self.cluster, canary["metadata"]["name"], self.wait_seconds)[0]
                stable = ready_pods(self.cluster, existing)
            with ExitStack() as opened:
                services = [
                    opened.enter_context(self._forwarded(f"pod/{one['metadata']['name']}", POD_PORT))
                    for one in (pod, *stable)
                ]
                with _check("canary smoke"):
                    smoke(services[0], model.expected)
                mine, *others = [opened.enter_context(connect(one)) for one in services]
                probes = probe_in_turns([mine, others[0]], model.expected.rows, PROBES)
                before = [_traffic([mine]), _traffic(others)]  # without the probes
                time.sleep(bake_seconds)
                after = [_traffic([mine]), _traffic(others)]
            mine_seen, stable_seen = (
                replace(probe, traffic=late - early)
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

    def _replace(
        self, begun: Release, model: ReleasedModel, current: Release | None, existing: Manifest | None
    ) -> Release:
        """Apply the manifests and check the new pods, or restore the old ones; add the image's digest."""
        name = serving_deployment(begun.manifests)["metadata"]["name"]
        try:
            with _check("rollout"):
                self.cluster.apply(begun.manifests)
            pods, _ = self._verify(begun.manifests, model)
            statuses = [pod["status"]["containerStatuses"][0] for pod in pods]
            digest = ", ".join(sorted({status["imageID"] for status in statuses}))
            with _check("image"):
                _require_same_image(begun, digest)
        except BaseException:  # also on interruption: an unchecked release must not keep serving
            self._put_back(name, begun, current, existing)
            raise
        return begun.model_copy(update={"outcome": "serving", "digest": digest})

    def _finish(self, done: Release, before: Release | None) -> Release:
        """Record that the release serves, then delete the objects that it no longer contains."""
        releases.end(self.cluster, done)
        self._delete_removed(before.manifests if before else (), done.manifests)
        return done

    def _put_back(
        self, name: str, begun: Release, current: Release | None, existing: Manifest | None
    ) -> None:
        """Restore the last release or an existing Deployment; without either, delete the new Deployment."""
        if current is not None:
            self.cluster.apply(current.manifests)
            self._delete_removed(begun.manifests, current.manifests)
        elif existing is not None:
            self.cluster.run("rollout", "undo", f"deployment/{name}")
        else:
            self.cluster.delete("deployment", name)
            return
        with suppress(UserError):  # the first error is the one to report
            wait_for_rollout(self.cluster, name, self.wait_seconds)

    def _delete_removed(self, before: Sequence[Manifest], after: Sequence[Manifest]) -> None:
        for kind, name in release_manifests.removed(before, after):
            self.cluster.delete(kind, name)

    def _verify(self, manifests: Sequence[Manifest], model: ReleasedModel) -> tuple[list[Manifest], float]:
        """Wait for the rollout and smoke-test the Service; return the pods and the largest difference."""
        name = serving_deployment(manifests)["metadata"]["name"]
        with _check("rollout"):
            pods = wait_for_rollout(self.cluster, name, self.wait_seconds)
        with _check("smoke"), self._forwarded(f"service/{name}", SERVICE_PORT) as service:
            return pods, smoke(service, model.expected)

    @contextmanager
    def _forwarded(self, target: str, port: int) -> Iterator[Settings]:
        """Yield the settings with the address of a pod or Service through the API server."""
        with self.cluster.forward(target, port) as local_port:
            yield self.settings.model_copy(update={"host": "127.0.0.1", "port": local_port})


def _require_same_image(rolled_out: Release, digest: str) -> None:
    """Verify after a rollback that the nodes run the image that they ran before."""
    if rolled_out.digest and digest != rolled_out.digest:
        raise UserError(
            f"{rolled_out.image} was {rolled_out.digest} and is now {digest}: a tag can move, so name images "
            "by digest."
        )


def _traffic(clients: Sequence[httpx.Client]) -> Traffic:
    """Return the total traffic of the pods since they started."""
    total: Traffic = Counter()
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

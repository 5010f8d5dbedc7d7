"""Release a version to Kubernetes: compare a canary with what serves, replace it, or put back what served."""

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
from fivestage.deployment.rollout import newest_pods, wait_for_rollout
from fivestage.deployment.service_client import headers, smoke
from fivestage.serving.service_settings import PREFIX, Settings

PROBE_ROUNDS = 10  # of the smoke rows, to each version: enough to see one failure in a hundred
SERVICE_PORT, POD_PORT = 80, 8000


class ReleaseCheckError(UserError):
    """A check that a release did not pass; `check` is its name."""

    def __init__(self, check: str, sentence: str) -> None:
        super().__init__(f"The check `{check}` failed: {sentence}")
        self.check = check


@dataclass(frozen=True)
class _Rollout:
    """A release that has begun, and what served before it."""

    release: Release
    model: ReleasedModel
    current: Release | None
    existing: Manifest | None  # the Deployment, whoever made it

    @property
    def name(self) -> str:
        """The name of the Deployment, which is that of the Service too."""
        return str(serving_deployment(self.release.manifests)["metadata"]["name"])

    @property
    def current_manifests(self) -> Sequence[Manifest]:
        """Those of the release that serves."""
        return self.current.manifests if self.current else ()


@dataclass(frozen=True)
class ClusterReleases:
    """Releases of one overlay to a cluster: each takes over only if it passes every check."""

    cluster: Cluster  # and the namespace there
    overlay: Path  # folder of a kustomize overlay
    settings: Settings  # of the service, for its API keys
    wait_seconds: float = 300  # longest time that a rollout may take

    @classmethod
    def to(cls, overlay: Path, context: str) -> "ClusterReleases":
        """Return the releases of a kustomize overlay, with the environment's settings.

        Args:
            overlay: Folder of the overlay.
            context: Context of the kubeconfig file; the current one if empty.

        Returns:
            The releases, to the namespace that the overlay's Deployment is in.
        """
        namespace = namespace_of(Cluster("default", context).render(overlay))
        return cls(Cluster(namespace, context), overlay, Settings.from_environment())

    @property
    def model_before(self) -> str:
        """The version in the registry that `roll_back` returns to."""
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
        """Bring a version into service if it passes every check, and else leave or put back what served.

        Args:
            model: What the image must serve.
            contract: With the objectives that the canary must keep.
            image: Image of the service; the overlay's own if empty.
            why: Reason, for the record.
            bake_seconds: Time that the canary shares the live traffic for.
            accept: Name of a check that the canary need not pass, as where predictions are meant to differ.

        Returns:
            The release.

        Raises:
            ReleaseCheckError: When a check fails.
            UserError: When another release is being carried out.
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
        """Return to the release before: its manifests, its image, and the model in it.

        Args:
            model: The model of the release before, which `model_before` names.
            why: Reason, for the record.

        Returns:
            A release with a number of its own.

        Raises:
            UserError: When there is no release before.
            ReleaseCheckError: When it does not serve as it did; what served until now then stays.
        """
        past = history(self.cluster)
        target, current = rollback_target(past), serving_release(past)
        reason = f"back from release {current.number if current else 0}: {why}".strip(": ")
        update = {"outcome": "going", "who": operator(), "when": now(), "why": reason, "compared": ()}
        with self._begun(past, target.model_copy(update=update), model) as new:
            digest = self._replace(new, target.digest)
        return self._finish(new, digest)

    def smoke(self, model: ReleasedModel) -> float:
        """Wait for the rollout of the overlay's Deployment, and post raw rows through its Service.

        Args:
            model: What it must serve.

        Returns:
            The largest difference of its answers from the offline ones, as `smoke` measures it.

        Raises:
            ReleaseCheckError: When the rollout fails, or another model or another answer is served.
        """
        name = serving_deployment(self.cluster.render(self.overlay))["metadata"]["name"]
        with _check("rollout"):
            wait_for_rollout(self.cluster, name, self.wait_seconds)
        return self._smoke_service(name, model)

    @contextmanager
    def _begun(self, past: Sequence[Release], draft: Release, model: ReleasedModel) -> Iterator[_Rollout]:
        """Begin a release; what is raised within is recorded as its failure."""
        existing = self.cluster.get("deployment", serving_deployment(draft.manifests)["metadata"]["name"])
        begun = begin(self.cluster, past, draft)
        with failure_recorded(self.cluster, begun):
            yield _Rollout(begun, model, serving_release(past), existing)

    def _try_canary(
        self, new: _Rollout, existing: Manifest, contract: Contract, bake_seconds: float, accept: str
    ) -> tuple[str, ...]:
        """Let one new pod share the traffic, compare it with the stable ones, and delete it."""
        canary = canary_of(new.release.manifests)
        prerequisites = [one for one in new.release.manifests if one["kind"] in PREREQUISITES]
        try:
            with _check("canary rollout"):
                self.cluster.apply([*prerequisites, canary])
                pod = wait_for_rollout(self.cluster, canary["metadata"]["name"], self.wait_seconds)[0]
            with ExitStack() as forwarded:
                mine, *others = [
                    forwarded.enter_context(self._client(f"pod/{one['metadata']['name']}", POD_PORT))
                    for one in (pod, *newest_pods(self.cluster, existing))
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
                        f"{check.sentence}. If that is as it should be, release with --accept {check.name}.",
                    )
            return tuple(f"{check.name}: {check.sentence}" for check in checks)
        finally:
            self.cluster.delete("deployment", canary["metadata"]["name"])

    def _replace(self, new: _Rollout, expected_digest: str = "") -> str:
        """Apply the manifests and check what then serves, or put back what did; return the image's digest."""
        try:
            with _check("rollout"):
                self.cluster.apply(new.release.manifests)
                pods = wait_for_rollout(self.cluster, new.name, self.wait_seconds)
            self._smoke_service(new.name, new.model)
            found = {status["imageID"] for pod in pods for status in pod["status"]["containerStatuses"][:1]}
            digest = ", ".join(sorted(found))
            with _check("image"):
                _require_same_image(new.release.image, digest, expected_digest)
        except BaseException:  # an interruption too: what has not passed its checks must not stay
            self._put_back(new)
            raise
        return digest

    def _finish(self, new: _Rollout, digest: str, compared: tuple[str, ...] = ()) -> Release:
        """Record that the release serves, then delete what it no longer has."""
        done = new.release.model_copy(update={"outcome": "serving", "digest": digest, "compared": compared})
        end(self.cluster, done)
        self._delete_removed(new.current_manifests, done.manifests)
        return done

    def _put_back(self, new: _Rollout) -> None:
        """Put back the last release, or the Deployment that was there without one, or nothing."""
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
        """A client of a pod or Service, through the API server."""
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
        raise UserError(f"{image} was {expected} and is now {digest}: name images by digest, a tag can move.")


def _smoke_model(client: httpx.Client, model: ReleasedModel, settings: Settings) -> float:
    """Make sure that this model is served, and return how far its answers are from the offline ones."""
    try:
        response = client.get("/model")
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise UserError(f"the pods require an API key: set {PREFIX}API_KEYS to one of their Secret.")
        served = response.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise UserError(f"{client.base_url} does not say which model it serves: {error}.") from error
    if served.get("digest") != model.digest:
        raise UserError(
            f"the pods serve version {served.get('version')} ({str(served.get('digest'))[:12]}), and version "
            f"{model.version} ({model.digest[:12]}) is to be released: build an image with it, or name it."
        )
    address = settings.model_copy(update={"host": client.base_url.host, "port": client.base_url.port})
    return smoke(address, model.expected)


def _traffic(clients: Sequence[httpx.Client]) -> Traffic:
    """What the pods have answered together since they started."""
    found = Traffic()
    for client in clients:
        with suppress(httpx.HTTPError):  # a pod that has gone
            found += parse_traffic(client.get("/metrics").raise_for_status().text)
    return found


@contextmanager
def _check(name: str) -> Iterator[None]:
    """Name the check when what is done within it fails."""
    try:
        yield
    except UserError as error:
        raise ReleaseCheckError(name, str(error)) from error

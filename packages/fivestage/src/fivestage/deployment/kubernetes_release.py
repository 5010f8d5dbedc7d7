"""A version on Kubernetes: a canary beside what serves, compared, then released; undone if a check fails."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.deployment.canary import CanaryAnswers, Check, checks, probe_both
from fivestage.deployment.cluster_probe import (
    POD_PORT,
    SERVICE_PORT,
    CheckError,
    ReleasedModel,
    answers,
    check,
    reach,
    traffic,
    wait_until_listed,
)
from fivestage.deployment.kubectl import Cluster, Manifest
from fivestage.deployment.release_manifests import (
    as_canary,
    image_of,
    left_over,
    needed_first,
    released,
    serving_deployment,
)
from fivestage.deployment.releases import Kept, Release, before, begin, end, history, now, operator, serving
from fivestage.deployment.rollout import new_pods, watch
from fivestage.serving.settings import Settings

ROUNDS = 10  # of the smoke rows, to each version: enough to see one failure in a hundred


@dataclass(frozen=True)
class ReleasePlan:
    """What to release, and how long to wait for it; without an image, the overlay's own."""

    overlay: Path
    image: str
    why: str
    wait_seconds: float = 300
    bake_seconds: float = 30  # that the canary shares the traffic for


def release(
    cluster: Cluster, plan: ReleasePlan, model: ReleasedModel, contract: Contract, settings: Settings
) -> tuple[Release, tuple[Check, ...]]:
    """Bring a version into service for good if it passes every check, and else leave what served before.

    Raises:
        CheckError: saying which check failed.
    """
    marks = {"model-version": model.version, "contract": model.contract[:12]}
    manifests = released(
        cluster.render(plan.overlay), plan.image, marks, plan.why or f"model {model.version}"
    )
    name = serving_deployment(manifests)["metadata"]["name"]
    with check("manifests"):
        cluster.apply([one for one in manifests if one["kind"] == "Namespace"])
        _admit(cluster, manifests)
    past, stood = history(cluster), cluster.get("deployment", name)
    current = serving(past)
    going = begin(cluster, past, _release(plan, model, current, image_of(manifests)), manifests)
    compared: tuple[Check, ...] = ()
    touched = False
    try:
        if stood is not None and stood.get("status", {}).get("availableReplicas"):
            compared = _try_canary(cluster, plan, model, contract, settings, manifests, stood)
        touched = True
        digest = _bring_in(cluster, manifests, model, settings, plan.wait_seconds)
    except BaseException as error:  # whatever it is, an interruption too: what is not proven does not stay
        if touched:
            _undo(cluster, manifests, current, stood, plan.wait_seconds)
        end(cluster, replace(going, outcome="failed", failed=str(error) or type(error).__name__), manifests)
        raise
    _prune(cluster, current.manifests if current else (), manifests)
    done = replace(going, outcome="serving", digest=digest)
    end(cluster, done, manifests)
    return done, compared


def roll_back(
    cluster: Cluster, model: ReleasedModel, settings: Settings, why: str, wait_seconds: float = 300
) -> Release:
    """Go back to the release before: its manifests, its image, and the model in it, which `model` describes.

    Raises:
        UserError: when there is none.
        CheckError: when it does not serve as it did; what served until now then stays.
    """
    past = history(cluster)
    goal, current = before(past), serving(past)
    stood = cluster.get("deployment", serving_deployment(goal.manifests)["metadata"]["name"])
    left = current.release.number if current else 0
    told = replace(
        goal.release, who=operator(), when=now(), why=f"back from release {left}: {why}".strip(": ")
    )
    going = begin(cluster, past, told, goal.manifests)
    try:
        digest = _bring_in(cluster, goal.manifests, model, settings, wait_seconds)
        _same_image(goal.release, digest)
    except BaseException as error:
        _undo(cluster, goal.manifests, current, stood, wait_seconds)
        end(cluster, replace(going, outcome="failed", failed=str(error) or type(error).__name__), ())
        raise
    _prune(cluster, current.manifests if current else (), goal.manifests)
    done = replace(going, outcome="serving", digest=digest)
    end(cluster, done, goal.manifests)
    return done


def _same_image(goal: Release, digest: str) -> None:
    if goal.digest and digest != goal.digest:
        told = f"{goal.image} was {goal.digest} and is now {digest}: name images by digest, a tag can move."
        raise CheckError("image", told)


def _release(plan: ReleasePlan, model: ReleasedModel, current: Kept | None, image: str) -> Release:
    return Release(
        number=0,
        previous=current.release.number if current else 0,
        outcome="going",
        image=image,
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


def _admit(cluster: Cluster, manifests: Sequence[Manifest]) -> None:
    """Ask the API server whether it would take every manifest."""
    warned = [one for one in cluster.apply(manifests, dry=True) if "PodSecurity" in one]
    if warned:
        raise UserError(warned[0])


def _try_canary(
    cluster: Cluster,
    plan: ReleasePlan,
    model: ReleasedModel,
    contract: Contract,
    settings: Settings,
    manifests: Sequence[Manifest],
    stable: Manifest,
) -> tuple[Check, ...]:
    """Let one new pod share the traffic, and hold it against the stable ones; it does not outlive this."""
    canary = as_canary(manifests)
    try:
        with check("canary rollout"):
            cluster.apply([*needed_first(manifests), canary])
            (pod, *_) = watch(cluster, canary["metadata"]["name"], plan.wait_seconds)
        names = [one["metadata"]["name"] for one in new_pods(cluster, stable)]
        with ExitStack() as ways:
            mine = ways.enter_context(reach(cluster, f"pod/{pod['metadata']['name']}", POD_PORT, settings))
            others = [ways.enter_context(reach(cluster, f"pod/{one}", POD_PORT, settings)) for one in names]
            with check("canary smoke"):
                answers(mine, model, settings)
            until = time.monotonic() + plan.bake_seconds
            begun = [traffic([mine]), traffic(others)]
            probes = probe_both([mine, others[0]], model.rows, ROUNDS)
            time.sleep(max(0.0, until - time.monotonic()))
            ended = [traffic([mine]), traffic(others)]
            seen = [
                CanaryAnswers(probe, now.since(then))
                for probe, now, then in zip(probes, ended, begun, strict=True)
            ]
            found = checks(seen[0], seen[1], contract)
        for one in found:
            if not one.passed:
                raise CheckError(f"canary {one.name}", f"{one.sentence}.")
        return found
    finally:
        cluster.delete("deployment", canary["metadata"]["name"])


def _bring_in(
    cluster: Cluster,
    manifests: Sequence[Manifest],
    model: ReleasedModel,
    settings: Settings,
    wait_seconds: float,
) -> str:
    """Apply, wait until all pods are new and behind the Service, ask through it; the image's digest."""
    name = serving_deployment(manifests)["metadata"]["name"]
    with check("rollout"):
        cluster.apply(manifests)
        pods = watch(cluster, name, wait_seconds)
    with check("service"):
        wait_until_listed(cluster, name, {pod["metadata"]["name"] for pod in pods})
    with check("smoke"), reach(cluster, f"service/{name}", SERVICE_PORT, settings) as client:
        answers(client, model, settings)
    found = {status["imageID"] for pod in pods for status in pod["status"]["containerStatuses"][:1]}
    return ", ".join(sorted(found))


def _undo(
    cluster: Cluster,
    manifests: Sequence[Manifest],
    current: Kept | None,
    stood: Manifest | None,
    wait_seconds: float,
) -> None:
    """Put back what served: the last release, or whatever Deployment stood there, or nothing."""
    name = serving_deployment(manifests)["metadata"]["name"]
    if current is not None:
        cluster.apply(current.manifests)
        _prune(cluster, manifests, current.manifests)
    elif stood is not None:
        cluster.run("rollout", "undo", f"deployment/{name}")
    else:
        cluster.delete("deployment", name)
        return
    with suppress(UserError):  # the first error is the one to tell
        watch(cluster, name, wait_seconds)


def _prune(cluster: Cluster, old: Sequence[Manifest], new: Sequence[Manifest]) -> None:
    for kind, name in left_over(old, new):
        cluster.delete(kind, name)

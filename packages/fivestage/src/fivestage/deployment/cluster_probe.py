"""A version on a cluster as its clients see it: found behind the Service, asked, counted."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from fivestage.common.errors import UserError
from fivestage.deployment.canary import Traffic, total, traffic_of
from fivestage.deployment.kubectl import Cluster
from fivestage.deployment.rollout import watch
from fivestage.deployment.service_client import headers, smoke
from fivestage.serving.settings import Settings

LISTED_SECONDS = 30  # until the Service knows of new pods
SERVICE_PORT, POD_PORT = 80, 8000


class CheckError(UserError):
    """A check that a release did not pass."""

    def __init__(self, check: str, sentence: str) -> None:
        super().__init__(f"The check `{check}` failed: {sentence}")
        self.check = check


@dataclass(frozen=True)
class ReleasedModel:
    """A version in the registry, and rows with the answers that it must give."""

    version: str
    digest: str
    contract: str
    commit: str
    rows: Sequence[Mapping[str, Any]]
    forecasts: Sequence[Sequence[float]]


@contextmanager
def check(name: str) -> Iterator[None]:
    """Tell which check it was, when what is done within it fails."""
    try:
        yield
    except UserError as error:
        raise CheckError(name, str(error)) from error


def ask_service(
    cluster: Cluster, name: str, model: ReleasedModel, settings: Settings, wait_seconds: float = 300
) -> float:
    """Wait for a rollout, post raw rows through the Service, and return how far the answers are from offline.

    Raises:
        CheckError: saying what is wrong with the pods, the model that they serve, or their answers.
    """
    with check("rollout"):
        watch(cluster, name, wait_seconds)
    with check("smoke"), reach(cluster, f"service/{name}", SERVICE_PORT, settings) as client:
        return answers(client, model, settings)


def wait_until_listed(cluster: Cluster, name: str, pods: set[str]) -> None:
    """Return once the Service sends requests to these pods.

    Raises:
        UserError: when it does not come to know of them.
    """
    until = time.monotonic() + LISTED_SECONDS
    while True:
        ready = {
            endpoint["targetRef"]["name"]
            for part in cluster.find("endpointslices", {"kubernetes.io/service-name": name})
            for endpoint in part.get("endpoints") or []
            if endpoint.get("conditions", {}).get("ready") and "targetRef" in endpoint
        }
        if pods <= ready:
            return
        if time.monotonic() > until:
            raise UserError(f"the Service {name} does not know of {', '.join(sorted(pods - ready))}.")
        time.sleep(0.5)


@contextmanager
def reach(cluster: Cluster, target: str, port: int, settings: Settings) -> Iterator[httpx.Client]:
    """A client of a pod or Service, through the API server."""
    with (
        cluster.forward(target, port) as local,
        httpx.Client(
            base_url=f"http://127.0.0.1:{local}", headers=headers(settings), timeout=30, trust_env=False
        ) as client,
    ):
        yield client


def answers(client: httpx.Client, model: ReleasedModel, settings: Settings) -> float:
    """Make sure that it is the model meant, and return how far its answers to raw rows are from offline.

    Raises:
        UserError: when it is another, or answers otherwise.
    """
    try:
        found = client.get("/model").raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise UserError(f"{client.base_url} does not tell its model: {error}.") from error
    if found.get("digest") != model.digest:
        raise UserError(
            f"the pods serve version {found.get('version')} ({str(found.get('digest'))[:12]}), and version "
            f"{model.version} ({model.digest[:12]}) is to be released: build an image with it, or name it."
        )
    place = settings.model_copy(update={"host": client.base_url.host, "port": client.base_url.port})
    return smoke(place, model.rows, model.forecasts)


def traffic(clients: Sequence[httpx.Client]) -> Traffic:
    """What several pods have answered to everybody since they started."""
    parts = []
    for client in clients:
        with suppress(httpx.HTTPError):  # a pod that has gone
            parts.append(traffic_of(client.get("/metrics").raise_for_status().text))
    return total(parts)

"""Whether a canary answers as well as the version that serves: errors, latency, predictions."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from core.contract import Contract

SERVER_ERROR = 500
SLOWER = 1.5  # times the stable version's, of what is measured in the same minute on the same way
SURE = 3.0  # standard errors
ENOUGH = 500  # rows of live traffic on each side, to compare their decisions


@dataclass(frozen=True)
class Probe:
    """What a version answered to the same rows, one a request: probabilities are NaN where it failed."""

    milliseconds: tuple[float, ...]
    probabilities: tuple[float, ...]

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return sum(map(math.isnan, self.probabilities))

    def quantile(self, share: float) -> float:
        """Milliseconds that this share of the requests stayed below."""
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True)
class Traffic:
    """What the pods of a version have answered to everybody since they started."""

    requests: float = 0
    failed: float = 0
    rows: float = 0
    acted: float = 0

    def since(self, before: "Traffic") -> "Traffic":
        """The part that came after; pods that have gone meanwhile do not count."""
        return Traffic(
            *(
                max(0.0, now - then)
                for now, then in (
                    (self.requests, before.requests),
                    (self.failed, before.failed),
                    (self.rows, before.rows),
                    (self.acted, before.acted),
                )
            )
        )


@dataclass(frozen=True)
class Seen:
    """A version, as the probe and its pods' own counts saw it."""

    probe: Probe
    traffic: Traffic


@dataclass(frozen=True)
class Check:
    """One comparison and how it went."""

    name: str
    passed: bool
    sentence: str


def probe_both(
    clients: Sequence[httpx.Client], rows: Sequence[Mapping[str, Any]], rounds: int
) -> tuple[Probe, ...]:
    """Ask each client the same rows, in turns, so that what slows one slows the others too."""
    milliseconds: list[list[float]] = [[] for _ in clients]
    probabilities: list[list[float]] = [[] for _ in clients]
    for number in range(rounds * len(rows)):
        for place in range(len(clients)):
            turn = (place + number) % len(clients)
            started = time.perf_counter()
            probabilities[turn].append(_ask(clients[turn], rows[number % len(rows)]))
            milliseconds[turn].append((time.perf_counter() - started) * 1000)
    return tuple(
        Probe(tuple(spent), tuple(told)) for spent, told in zip(milliseconds, probabilities, strict=True)
    )


def _ask(client: httpx.Client, row: Mapping[str, Any]) -> float:
    try:
        answer = client.post("/predict", json=row)
        answer.raise_for_status()
        return float(answer.json()["predictions"][0]["probability"])
    except (httpx.HTTPError, ValueError, KeyError, IndexError):
        return math.nan


def traffic_of(exposition: str, act: str) -> Traffic:
    """What a pod's metrics say of its predictions."""
    requests = failed = rows = acted = 0.0
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "http_requests_total" and labels["handler"] == "/predict":
                requests += sample.value
                failed += sample.value * (int(labels["status"]) >= SERVER_ERROR)
            if sample.name == "predictions_total":
                rows += sample.value
                acted += sample.value * (labels["decision"] == act)
    return Traffic(requests, failed, rows, acted)


def total(parts: Sequence[Traffic]) -> Traffic:
    """The traffic of several pods."""
    return Traffic(
        sum(one.requests for one in parts),
        sum(one.failed for one in parts),
        sum(one.rows for one in parts),
        sum(one.acted for one in parts),
    )


def checks(canary: Seen, stable: Seen, contract: Contract) -> tuple[Check, ...]:
    """Every comparison, in the order in which they are told."""
    return (
        _errors(canary, stable, 1 - contract.service.availability),
        _latency(canary.probe, stable.probe, contract.service.p99_ms),
        _distribution(canary, stable, contract.gates.max_bias),
    )


def _errors(canary: Seen, stable: Seen, allowed: float) -> Check:
    """Of its own requests and of everybody's, no more may fail than the objective, or than the stable's."""
    probed = canary.probe.failed / len(canary.probe.probabilities)
    live, other = (one.traffic.failed / max(one.traffic.requests, 1) for one in (canary, stable))
    passed = probed <= allowed and live <= max(allowed, other)
    return Check(
        "errors",
        passed,
        f"{canary.probe.failed} of {len(canary.probe.probabilities)} requests failed, and of live traffic "
        f"{live:.2%} ({other:.2%} of the stable version's); the objective allows {allowed:.2%}",
    )


def _latency(canary: Probe, stable: Probe, p99_ms: float) -> Check:
    """The objective, or else no slower than the stable version on the same way at the same time."""
    mine, other = canary.quantile(0.99), stable.quantile(0.99)
    slower = statistics.median(canary.milliseconds) / statistics.median(stable.milliseconds)
    passed = (mine <= p99_ms or mine <= SLOWER * other) and slower <= SLOWER
    return Check(
        "latency",
        passed,
        f"99% within {mine:.1f} ms (stable {other:.1f}, objective {p99_ms:g}), "
        f"the median {slower:.2f} times the stable version's",
    )


def _distribution(canary: Seen, stable: Seen, allowed: float) -> Check:
    """Means on the same rows, and the share acted upon of as much live traffic as there was."""
    pairs = [
        (mine, other)
        for mine, other in zip(canary.probe.probabilities, stable.probe.probabilities, strict=True)
        if not (math.isnan(mine) or math.isnan(other))
    ]
    if not pairs:
        return Check("distribution", passed=False, sentence="no row was answered by both")
    shift = statistics.fmean(mine - other for mine, other in pairs)
    passed, told = abs(shift) <= allowed, f"on the same rows the mean moved by {shift:+.3f}"
    if min(canary.traffic.rows, stable.traffic.rows) >= ENOUGH:
        mine, other = (one.traffic.acted / one.traffic.rows for one in (canary, stable))
        noise = math.sqrt(sum(p * (1 - p) / one.traffic.rows for p, one in ((mine, canary), (other, stable))))
        passed = passed and abs(mine - other) <= allowed + SURE * noise
        told += f", live it acts on {mine:.1%} (stable {other:.1%})"
    return Check("distribution", passed, f"{told}; {allowed:g} is allowed")

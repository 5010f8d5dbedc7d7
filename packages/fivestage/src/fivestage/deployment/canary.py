"""Compare a canary with the version that serves: failed requests, latency, predictions and decisions."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from fivestage.artifact.predictions import numbers_in
from fivestage.contract.contract import Contract

MAX_SLOWDOWN = 1.5  # times the latency of the stable version, measured in turns with it
STANDARD_ERRORS = 3.0  # that chance is allowed to move a mean or a share by
MAX_SHARE_SHIFT = 0.05  # of a decision, where the contract's limit is in the label's unit
MIN_LIVE_ROWS = 500  # on each side, to compare their decisions

Numbers = tuple[float, ...]  # of one prediction


@dataclass(frozen=True)
class Traffic:
    """What pods have answered to all their clients since they started."""

    requests: int = 0  # requests for predictions
    failed: int = 0  # those of them that ended with a status of 500 or above
    decisions: Counter[str] = field(default_factory=Counter)  # number of rows by decision

    def __add__(self, other: "Traffic") -> "Traffic":
        decisions = self.decisions + other.decisions
        return Traffic(self.requests + other.requests, self.failed + other.failed, decisions)

    def since(self, before: "Traffic") -> "Traffic":
        """Return what was answered after `before`; never less than nothing, as pods may have gone."""
        requests, failed = max(0, self.requests - before.requests), max(0, self.failed - before.failed)
        return Traffic(requests, failed, self.decisions - before.decisions)

    def share(self, decision: str) -> float:
        """Return the share of the rows that got this decision."""
        return self.decisions[decision] / max(self.decisions.total(), 1)


@dataclass(frozen=True)
class Observation:
    """What one version answered to requests of one row each, and to all its clients meanwhile."""

    milliseconds: tuple[float, ...]  # latency of each request
    predictions: tuple[Numbers, ...]  # the numbers of each answer; empty where the request failed
    distinct_rows: int  # how many different rows were posted, each equally often
    without_history: int = 0  # answers to rows that are decided outside of the time that its history covers
    traffic: Traffic = Traffic()  # what its pods answered to all their clients

    @property
    def failed(self) -> int:
        """The number of requests without an answer."""
        return sum(not one for one in self.predictions)


@dataclass(frozen=True)
class CanaryCheck:
    """One comparison and its outcome."""

    name: str
    passed: bool
    sentence: str


def probe_in_turns(
    clients: Sequence[httpx.Client], rows: Sequence[Mapping[str, Any]], rounds: int
) -> list[Observation]:
    """Post the same rows to each client, in turns, so that what slows one slows the others too."""
    milliseconds: list[list[float]] = [[] for _ in clients]
    answers: list[list[tuple[Numbers, bool]]] = [[] for _ in clients]
    for number in range(rounds * len(rows)):
        for offset in range(len(clients)):
            turn = (offset + number) % len(clients)
            started = time.perf_counter()
            answers[turn].append(_predict(clients[turn], rows[number % len(rows)]))
            milliseconds[turn].append((time.perf_counter() - started) * 1000)
    return [
        Observation(
            tuple(latencies),
            tuple(numbers for numbers, _ in found),
            len(rows),
            without_history=sum(gap for _, gap in found),
        )
        for latencies, found in zip(milliseconds, answers, strict=True)
    ]


def _predict(client: httpx.Client, row: Mapping[str, Any]) -> tuple[Numbers, bool]:
    """The numbers of the answer, none where it failed, and whether the history does not cover the row."""
    try:
        (answer,) = client.post("/predict", json=row).raise_for_status().json()["predictions"]
        return numbers_in(answer), "history_gap_hours" in answer
    except (httpx.HTTPError, ValueError, KeyError):
        return (), False


def parse_traffic(exposition: str) -> Traffic:
    """Read a pod's traffic from its metrics in the Prometheus text format."""
    requests = failed = 0
    decisions: Counter[str] = Counter()
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            labels, value = sample.labels, int(sample.value)
            if sample.name == "http_requests_total" and labels["handler"] == "/predict":
                requests += value
                failed += value * httpx.codes.is_server_error(int(labels["status"]))
            if sample.name == "predictions_total":
                decisions[labels["decision"]] += value
    return Traffic(requests, failed, decisions)


def compare(canary: Observation, stable: Observation, contract: Contract) -> list[CanaryCheck]:
    """Compare a canary with the stable version."""
    return [
        _errors(canary, stable, 1 - contract.service.availability),
        _latency(canary, stable, contract.service.p99_ms),
        _distribution(canary, stable, contract.gates.max_bias),
    ]


def _errors(canary: Observation, stable: Observation, allowed: float) -> CanaryCheck:
    """No more requests may fail than the objective allows, or than fail with the stable version."""
    failed, posted = canary.failed, len(canary.predictions)
    live, other = (one.traffic.failed / max(one.traffic.requests, 1) for one in (canary, stable))
    return CanaryCheck(
        "errors",
        failed / posted <= allowed and live <= max(allowed, other),
        f"{failed} of {posted} requests failed, and of live traffic "
        f"{live:.2%} ({other:.2%} of the stable version's); the objective allows {allowed:.2%}",
    )


def _latency(canary: Observation, stable: Observation, objective: float) -> CanaryCheck:
    """The p99 must keep the objective or the stable version's pace, the median that pace."""
    p99, other = (np.quantile(one.milliseconds, 0.99, method="higher") for one in (canary, stable))
    slowdown = np.median(canary.milliseconds) / np.median(stable.milliseconds)
    return CanaryCheck(
        "latency",
        bool((p99 <= objective or p99 <= MAX_SLOWDOWN * other) and slowdown <= MAX_SLOWDOWN),
        f"99% within {p99:.1f} ms (stable {other:.1f}, objective {objective:g}), "
        f"the median {slowdown:.2f} times the stable version's",
    )


def _distribution(canary: Observation, stable: Observation, allowed: float) -> CanaryCheck:
    """Mean predictions on the same rows and shares of live decisions may move by the limit and by chance."""
    probes = zip(canary.predictions, stable.predictions, strict=True)
    both = [pair for pair in probes if all(pair)]
    if not both:
        return CanaryCheck("distribution", passed=False, sentence="no row was answered by both")
    differences = np.array([np.subtract(*pair) for pair in both])  # rows by numbers of a prediction
    rows = min(len(both), canary.distinct_rows)
    means = differences.mean(axis=0)
    margins = STANDARD_ERRORS * differences.std(axis=0) / math.sqrt(rows)
    worst = np.argmax(np.abs(means) - margins)
    passed = bool(abs(means[worst]) <= allowed + margins[worst])
    sentence = (
        f"on the same {rows} rows the mean moved by {means[worst]:+.3f}, give or take {margins[worst]:.3f}"
    )
    if min(one.traffic.decisions.total() for one in (canary, stable)) >= MIN_LIVE_ROWS:
        kept, decisions = _decisions(canary.traffic, stable.traffic, allowed)
        passed, sentence = passed and kept, f"{sentence}, {decisions}"
    for which, one in (("canary", canary), ("stable version", stable)):
        if one.without_history:
            lacks = one.without_history / len(one.predictions)
            sentence += f", and the {which} lacks the history that {lacks:.0%} of its answers look back at"
    return CanaryCheck("distribution", passed, f"{sentence}; {allowed:g} is allowed")


def _decisions(canary: Traffic, stable: Traffic, allowed: float) -> tuple[bool, str]:
    """Whether the decision whose share moved most moved no further than allowed, and which it is."""
    shares = {name: (canary.share(name), stable.share(name)) for name in canary.decisions | stable.decisions}
    decision = max(sorted(shares), key=lambda name: abs(shares[name][0] - shares[name][1]))
    mine, other = shares[decision]
    rows = (canary.decisions.total(), stable.decisions.total())
    error = math.sqrt(mine * (1 - mine) / rows[0] + other * (1 - other) / rows[1])
    kept = abs(mine - other) <= min(allowed, MAX_SHARE_SHIFT) + STANDARD_ERRORS * error
    return kept, f"live it decides “{decision}” for {mine:.1%} (stable {other:.1%})"

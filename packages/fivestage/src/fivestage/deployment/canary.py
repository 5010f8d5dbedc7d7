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

MAX_SLOWDOWN = 1.5  # ratio of the canary's latency to the stable version's, probed alternately
SIGNIFICANCE = 0.01  # of the test for slow requests: share of good canaries that noise alone may fail
STANDARD_ERRORS = 3.0  # tolerance for chance differences of a mean or a share
MAX_SHARE_SHIFT = 0.05  # of a decision; the contract's limit may be in the label's unit instead
MIN_LIVE_ROWS = 500  # per version, required to compare decisions on live traffic

REQUESTS, FAILED, DECISION = "requests", "failed", "decision: "

Numbers = tuple[float, ...]  # the numbers of one prediction
# Counts of pods' live traffic: requests, those that ended with a status of 500 or above, rows by decision.
# A Counter's difference is never negative, although a pod may have gone in the meantime.
Traffic = Counter[str]


@dataclass(frozen=True)
class Observation:
    """One version's answers to one-row probe requests, and its live traffic in the meantime."""

    milliseconds: tuple[float, ...]  # latency of each request
    predictions: tuple[Numbers, ...]  # the numbers of each answer; empty where the request failed
    distinct_rows: int  # number of different rows posted, each equally often
    without_history: int = 0  # answers to rows whose decision time its history does not cover
    traffic: Traffic = field(default_factory=Counter)  # live traffic of its pods


@dataclass(frozen=True)
class CanaryCheck:
    """One comparison and its outcome."""

    name: str
    passed: bool
    sentence: str


def probe_in_turns(
    clients: Sequence[httpx.Client], rows: Sequence[Mapping[str, Any]], probes_each: int
) -> list[Observation]:
    """Post the same rows to each client alternately, so that a slow machine slows all clients alike.

    Each row is posted equally often, so `probes_each` is rounded up to whole rounds of the rows.
    """
    rounds = math.ceil(probes_each / len(rows))
    probes: list[list[tuple[float, Numbers, bool]]] = [[] for _ in clients]
    for number in range(rounds * len(rows)):
        for offset in range(len(clients)):
            turn = (offset + number) % len(clients)
            started = time.perf_counter()
            numbers, without_history = _predict(clients[turn], rows[number % len(rows)])
            probes[turn].append(((time.perf_counter() - started) * 1000, numbers, without_history))
    return [
        Observation(milliseconds, predictions, len(rows), sum(gaps))
        for milliseconds, predictions, gaps in (zip(*one, strict=True) for one in probes)
    ]


def _predict(client: httpx.Client, row: Mapping[str, Any]) -> tuple[Numbers, bool]:
    """Return the answer's numbers (empty on failure) and whether the history does not cover the row."""
    try:
        (answer,) = client.post("/predict", json=row).raise_for_status().json()["predictions"]
        return numbers_in(answer), "history_gap_hours" in answer
    except (httpx.HTTPError, ValueError, KeyError):
        return (), False


def parse_traffic(exposition: str) -> Traffic:
    """Parse a pod's traffic from its metrics in the Prometheus text format."""
    traffic: Traffic = Counter()
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            labels, value = sample.labels, int(sample.value)
            if sample.name == "http_requests_total" and labels["handler"] == "/predict":
                traffic[REQUESTS] += value
                traffic[FAILED] += value * httpx.codes.is_server_error(int(labels["status"]))
            if sample.name == "predictions_total":
                traffic[f"{DECISION}{labels['decision']}"] += value
    return traffic


def compare(canary: Observation, stable: Observation, contract: Contract) -> list[CanaryCheck]:
    """Compare a canary with the stable version."""
    return [
        _errors(canary, stable, 1 - contract.service.availability),
        _latency(canary, stable, contract.service.p99_ms),
        _distribution(canary, stable, contract.gates.max_bias),
    ]


def _errors(canary: Observation, stable: Observation, allowed: float) -> CanaryCheck:
    """Compare failures with the objective; live ones may also be as frequent as the stable version's."""
    failed, posted = canary.predictions.count(()), len(canary.predictions)
    live, other = (one.traffic[FAILED] / max(one.traffic[REQUESTS], 1) for one in (canary, stable))
    return CanaryCheck(
        "errors",
        failed / posted <= allowed and live <= max(allowed, other),
        f"{failed} of {posted} probe requests failed and {live:.2%} of live requests "
        f"(stable version: {other:.2%}); the objective allows {allowed:.2%}",
    )


def _latency(canary: Observation, stable: Observation, objective: float) -> CanaryCheck:
    """Compare the median with the stable version's, and slow requests by McNemar's exact test.

    Noise slows either request of a pair of alternate probes equally often (McNemar, Psychometrika 12, 1947).
    """
    latencies = np.array([canary.milliseconds, stable.milliseconds])
    p99, other = np.quantile(latencies, 0.99, axis=1, method="higher")
    slowdown = np.divide(*np.median(latencies, axis=1))
    slow = latencies > max(objective, other)
    mine, theirs = (int(only.sum()) for only in slow & ~slow[::-1])
    chance = sum(math.comb(mine + theirs, n) for n in range(mine, mine + theirs + 1)) / 2 ** (mine + theirs)
    tail_kept = p99 <= max(objective, MAX_SLOWDOWN * other) or chance >= SIGNIFICANCE
    return CanaryCheck(
        "latency",
        bool(tail_kept and slowdown <= MAX_SLOWDOWN),
        f"99% within {p99:.1f} ms (stable {other:.1f}, objective {objective:g}), only the canary was slow in "
        f"{mine} pairs of probes, only stable in {theirs}, the median {slowdown:.2f} times stable's",
    )


def _distribution(canary: Observation, stable: Observation, allowed: float) -> CanaryCheck:
    """Compare mean predictions on the same rows, and shares of live decisions, beyond chance differences."""
    probes = zip(canary.predictions, stable.predictions, strict=True)
    both = [pair for pair in probes if all(pair)]
    if not both:
        return CanaryCheck("distribution", passed=False, sentence="no row was answered by both versions")
    differences = np.array([np.subtract(*pair) for pair in both])  # rows x numbers per prediction
    rows = min(len(both), canary.distinct_rows)
    means = differences.mean(axis=0)
    margins = STANDARD_ERRORS * differences.std(axis=0) / math.sqrt(rows)
    worst = np.argmax(np.abs(means) - margins)
    passed = bool(abs(means[worst]) <= allowed + margins[worst])
    sentence = f"on the same {rows} rows the mean differs by {means[worst]:+.3f} ± {margins[worst]:.3f}"
    live, other = (_by_decision(one.traffic) for one in (canary, stable))
    if min(live.total(), other.total()) >= MIN_LIVE_ROWS:
        kept, decisions = _compare_decisions(live, other, allowed)
        passed, sentence = passed and kept, f"{sentence}, {decisions}"
    for which, one in (("canary", canary), ("stable version", stable)):
        if one.without_history:
            share = one.without_history / len(one.predictions)
            sentence += f", and the {which} lacks the history for {share:.0%} of its answers"
    return CanaryCheck("distribution", passed, f"{sentence}; {allowed:g} is allowed")


def _by_decision(traffic: Traffic) -> Counter[str]:
    """Return the number of rows by decision."""
    return Counter({key.removeprefix(DECISION): n for key, n in traffic.items() if key.startswith(DECISION)})


def _compare_decisions(canary: Counter[str], stable: Counter[str], allowed: float) -> tuple[bool, str]:
    """Check the decision whose share of live rows differs most, and describe the difference."""
    rows = (canary.total(), stable.total())
    shares = {name: (canary[name] / rows[0], stable[name] / rows[1]) for name in canary | stable}
    decision = max(sorted(shares), key=lambda name: abs(shares[name][0] - shares[name][1]))
    mine, other = shares[decision]
    error = math.sqrt(mine * (1 - mine) / rows[0] + other * (1 - other) / rows[1])
    kept = abs(mine - other) <= min(allowed, MAX_SHARE_SHIFT) + STANDARD_ERRORS * error
    return kept, f"on live traffic it decides “{decision}” for {mine:.1%} of the rows (stable {other:.1%})"

"""Whether a canary answers as well as the version that serves: errors, latency, predictions."""

import math
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from fivestage.artifact.predictions import numbers_in
from fivestage.contract.contract import Contract

SERVER_ERROR = 500
SLOWER = 1.5  # times the stable version's, of what is measured in the same minute on the same way
SURE = 3.0  # standard errors
MOST_SHARE = 0.05  # by which decisions may shift, where the limit is in a label's unit
ENOUGH = 500  # rows of live traffic on each side, to compare their decisions


Numbers = tuple[float, ...]  # of a forecast


@dataclass(frozen=True)
class CanaryProbe:
    """What a version answered to the same rows, one a request: no numbers where it failed."""

    milliseconds: tuple[float, ...]
    forecasts: tuple[Numbers, ...]
    rows: int  # different ones, each asked as often as the others

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return sum(not one for one in self.forecasts)

    def quantile(self, share: float) -> float:
        """Milliseconds that this share of the requests stayed below."""
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True)
class Traffic:
    """What the pods of a version have answered to everybody since they started."""

    requests: float = 0
    failed: float = 0
    decisions: Mapping[str, float] = field(default_factory=dict)  # rows by what was decided

    @property
    def rows(self) -> float:
        """Rows answered."""
        return sum(self.decisions.values())

    def share(self, decision: str) -> float:
        """Of the rows, those for which it was decided so."""
        return self.decisions.get(decision, 0) / max(self.rows, 1)

    def since(self, before: "Traffic") -> "Traffic":
        """The part that came after; pods that have gone meanwhile do not count."""
        decided = {name: rows - before.decisions.get(name, 0) for name, rows in self.decisions.items()}
        return Traffic(
            max(0.0, self.requests - before.requests),
            max(0.0, self.failed - before.failed),
            {name: rows for name, rows in decided.items() if rows > 0},
        )


@dataclass(frozen=True)
class CanaryAnswers:
    """A version, as the probe and its pods' own counts saw it."""

    probe: CanaryProbe
    traffic: Traffic


@dataclass(frozen=True)
class Check:
    """One comparison and how it went."""

    name: str
    passed: bool
    sentence: str


def probe_both(
    clients: Sequence[httpx.Client], rows: Sequence[Mapping[str, Any]], rounds: int
) -> tuple[CanaryProbe, ...]:
    """Ask each client the same rows, in turns, so that what slows one slows the others too."""
    milliseconds: list[list[float]] = [[] for _ in clients]
    forecasts: list[list[Numbers]] = [[] for _ in clients]
    for number in range(rounds * len(rows)):
        for place in range(len(clients)):
            turn = (place + number) % len(clients)
            started = time.perf_counter()
            forecasts[turn].append(_ask(clients[turn], rows[number % len(rows)]))
            milliseconds[turn].append((time.perf_counter() - started) * 1000)
    return tuple(
        CanaryProbe(tuple(spent), tuple(told), len(rows))
        for spent, told in zip(milliseconds, forecasts, strict=True)
    )


def _ask(client: httpx.Client, row: Mapping[str, Any]) -> Numbers:
    try:
        answer = client.post("/predict", json=row)
        answer.raise_for_status()
        return numbers_in(answer.json()["predictions"][0])
    except (httpx.HTTPError, ValueError, KeyError, IndexError):
        return ()


def traffic_of(exposition: str) -> Traffic:
    """What a pod's metrics say of its predictions."""
    requests = failed = 0.0
    decisions: Counter[str] = Counter()
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "http_requests_total" and labels["handler"] == "/predict":
                requests += sample.value
                failed += sample.value * (int(labels["status"]) >= SERVER_ERROR)
            if sample.name == "predictions_total":
                decisions[labels["decision"]] += sample.value  # type: ignore[assignment]
    return Traffic(requests, failed, dict(decisions))


def total(parts: Sequence[Traffic]) -> Traffic:
    """The traffic of several pods."""
    decisions: Counter[str] = Counter()
    for one in parts:
        decisions.update(one.decisions)
    return Traffic(sum(one.requests for one in parts), sum(one.failed for one in parts), dict(decisions))


def checks(canary: CanaryAnswers, stable: CanaryAnswers, contract: Contract) -> tuple[Check, ...]:
    """Every comparison, in the order in which they are told."""
    return (
        _errors(canary, stable, 1 - contract.service.availability),
        _latency(canary.probe, stable.probe, contract.service.p99_ms),
        _distribution(canary, stable, contract.gates.max_bias),
    )


def _errors(canary: CanaryAnswers, stable: CanaryAnswers, allowed: float) -> Check:
    """Of its own requests and of everybody's, no more may fail than the objective, or than the stable's."""
    probed = canary.probe.failed / len(canary.probe.forecasts)
    live, other = (one.traffic.failed / max(one.traffic.requests, 1) for one in (canary, stable))
    passed = probed <= allowed and live <= max(allowed, other)
    return Check(
        "errors",
        passed,
        f"{canary.probe.failed} of {len(canary.probe.forecasts)} requests failed, and of live traffic "
        f"{live:.2%} ({other:.2%} of the stable version's); the objective allows {allowed:.2%}",
    )


def _latency(canary: CanaryProbe, stable: CanaryProbe, p99_ms: float) -> Check:
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


def _distribution(canary: CanaryAnswers, stable: CanaryAnswers, allowed: float) -> Check:
    """Means on the same rows, and the shares of decisions of as much live traffic as there was.

    The rows are few, and a retrained model moves each of them: what chance does to so small a mean is
    allowed for as well.
    """
    both = [pair for pair in zip(canary.probe.forecasts, stable.probe.forecasts, strict=True) if all(pair)]
    if not both:
        return Check("distribution", passed=False, sentence="no row was answered by both")
    apart = [[one - other for one, other in zip(*pair, strict=True)] for pair in both]
    rows = min(len(apart), canary.probe.rows)
    moved = [_mean_and_doubt(numbers, rows) for numbers in zip(*apart, strict=True)]
    shift, doubt = max(moved, key=lambda one: abs(one[0]) - one[1])
    passed = abs(shift) <= allowed + doubt
    told = f"on the same {rows} rows the mean moved by {shift:+.3f}, give or take {doubt:.3f}"
    if min(canary.traffic.rows, stable.traffic.rows) >= ENOUGH:
        kinds = sorted({*canary.traffic.decisions, *stable.traffic.decisions})
        by_kind = {kind: canary.traffic.share(kind) - stable.traffic.share(kind) for kind in kinds}
        kind = max(kinds, key=lambda one: abs(by_kind[one]))
        mine, other = canary.traffic.share(kind), stable.traffic.share(kind)
        noise = math.sqrt(sum(p * (1 - p) / one.traffic.rows for p, one in ((mine, canary), (other, stable))))
        passed = passed and abs(mine - other) <= min(allowed, MOST_SHARE) + SURE * noise
        told += f", live it decides “{kind}” for {mine:.1%} (stable {other:.1%})"
    return Check("distribution", passed, f"{told}; {allowed:g} is allowed")


def _mean_and_doubt(numbers: Sequence[float], rows: int) -> tuple[float, float]:
    """The mean over rows that were each asked several times, and by how much it may be off by chance."""
    return statistics.fmean(numbers), SURE * statistics.pstdev(numbers) / math.sqrt(rows)

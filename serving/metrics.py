"""Counts and durations, cheap to take and read out by Prometheus."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds


class Metrics(Collector):
    """What the service has done since it started; used from one thread."""

    def __init__(self) -> None:
        self.decisions: Counter[tuple[str, str]] = Counter()  # by model version and decision
        self.unknown: Counter[str] = Counter()  # by feature
        self.events: Counter[str] = Counter()  # by kind
        self.reloads: Counter[str] = Counter()  # by outcome
        self.gauges: dict[str, tuple[str, float]] = {}  # help text and value, by name
        self.model = ("", "")  # version and digest
        self._answers: Counter[tuple[str, str, int]] = Counter()  # by method, handler and status
        self._durations: dict[str, list[float]] = {}  # by handler: a count per bound, one above, and the sum

    def answered(self, method: str, handler: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._answers[method, handler, status] += 1
        durations = self._durations.get(handler)
        if durations is None:
            durations = self._durations[handler] = [0.0] * (len(BOUNDS) + 2)
        durations[bisect_left(BOUNDS, seconds)] += 1
        durations[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        answers = CounterMetricFamily(
            "http_requests", "Answers by method, handler and status.", labels=["method", "handler", "status"]
        )
        for (method, handler, status), times in self._answers.items():
            answers.add_metric([method, handler, str(status)], times)
        yield answers
        durations = HistogramMetricFamily(
            "http_request_duration_seconds", "From the whole request to the answer.", labels=["handler"]
        )
        for handler, counts in self._durations.items():
            total, buckets = 0.0, []
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=False):
                total += count
                buckets.append((bound, total))
            durations.add_metric([handler], buckets, counts[-1])
        yield durations
        yield _counter("predictions", "Rows answered.", ["model_version", "decision"], self.decisions)
        yield _counter(
            "unknown_categories", "Rows with a value that training never saw.", ["feature"], self.unknown
        )
        yield _counter("events", "Events taken in.", ["kind"], self.events)
        yield _counter("model_reloads", "Changes of the model, by outcome.", ["outcome"], self.reloads)
        model = GaugeMetricFamily("model_info", "The version that serves.", labels=["version", "digest"])
        model.add_metric(list(self.model), 1)
        yield model
        for name, (about, value) in self.gauges.items():
            yield GaugeMetricFamily(name, about, value=value)


def _counter(
    name: str, about: str, labels: list[str], counts: Counter[str] | Counter[tuple[str, str]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, about, labels=labels)
    for key, count in counts.items():
        family.add_metric([key] if isinstance(key, str) else list(key), count)
    return family

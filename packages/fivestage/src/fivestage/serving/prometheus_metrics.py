"""Prometheus metrics of the service; several workers share them in prometheus_client's multiprocess mode."""

import os
from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported
SERVER_ERROR = 500  # and above
FAILURES = (500, 503)  # initialised to 0, as `increase()` misses a counter that first appears with 1
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds


def bound_of(milliseconds: float) -> float:
    """Return the smallest histogram bound (seconds) that is at least a latency objective in milliseconds."""
    return next((one for one in BOUNDS if one >= milliseconds / 1000), BOUNDS[-1])


class ServingInfo:
    """An info gauge: 1 for the version being served, 0 for earlier ones, as shared series cannot be removed.

    Args:
        gauge: Its labels identify the version.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._served: tuple[str, ...] = ()

    def show(self, *labels: str) -> None:
        """Set the labels of the version being served from now on."""
        if self._served:
            self._gauge.labels(*self._served).set(0)
        self._served = labels
        self._gauge.labels(*labels).set(1)


class ServiceMetrics:
    """Metrics of one application since it started."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = partial(Counter, registry=self._registry)
        gauge = partial(Gauge, registry=self._registry, multiprocess_mode="mostrecent")
        requests = counter(
            "http_requests", "Responses by method, handler and status.", ["method", "handler", "status"]
        )
        durations = Histogram(
            "http_request_duration_seconds",
            "Seconds from the head of a request to its response, without failures.",
            ["handler"],
            buckets=BOUNDS,
            registry=self._registry,
        )
        predictions = counter("predictions", "Rows predicted.", ["model_version", "decision"])
        self.undefined = counter(
            "undefined_features",
            "Rows for which a feature could not be computed and was set to missing.",
            ["feature"],
        )
        self.unknown = counter(
            "unknown_categories", "Rows with a category that is not in the training data.", ["feature"]
        )
        self.outside_history = counter(
            "rows_outside_history",
            "Rows decided long before or after the period that the history covers, by side.",
            ["side"],
        )
        self.events = counter("events", "New events ingested.", ["kind"])
        self.reloads = counter("model_reloads", "Model reloads, by outcome.", ["outcome"])
        self.task_failures = counter(
            "background_task_failures", "Failures of background tasks; they are retried.", ["task"]
        )
        self.shadows_dropped = counter(
            "shadows_dropped", "Requests dropped because the challenger was too slow to shadow them."
        )
        self.spooled = gauge("answers_spooled", "Answers on disk that are not yet in the database.")
        self._model = ServingInfo(gauge("model_info", "The version being served.", ["version", "digest"]))
        self._compiled = gauge("trees_compiled", "1 if the trees run compiled, 0 if scored by Python code.")
        for outcome in ("activated", "refused"):
            self.reloads.labels(outcome)
        for side in ("ahead", "behind"):
            self.outside_history.labels(side)
        if SHARED_FOLDER not in os.environ:  # with several, each scrape would show the memory of another one
            ProcessCollector(registry=self._registry)

        # Cached, as looking up a labelled series costs more than incrementing it.
        self._prediction, self._duration = cache(predictions.labels), cache(durations.labels)

        @cache
        def request(method: str, handler: str, status: int) -> Counter:
            for failure in FAILURES:
                requests.labels(method, handler, failure)
            return requests.labels(method, handler, status)

        self._request = request

    def answered(self, method: str, handler: str, status: int, seconds: float) -> None:
        """Count a response, and its duration unless it is a failure, which may be fast or held back."""
        self._request(method, handler, status).inc()
        if status < SERVER_ERROR:
            self._duration(handler).observe(seconds)

    def predicted(self, version: str, decision: str) -> None:
        """Count a predicted row."""
        self._prediction(version, decision).inc()

    def serving(self, version: str, digest: str, *, compiled: bool) -> None:
        """Record the version being served from now on."""
        self._model.show(version, digest)
        self._compiled.set(float(compiled))
        self.reloads.labels("activated").inc()

    def exposition(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self._registry)
        all_workers = CollectorRegistry()
        MultiProcessCollector(all_workers)  # type: ignore[no-untyped-call]
        return generate_latest(all_workers)

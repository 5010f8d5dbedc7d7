"""Counts and durations for Prometheus, by prometheus_client; of all workers, in its multiprocess mode."""

import os
from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported
FAILURES = (500, 503)  # statuses counted from zero on: Prometheus sees no increase in what begins at one
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds


def bound_of(milliseconds: float) -> float:
    """The first bound of the histogram of durations (seconds) that is not below an objective."""
    return next((one for one in BOUNDS if one >= milliseconds / 1000), BOUNDS[-1])


class ServingInfo:
    """A gauge that is 1 for what serves, and 0 for what did: what processes share cannot be removed.

    Args:
        gauge: with labels that name what serves.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._served: tuple[str, ...] = ()

    def show(self, *labels: str) -> None:
        """Say what serves from now on."""
        if self._served:
            self._gauge.labels(*self._served).set(0)
        self._served = labels
        self._gauge.labels(*labels).set(1)


class ServiceMetrics:
    """What one application has done since it started."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = partial(Counter, registry=self._registry)
        gauge = partial(Gauge, registry=self._registry, multiprocess_mode="mostrecent")
        requests = counter(
            "http_requests", "Answers by method, handler and status.", ["method", "handler", "status"]
        )
        durations = Histogram(
            "http_request_duration_seconds",
            "From the head of a request to its answer.",
            ["handler"],
            buckets=BOUNDS,
            registry=self._registry,
        )
        predictions = counter("predictions", "Rows answered.", ["model_version", "decision"])
        self.undefined = counter(
            "undefined_features",
            "Rows for which a feature could not be computed: it counted as missing.",
            ["feature"],
        )
        self.unknown = counter(
            "unknown_categories", "Rows with a value that training never saw.", ["feature"]
        )
        self.outside_history = counter(
            "rows_outside_history",
            "Rows decided long before or after what the history covers, by side.",
            ["side"],
        )
        self.events = counter("events", "Events taken in.", ["kind"])
        self.reloads = counter("model_reloads", "Changes of the model, by outcome.", ["outcome"])
        self.task_failures = counter(
            "background_task_failures", "Failures of background tasks, which go on.", ["task"]
        )
        self.shadows_dropped = counter(
            "shadows_dropped", "Requests that a challenger was too slow to shadow."
        )
        self.spooled = gauge("answers_spooled", "Answers that wait on disk for the database.")
        self._model = ServingInfo(gauge("model_info", "The version that serves.", ["version", "digest"]))
        self._compiled = gauge("trees_compiled", "Whether the trees run as compiled tables.")
        for outcome in ("activated", "refused"):
            self.reloads.labels(outcome)
        for side in ("ahead", "behind"):
            self.outside_history.labels(side)
        if SHARED_FOLDER not in os.environ:  # one worker's memory would jump from scrape to scrape
            ProcessCollector(registry=self._registry)

        # Kept, as a look-up costs more than counting.
        self._prediction, self._duration = cache(predictions.labels), cache(durations.labels)

        @cache
        def request(method: str, handler: str, status: int) -> Counter:
            for failure in FAILURES:
                requests.labels(method, handler, failure)
            return requests.labels(method, handler, status)

        self._request = request

    def answered(self, method: str, handler: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._request(method, handler, status).inc()
        self._duration(handler).observe(seconds)

    def predicted(self, version: str, decision: str, times: int) -> None:
        """Count rows that were answered."""
        self._prediction(version, decision).inc(times)

    def serving(self, version: str, digest: str, *, compiled: bool) -> None:
        """Say which version serves from now on."""
        self._model.show(version, digest)
        self._compiled.set(float(compiled))
        self.reloads.labels("activated").inc()

    def exposition(self) -> bytes:
        """All of it as Prometheus reads it: of all workers, where there are several."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self._registry)
        everything = CollectorRegistry()
        MultiProcessCollector(everything)  # type: ignore[no-untyped-call]
        return generate_latest(everything)

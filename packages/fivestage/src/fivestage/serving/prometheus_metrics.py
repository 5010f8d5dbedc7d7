"""Counts and durations for Prometheus, by prometheus_client; of all workers, in its multiprocess mode."""

import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported
FAILURES = (500, 503)  # statuses counted from zero on: Prometheus sees no increase in what begins at one
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds


class ServiceMetrics:
    """What one application has done since it started."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self.requests = Counter(
            "http_requests",
            "Answers by method, handler and status.",
            ["method", "handler", "status"],
            registry=own,
        )
        self.durations = Histogram(
            "http_request_duration_seconds",
            "From the head of a request to its answer.",
            ["handler"],
            buckets=BOUNDS,
            registry=own,
        )
        self.predictions = Counter(
            "predictions", "Rows answered.", ["model_version", "decision"], registry=own
        )
        self.undefined = Counter(
            "undefined_features",
            "Rows for which a feature could not be computed: it counted as missing.",
            ["feature"],
            registry=own,
        )
        self.unknown = Counter(
            "unknown_categories", "Rows with a value that training never saw.", ["feature"], registry=own
        )
        self.outside_history = Counter(
            "rows_outside_history",
            "Rows decided long before or after what the history covers, by side.",
            ["side"],
            registry=own,
        )
        self.events = Counter("events", "Events taken in.", ["kind"], registry=own)
        self.reloads = Counter(
            "model_reloads", "Changes of the model, by outcome.", ["outcome"], registry=own
        )
        self.task_failures = Counter(
            "background_task_failures", "Failures of background tasks, which go on.", ["task"], registry=own
        )
        self.model = Gauge(
            "model_info",
            "The version that serves.",
            ["version", "digest"],
            registry=own,
            multiprocess_mode="livemax",
        )
        self.compiled = Gauge(
            "trees_compiled",
            "Whether the trees run as compiled tables.",
            registry=own,
            multiprocess_mode="livemin",
        )
        self.spooled = Gauge(
            "answers_spooled",
            "Answers that wait on disk for the database.",
            registry=own,
            multiprocess_mode="livesum",
        )
        self.shadows_dropped = Gauge(
            "shadows_dropped",
            "Requests that a challenger was too slow to shadow.",
            registry=own,
            multiprocess_mode="livesum",
        )
        for outcome in ("activated", "refused"):
            self.reloads.labels(outcome)
        for side in ("ahead", "behind"):
            self.outside_history.labels(side)
        self._registry = own
        self._answers: dict[tuple[str, str, int], Counter] = {}
        self._timings: dict[str, Histogram] = {}
        self._decisions: dict[tuple[str, str], Counter] = {}
        self._served: tuple[str, str] | None = None
        if SHARED_FOLDER not in os.environ:  # one worker's memory would jump from scrape to scrape
            ProcessCollector(registry=own)

    def answered(self, method: str, handler: str, status: int, seconds: float) -> None:
        """Count an answer; looked up labels are kept, as a look-up costs more than counting."""
        try:
            self._answers[method, handler, status].inc()
            self._timings[handler].observe(seconds)
        except KeyError:
            for one in {*FAILURES, status}:
                self._answers[method, handler, one] = self.requests.labels(method, handler, one)
            self._timings[handler] = self.durations.labels(handler)
            self.answered(method, handler, status, seconds)

    def predicted(self, version: str, decision: str, times: int) -> None:
        """Count rows that were answered."""
        counter = self._decisions.get((version, decision))
        if counter is None:
            counter = self._decisions[version, decision] = self.predictions.labels(version, decision)
        counter.inc(times)

    def serving(self, version: str, digest: str, *, compiled: bool) -> None:
        """Say which version serves from now on."""
        if self._served and self._served != (version, digest):
            if SHARED_FOLDER in os.environ:
                self.model.labels(*self._served).set(0)  # what is shared cannot be removed
            else:
                self.model.remove(*self._served)
        self._served = version, digest
        self.model.labels(version, digest).set(1)
        self.compiled.set(float(compiled))
        self.reloads.labels("activated").inc()

    def exposition(self) -> bytes:
        """All of it as Prometheus reads it: of all workers, where there are several."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self._registry)
        _forget_ended_workers(Path(os.environ[SHARED_FOLDER]))
        everything = CollectorRegistry()
        MultiProcessCollector(everything)  # type: ignore[no-untyped-call]
        return generate_latest(everything)


def _forget_ended_workers(folder: Path) -> None:
    """Their counters stay; what they were holding does not."""
    for path in folder.glob("gauge_live*.db"):
        process = int(path.stem.rpartition("_")[2])
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker was first
                mark_process_dead(process)  # type: ignore[no-untyped-call]

"""Counts and durations, cheap to take and read out by Prometheus."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fivestage.common.files import write_whole

OUTCOMES = ("taken up", "refused")  # of a change of the model
FAILURES = (500, 503)  # statuses
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds


class Counts(Struct):
    """What a worker tells the others of itself."""

    counters: dict[str, list[tuple[tuple[str, ...], int]]]
    durations: dict[str, list[float]]
    gauges: dict[str, tuple[str, float]]
    model: tuple[str, str]


class Metrics(Collector):
    """What the service has done since it started; used from one thread.

    What alarms is told from zero on: Prometheus sees no increase in a counter that begins at one.
    """

    def __init__(self) -> None:
        self.decisions: Counter[tuple[str, ...]] = Counter()  # by model version and decision
        self.unknown: Counter[tuple[str, ...]] = Counter()  # by feature
        self.events: Counter[tuple[str, ...]] = Counter()  # by kind
        self.reloads: Counter[tuple[str, ...]] = Counter({(outcome,): 0 for outcome in OUTCOMES})
        self.gauges: dict[str, tuple[str, float]] = {}  # help text and value, by name; workers' add up
        self.model = ("", "")  # version and digest
        self._answers: Counter[tuple[str, str, int]] = Counter()  # by method, handler and status
        self._durations: dict[str, list[float]] = {}  # by handler: a count per bound, one above, and the sum
        self._others: set[tuple[str, str]] = set()  # the models of workers that were added

    def answered(self, method: str, handler: str, status: int, seconds: float) -> None:
        """Count an answer."""
        durations = self._durations.get(handler)
        if durations is None:
            durations = self._durations[handler] = [0.0] * (len(BOUNDS) + 2)
            self._answers.update({(method, handler, failure): 0 for failure in FAILURES})
        self._answers[method, handler, status] += 1
        durations[bisect_left(BOUNDS, seconds)] += 1
        durations[-1] += seconds

    def counts(self) -> Counts:
        """All of it, to be kept or sent."""
        answers = {
            (method, handler, str(status)): n for (method, handler, status), n in self._answers.items()
        }
        counters = {"decisions": self.decisions, "unknown": self.unknown, "events": self.events}
        counters |= {"reloads": self.reloads, "answers": Counter(answers)}
        listed = {name: list(counter.items()) for name, counter in counters.items()}
        return Counts(listed, self._durations, self.gauges, self.model)

    def add(self, counts: Counts) -> None:
        """Add what another worker has done, or this one before it was started again."""
        for name in ("decisions", "unknown", "events", "reloads"):
            counter = getattr(self, name)
            for labels, times in counts.counters[name]:
                counter[labels] += times
        for (method, handler, status), times in counts.counters["answers"]:
            self._answers[method, handler, int(status)] += times
        for handler, theirs in counts.durations.items():
            ours = self._durations.get(handler, [0.0] * len(theirs))
            self._durations[handler] = [one + other for one, other in zip(ours, theirs, strict=True)]

    def add_state(self, counts: Counts) -> None:
        """Add how another worker is doing."""
        for name, (about, value) in counts.gauges.items():
            self.gauges[name] = (about, self.gauges.get(name, ("", 0.0))[1] + value)
        self._others.add(counts.model)

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
        for version, digest in sorted({self.model, *self._others} - {("", "")}):
            model.add_metric([version, digest], 1)
        yield model
        for name, (about, value) in self.gauges.items():
            yield GaugeMetricFamily(name, about, value=value)


def _counter(
    name: str, about: str, labels: list[str], counts: Counter[tuple[str, ...]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, about, labels=labels)
    for key, count in counts.items():
        family.add_metric(list(key), count)
    return family


class Shared:
    """Each worker's counts in a file of a folder; whichever is asked tells the sums."""

    def __init__(self, folder: Path, worker: int, metrics: Metrics) -> None:
        self._folder, self._mine, self._metrics = folder, folder / f"{worker}.json", metrics
        self._encode, self._decode = msgspec.json.encode, msgspec.json.Decoder(Counts).decode
        if self._mine.exists():  # of the process that this one takes the place of
            metrics.add(self._decode(self._mine.read_bytes()))

    def keep(self) -> None:
        """Write down what has been done; what a kill takes is a second's."""
        counts = self._metrics.counts()
        write_whole(self._mine, lambda scratch: scratch.write_bytes(self._encode(counts)))

    def total(self) -> Metrics:
        """The sums over all workers."""
        total = Metrics()
        for path in sorted(self._folder.glob("[0-9]*.json")):
            counts = self._metrics.counts() if path == self._mine else self._decode(path.read_bytes())
            total.add(counts)
            total.add_state(counts)
        return total

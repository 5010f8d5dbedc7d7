"""What lies behind an alarm, read from the report's test results: nothing else decides."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from evidently.core.metric_types import MetricTestResult
from evidently.core.report import Snapshot
from evidently.legacy.tests.base_test import TestStatus

from fivestage.monitoring.daily_statistics import ROWS
from fivestage.monitoring.drift import DailySeries, Finding
from fivestage.monitoring.evidently_drift import LABELS, ScoreLimit, findings_in
from fivestage.monitoring.label_drift import LABEL, SURE_ROWS

Kind = Literal["data broken", "input shift", "label-rate shift", "concept shift", "performance"]
HARDLY = 0.002  # a mean forecast that moves by less has hardly moved
EVIDENTLY_SAYS = ": Actual value"
QUALITY = (
    "classification",
    "regression",
)  # Evidently's modules of metrics that judge the model, not the data


@dataclass(frozen=True)
class Effect:
    """What a column's values of now do to the model, against those of the days before."""

    shift: float  # of the mean probability
    importance: float  # mean distance of the probabilities when the column's usual values are exchanged
    changed: float  # share of decisions
    loss_per_1000: float  # money, if the values of now say nothing


@dataclass(frozen=True)
class Cause:
    """One cause: what moved, since when, what that does, and the days as a picture."""

    kind: Kind
    subject: str
    sentence: str
    series: DailySeries | None = None


def failed_tests(snapshot: Snapshot) -> tuple[Cause, ...]:
    """A cause for each subject whose tests did not pass, broken data first, in its furthest test's words.

    A failure of a check of the data means that they are broken, which blocks a training; a warning that they
    moved. Labels that go another way while data are broken are no cause of their own: the data explain them.
    """
    found: dict[tuple[str, str], Cause] = {}
    for test in _in_order(snapshot):
        cause = _cause(test, snapshot)
        family = "data" if cause.kind in ("data broken", "input shift") else cause.kind
        found.setdefault((family, cause.subject), cause)
    causes = list(found.values())
    broken = any(one.kind == "data broken" for one in causes)
    explained = ("label-rate shift", "concept shift")
    return tuple(one for one in causes if not (broken and one.kind in explained))


def with_effects(
    causes: tuple[Cause, ...], effects: Mapping[str, Effect], currency: str
) -> tuple[Cause, ...]:
    """The causes with what moved columns do to the score, by which they are sorted within their kind."""
    kinds = ("data broken", "input shift")

    def order(cause: Cause) -> tuple[int, float]:
        if cause.kind not in kinds:
            return len(kinds), 0.0
        effect = effects.get(cause.subject)
        weight = 0.0 if effect is None else -abs(effect.shift) - effect.importance
        return kinds.index(cause.kind), weight

    return tuple(_and_effect(one, effects.get(one.subject), currency) for one in sorted(causes, key=order))


def _in_order(snapshot: Snapshot) -> list[MetricTestResult]:
    """Tests that did not pass: failures, then warnings, each as the report has them, furthest first."""
    order = [TestStatus.ERROR, TestStatus.FAIL, TestStatus.WARNING]
    return sorted(
        (test for test in snapshot.tests_results if test.status in order),
        key=lambda test: test.status == TestStatus.WARNING,
    )


def _cause(test: MetricTestResult, snapshot: Snapshot) -> Cause:
    params = test.metric_config.params
    finding = _finding(params, snapshot)
    subject = str(params.get("column", params.get("score", ROWS)))
    if finding is None:
        metric = snapshot.context.get_metric(test.metric_config.metric_id).to_metric()
        if isinstance(metric, ScoreLimit):  # its sentence has the limit already, which Evidently repeats
            return Cause("performance", subject, test.description.partition(EVIDENTLY_SAYS)[0])
        of_model = type(metric).__module__.endswith(QUALITY)
        return Cause("performance" if of_model else _of_data(test), subject, test.description)
    if params["check"] == LABELS:
        of_rate = finding.column.endswith((LABEL, SURE_ROWS))
        kind: Kind = "label-rate shift" if of_rate else "concept shift"
        return Cause(kind, "the label", test.description, finding.series)
    return Cause(_of_data(test), subject, test.description, finding.series)


def _finding(params: Mapping[str, object], snapshot: Snapshot) -> Finding | None:
    if "statistic" not in params:
        return None
    found = findings_in(snapshot.context, str(params["check"]))
    return found.get((str(params["column"]), str(params["statistic"])))


def _of_data(test: MetricTestResult) -> Kind:
    return "input shift" if test.status == TestStatus.WARNING else "data broken"


def _and_effect(cause: Cause, effect: Effect | None, currency: str) -> Cause:
    if effect is None:
        return cause
    if abs(effect.shift) < HARDLY and effect.changed < HARDLY:
        return replace(cause, sentence=f"{cause.sentence}; the score hardly changes")
    sentence = (
        f"{cause.sentence}; it moves the mean prediction by {effect.shift:+.3f} and changes "
        f"{effect.changed:.1%} of decisions"
    )
    if cause.kind == "data broken":
        sentence += f", which costs {effect.loss_per_1000:,.0f} {currency} per 1,000 if the values are wrong"
    return replace(cause, sentence=sentence)

"""What lies behind an alarm, read from the report's test results: nothing else decides."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from evidently.core.metric_types import Metric, MetricTestResult
from evidently.core.report import Snapshot
from evidently.legacy.tests.base_test import TestStatus

from fivestage.monitoring.daily_statistics import ROWS
from fivestage.monitoring.drift import DailySeries
from fivestage.monitoring.evidently_drift import INPUTS, LABELS, SCORE, DriftStatistic
from fivestage.monitoring.evidently_quality import ScoreLimit
from fivestage.monitoring.label_drift import LABEL, SURE_ROWS

Kind = Literal["data broken", "input shift", "label-rate shift", "concept shift", "performance"]
HARDLY = 0.002  # a mean forecast that moves by less has hardly moved
EVIDENTLY_SAYS = ": Actual value"
QUALITY = ("classification", "regression")  # Evidently's modules that judge the model, not the data
UNMET = (TestStatus.ERROR, TestStatus.FAIL, TestStatus.WARNING)
DATA = ("data broken", "input shift")


@dataclass(frozen=True)
class Effect:
    """What a column's values of now do to the model, against those of the days before."""

    shift: float  # of the mean probability
    changed: float  # share of decisions
    loss_per_1000: float  # money, if the values of now say nothing


@dataclass(frozen=True)
class Cause:
    """One cause: what moved, since when, what that does, and the days as a picture."""

    kind: Kind
    subject: str
    sentence: str
    series: DailySeries | None = None


@dataclass(frozen=True)
class DriftRow:
    """A column's furthest statistic: from an exceedance of 1 on it drifted."""

    column: str
    exceedance: float
    sentence: str


def failed_tests(snapshot: Snapshot) -> tuple[Cause, ...]:
    """A cause for each subject whose tests did not pass, broken data first, in its furthest test's words.

    A failure of a check of the data means that they are broken, which blocks a training; a warning that they
    moved. Labels that go another way while data are broken are no cause of their own: the data explain them.
    """
    unmet = [one for one in snapshot.tests_results if one.status in UNMET]
    found: dict[tuple[str, str], Cause] = {}
    for test in sorted(unmet, key=lambda one: one.status == TestStatus.WARNING):
        cause = _cause(test, _metric(test, snapshot))
        family = "data" if cause.kind in DATA else cause.kind
        found.setdefault((family, cause.subject), cause)
    causes = tuple(found.values())
    if all(one.kind != "data broken" for one in causes):
        return causes
    return tuple(one for one in causes if one.kind not in ("label-rate shift", "concept shift"))


def drift_rows(snapshot: Snapshot) -> tuple[DriftRow, ...]:
    """The furthest statistic of each column, inputs and scores."""
    found: dict[str, DriftRow] = {}
    for metric in (_metric(test, snapshot) for test in snapshot.tests_results):
        if isinstance(metric, DriftStatistic) and metric.check in (INPUTS, SCORE):
            one = metric.finding
            words = f"{one.column}: {one.sentence if one.drifted else 'as in the reference'}"
            found.setdefault(one.column, DriftRow(one.column, one.exceedance, words))
    return tuple(found.values())


def with_effects(
    causes: tuple[Cause, ...], effects: Mapping[str, Effect], currency: str
) -> tuple[Cause, ...]:
    """The causes with what moved columns do to the score, by which they are sorted within their kind."""

    def order(cause: Cause) -> tuple[int, float]:
        if cause.kind not in DATA:
            return len(DATA), 0.0
        effect = effects.get(cause.subject)
        return DATA.index(cause.kind), 0.0 if effect is None else -abs(effect.shift)

    return tuple(_and_effect(one, effects.get(one.subject), currency) for one in sorted(causes, key=order))


def _metric(test: MetricTestResult, snapshot: Snapshot) -> Metric:
    found: Metric = snapshot.context.get_metric(test.metric_config.metric_id).to_metric()
    return found


def _cause(test: MetricTestResult, metric: Metric) -> Cause:
    of_data: Kind = "input shift" if test.status == TestStatus.WARNING else "data broken"
    if isinstance(metric, ScoreLimit):  # its sentence has the limit already, which Evidently repeats
        return Cause("performance", metric.score, test.description.partition(EVIDENTLY_SAYS)[0])
    if isinstance(metric, DriftStatistic):
        series = metric.finding.series
        if metric.check != LABELS:
            return Cause(of_data, metric.column, test.description, series)
        of_rate = metric.column.endswith((LABEL, SURE_ROWS))
        kind: Kind = "label-rate shift" if of_rate else "concept shift"
        return Cause(kind, "the label", test.description, series)
    of_model = type(metric).__module__.endswith(QUALITY)
    return Cause("performance" if of_model else of_data, getattr(metric, "column", ROWS), test.description)


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

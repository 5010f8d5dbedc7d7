"""Causes of an alarm, from the report's failed tests, and their effects on the model."""

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from evidently.core.metric_types import Metric, MetricTestResult
from evidently.core.report import Snapshot
from evidently.legacy.tests.base_test import TestStatus

from fivestage.artifact.artifact import Artifact
from fivestage.contract.contract import Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import VALUE, cost_model_of
from fivestage.evaluation.daily import DECISIONS, Floats
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.monitoring.daily_statistics import ROWS
from fivestage.monitoring.drift import DailySeries, Finding
from fivestage.monitoring.evidently_drift import INPUTS, LABELS, SCORE, DriftStatistic
from fivestage.monitoring.evidently_quality import ScoreLimit
from fivestage.monitoring.label_drift import CONFIDENT_ROWS, LABEL

Kind = Literal["data broken", "input shift", "label-rate shift", "concept shift", "performance"]
NEGLIGIBLE = 0.002  # a smaller shift of the mean forecast, or share of changed decisions
CLASS = re.compile(r"\bclass (\d+)\b")
EVIDENTLY_SAYS = ": Actual value"
# Evidently's modules of metrics that judge the model, not the data.
QUALITY = ("classification", "regression")
UNMET = (TestStatus.ERROR, TestStatus.FAIL, TestStatus.WARNING)
DATA = ("data broken", "input shift")
LABEL_SUBJECT = "the label"
EFFECT_ROWS, EFFECT_DRAWS = 500, 2


@dataclass(frozen=True)
class Cause:
    """One cause: what moved, since when, its effect, and the daily series for the chart."""

    kind: Kind
    subject: str
    sentence: str
    series: DailySeries | None = None


def failed_tests(snapshot: Snapshot) -> tuple[Cause, ...]:
    """Return a cause for each subject whose tests failed, in the words of its first one; broken data first.

    A failed test of the data means that they are broken, which blocks retraining; a warning means drift.
    Label drift while data are broken is not listed, because the broken data explain it.
    """
    failed = [one for one in snapshot.tests_results if one.status in UNMET]
    causes: dict[tuple[str, str], Cause] = {}
    for test in sorted(failed, key=lambda one: one.status == TestStatus.WARNING):
        cause = _cause(test, _metric(test, snapshot))
        causes.setdefault(("data" if cause.kind in DATA else cause.kind, cause.subject), cause)
    broken = any(one.kind == "data broken" for one in causes.values())
    return tuple(one for one in causes.values() if not (broken and one.subject == LABEL_SUBJECT))


def furthest_findings(snapshot: Snapshot) -> tuple[Finding, ...]:
    """Return the statistic that moved furthest for each input and score column."""
    furthest: dict[str, Finding] = {}
    for metric in (_metric(test, snapshot) for test in snapshot.tests_results):
        if isinstance(metric, DriftStatistic) and metric.check in (INPUTS, SCORE):
            furthest.setdefault(metric.column, replace(metric.finding, series=None))
    return tuple(furthest.values())


def explained(
    causes: tuple[Cause, ...], current: pd.DataFrame, usual: pd.DataFrame, model: Artifact, contract: Contract
) -> tuple[Cause, ...]:
    """Add the effects of the model's columns and the names of classes, and sort each kind by its effects.

    The effect of a column is that of its current values against usual ones, drawn at random.
    """
    kinds, found = [*DATA, "label-rate shift", "concept shift"], []
    classes = contract.label.classes if isinstance(contract, MulticlassContract) else ()
    names = {f"{place}": f"“{name}”" for place, name in enumerate(classes)}
    draw = np.random.default_rng(0)
    now, *then = (
        frame.iloc[draw.choice(len(frame), min(EFFECT_ROWS, len(current)))].reset_index(drop=True)
        for frame in (current, *[usual] * EFFECT_DRAWS)
    )
    forecast = artifact_forecast(model, now)
    for cause in causes:
        sentence, shift = CLASS.sub(lambda index: names.get(index[1], index[0]), cause.sentence), 0.0
        if (name := cause.subject) in model.features:
            replaced = [artifact_forecast(model, now.assign(**{name: one[name]})) for one in then]
            without = np.asarray(np.mean(replaced, axis=0))
            shift, words = _effect(forecast, without, cause.kind, model, contract)
            sentence += words
        found.append((kinds.index(cause.kind), -abs(shift), replace(cause, sentence=sentence)))
    return tuple(cause for *_, cause in sorted(found, key=lambda one: one[:2]))


def _effect(
    forecast: Floats, usual: Floats, kind: Kind, model: Artifact, contract: Contract
) -> tuple[float, str]:
    """Return the shift of the mean forecast, and the last clause of a cause's sentence."""
    decided, otherwise = model.decide(forecast), model.decide(usual)
    moved = np.atleast_1d((forecast - usual).mean(axis=0))
    shift, changed = float(moved[np.abs(moved).argmax()]), float((decided != otherwise).mean())
    if abs(shift) < NEGLIGIBLE and changed < NEGLIGIBLE:
        return shift, "; the score hardly changes"
    words = f"; it moves the mean prediction by {shift:+.3f} and changes {changed:.1%} of decisions"
    if kind != "data broken":
        return shift, words
    truth = usual[:, VALUE] if isinstance(contract, RegressionContract) else usual
    cost_model = cost_model_of(contract.costs)
    loss = float((cost_model.price(truth, decided) - cost_model.price(truth, otherwise)).mean()) * DECISIONS
    money = f"{loss:,.0f} {contract.costs.currency} per 1,000"
    return shift, f"{words}, which costs {money} if the values are wrong"


def _metric(test: MetricTestResult, snapshot: Snapshot) -> Metric:
    metric: Metric = snapshot.context.get_metric(test.metric_config.metric_id).to_metric()
    return metric


def _cause(test: MetricTestResult, metric: Metric) -> Cause:
    of_data: Kind = "input shift" if test.status == TestStatus.WARNING else "data broken"
    sentence = test.description.partition(EVIDENTLY_SAYS)[0]  # what follows is in units of the statistic
    if isinstance(metric, ScoreLimit):  # the sentence already has the limit
        return Cause("performance", metric.score, sentence)
    if isinstance(metric, DriftStatistic):
        series = metric.finding.series
        sentence = f"{sentence}, {metric.finding.exceedance:.1f} times its limit"
        if metric.check != LABELS:
            return Cause(of_data, metric.column, sentence, series)
        of_rate = metric.column.endswith((LABEL, CONFIDENT_ROWS))
        kind: Kind = "label-rate shift" if of_rate else "concept shift"
        return Cause(kind, LABEL_SUBJECT, sentence, series)
    of_model = type(metric).__module__.endswith(QUALITY)
    return Cause("performance" if of_model else of_data, getattr(metric, "column", ROWS), test.description)

"""Causes of an alarm, from the report's failed tests, and their effects on the model."""

import re
from collections.abc import Iterable, Mapping
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
from fivestage.evaluation.daily import DECISIONS
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
class Effect:
    """The effect of a column's current values on the model, compared with those of the days before."""

    shift: float = 0.0  # of the mean forecast
    changed: float = 0.0  # share of decisions
    loss_per_1000: float = 0.0  # money, if the current values are wrong

    def words(self, kind: Kind, currency: str) -> str:
        """Return the effect as the last clause of a cause's sentence."""
        if abs(self.shift) < NEGLIGIBLE and self.changed < NEGLIGIBLE:
            return "; the score hardly changes"
        words = (
            f"; it moves the mean prediction by {self.shift:+.3f} and changes {self.changed:.1%} of decisions"
        )
        if kind != "data broken":
            return words
        return f"{words}, which costs {self.loss_per_1000:,.0f} {currency} per 1,000 if the values are wrong"


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


def effects_of(
    columns: Iterable[str], current: pd.DataFrame, usual: pd.DataFrame, model: Artifact, contract: Contract
) -> dict[str, Effect]:
    """Estimate the effect of each of the model's columns by replacing it with randomly drawn usual values."""
    draw = np.random.default_rng(0)
    now, *then = (
        frame.iloc[draw.choice(len(frame), min(EFFECT_ROWS, len(current)))].reset_index(drop=True)
        for frame in (current, *[usual] * EFFECT_DRAWS)
    )
    predicted, cost_model, effects = artifact_forecast(model, now), cost_model_of(contract.costs), {}
    for name in (one for one in columns if one in model.features):
        replaced = [artifact_forecast(model, now.assign(**{name: one[name]})) for one in then]
        without = np.asarray(np.mean(replaced, axis=0), dtype=np.float64)
        truth = without[:, VALUE] if isinstance(contract, RegressionContract) else without
        decided, otherwise = model.decide(predicted), model.decide(without)
        moved = np.atleast_1d((predicted - without).mean(axis=0))
        loss = cost_model.price(truth, decided) - cost_model.price(truth, otherwise)
        effects[name] = Effect(
            shift=float(moved[np.abs(moved).argmax()]),
            changed=float((decided != otherwise).mean()),
            loss_per_1000=float(loss.mean()) * DECISIONS,
        )
    return effects


def explained(
    causes: tuple[Cause, ...], effects: Mapping[str, Effect], contract: Contract
) -> tuple[Cause, ...]:
    """Add the columns' effects and the names of classes to the causes, and sort each kind by its effects."""
    kinds, found = [*DATA, "label-rate shift", "concept shift"], []
    classes = contract.label.classes if isinstance(contract, MulticlassContract) else ()
    names = {f"{place}": f"“{name}”" for place, name in enumerate(classes)}
    for cause in causes:
        effect = effects.get(cause.subject, Effect())
        words = effect.words(cause.kind, contract.costs.currency) if cause.subject in effects else ""
        sentence = CLASS.sub(lambda index: names.get(index[1], index[0]), cause.sentence) + words
        found.append((kinds.index(cause.kind), -abs(effect.shift), replace(cause, sentence=sentence)))
    return tuple(cause for *_, cause in sorted(found, key=lambda one: one[:2]))


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

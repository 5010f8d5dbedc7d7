"""Calibrated drift as Evidently metrics: presets for inputs, scores and labels, and tests that decide.

A preset compares the current days with the reference's once for each `Context` and generates one metric for
each statistic of each column, with its tests: `lt(limit, is_critical=False)` where chance ends (a warning:
drift), and where hard evidence exists `lt(broken)` (a failure: the data are broken).
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from evidently import Dataset
from evidently.core.container import MetricContainer, MetricOrContainer
from evidently.core.datasets import ColumnStats, ColumnType, GeneralColumnStats, PandasDataset, StatCountValue
from evidently.core.metric_types import (
    BoundTest,
    ColumnMetric,
    Metric,
    SingleValue,
    SingleValueCalculation,
    SingleValueMetric,
)
from evidently.core.report import Context
from evidently.legacy.renderers.html_widgets import CounterData, counter, plotly_figure
from evidently.tests import lt, lte

from fivestage.common.clock import DAY
from fivestage.contract.contract import LEAST_REFERENCE, day_of
from fivestage.monitoring.daily_statistics import Window
from fivestage.monitoring.drift import DailySeries, Finding, detect_drift
from fivestage.monitoring.label_drift import label_findings

DAY_COLUMN, LABEL_COLUMN, FORECAST_COLUMN = "decision day", "label", "forecast"
PREDICTED_COLUMN = "predicted class"
INPUTS, SCORE, LABELS = "inputs", "score", "labels"  # the checks, as tests name them
SCORES = "scores"  # the additional dataset of a report, see `ScoreLimit`

_findings: WeakKeyDictionary[Context, dict[str, dict[tuple[str, str], Finding]]] = WeakKeyDictionary()


def findings_in(context: Context, check: str) -> dict[tuple[str, str], Finding]:
    """What a preset has found in a run, by column and statistic."""
    return _findings.get(context, {}).get(check, {})


class CalibratedDrift(MetricContainer):
    """Preset: every statistic of some columns against the reference's days, see `detect_drift`.

    `false_alarm` is the chance that any of them alarms where nothing changed but the days. From
    `reference_from` on (a day's number) the reference is used; where too few days are left, nothing is
    compared.
    """

    columns: list[str]
    false_alarm: float = 0.01
    reference_from: int = 0
    name: str = INPUTS

    def generate_metrics(self, context: Context) -> Sequence[MetricOrContainer]:
        """A metric for each finding, those that moved furthest first."""
        findings = self._compare(*_frames(context))
        _findings.setdefault(context, {})[self.name] = {(one.column, one.statistic): one for one in findings}
        return [DriftedColumns(check=self.name), *(_metric(one, self.name) for one in findings)]

    def _compare(self, reference: pd.DataFrame, current: pd.DataFrame) -> list[Finding]:
        windows = windows_of(reference, current, self.columns, self.reference_from)
        return [] if windows is None else detect_drift(*windows, self.false_alarm)


class LabelDrift(CalibratedDrift):
    """Preset: the label against what the forecasts said of it, on the rows whose label has arrived."""

    forecasts: list[str]
    task: str = "binary"
    name: str = LABELS

    def _compare(self, reference: pd.DataFrame, current: pd.DataFrame) -> list[Finding]:
        used = reference[reference[DAY_COLUMN] >= self.reference_from]
        frames = used[used[LABEL_COLUMN].notna()], current[current[LABEL_COLUMN].notna()]
        windows = windows_of(*frames, self.columns)
        if windows is None:
            return []
        labels = [one[LABEL_COLUMN].to_numpy(dtype=np.float64) for one in frames]
        predictions = [one[self.forecasts].to_numpy(dtype=np.float64) for one in frames]
        return label_findings(windows, labels, predictions, self.task, self.false_alarm)


def windows_of(
    reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[str], reference_from: int = 0
) -> tuple[Window, Window] | None:
    """Windows of a report's frames; None where the reference is too short to know chance from."""
    frames = reference[reference[DAY_COLUMN] >= reference_from], current
    if any(frame.empty for frame in frames):
        return None
    then, now = (
        Window(frame[list(columns)], day, int(day[0]), int(day[-1] - day[0]) + 1)
        for frame in frames
        for day in [frame[DAY_COLUMN].to_numpy(dtype=np.int64)]
    )
    return None if then.days < LEAST_REFERENCE * now.days else (then, now)


class DriftStatistic(ColumnMetric, SingleValueMetric):
    """How far one statistic of a column lies from the reference's days; made by the preset named `check`."""

    statistic: str
    check: str = INPUTS


def _metric(finding: Finding, check: str) -> DriftStatistic:
    tests: list[Any] = [lt(finding.limit, is_critical=False)]
    if finding.broken is not None:
        tests.append(lt(max(finding.broken, finding.limit)))
    return DriftStatistic(column=finding.column, statistic=finding.statistic, check=check, tests=tests)


class DriftStatisticCalculation(SingleValueCalculation[DriftStatistic]):
    """The value that the preset's comparison has found, and its picture where it moved."""

    def calculate(
        self, context: Context, _current_data: Dataset, _reference_data: Dataset | None
    ) -> SingleValue:
        """See `SingleValueCalculation`."""
        finding = findings_in(context, self.metric.check)[self.metric.column, self.metric.statistic]
        since = "" if finding.since is None else f"; since {day_of(finding.since * DAY)}"
        title = f"{finding.column}: {finding.sentence}{since}"
        result = self.result(finding.value)
        result.display_name = title
        series = finding.series  # a picture of what moved alone
        result.widget = [plotly_figure(title=title, figure=_figure(series))] if series else []
        return result

    def display_name(self) -> str:
        """See `SingleValueCalculation`."""
        return f"{self.metric.column}: {self.metric.statistic}"


def _figure(series: DailySeries) -> go.Figure:
    """The reference's days, the current ones, and what nine in ten of the reference's days lie between."""
    days, split = len(series.usual) + len(series.now), len(series.usual)
    dates = [str(day_of((series.first + day) * DAY)) for day in range(days)]
    figure = go.Figure()
    figure.add_hrect(y0=series.low, y1=series.high, fillcolor="grey", opacity=0.15, line_width=0)
    figure.add_scatter(x=dates[:split], y=series.usual, name="reference", line={"color": "grey"})
    figure.add_scatter(x=dates[split:], y=series.now, name="current", line={"color": "#ed0400"})
    figure.update_layout(margin={"t": 10, "b": 30}, yaxis_title=series.what)
    return figure


class DriftedColumns(SingleValueMetric):
    """How many columns drifted in a preset's comparison: for the dashboard over the periods."""

    check: str = INPUTS


class DriftedColumnsCalculation(SingleValueCalculation[DriftedColumns]):
    """Counted from the findings."""

    def calculate(
        self, context: Context, _current_data: Dataset, _reference_data: Dataset | None
    ) -> SingleValue:
        """See `SingleValueCalculation`."""
        found = findings_in(context, self.metric.check).values()
        result = self.result(len({one.column for one in found if one.drifted}))
        result.widget = []
        return result

    def display_name(self) -> str:
        """See `SingleValueCalculation`."""
        return f"{self.metric.check}: columns that drifted"


class ScoreLimit(SingleValueMetric):
    """How far a score of the labelled rows is off, where its interval over days says that chance is not why.

    Reads the additional dataset `SCORES`, one row a score: its value, how far it is off beyond chance, what
    may be, and the words; see `fivestage.monitoring.performance`.
    """

    score: str

    def get_bound_tests(self, context: Context) -> list[BoundTest]:
        """The score's limit, where enough labels have arrived to judge it."""
        row = _score(context, self.score)
        tests = [lte(float(row["allowed"]), is_critical=False)] if row and row["judged"] else []
        return [one.for_metric().bind_single(self.get_fingerprint()) for one in tests]


class ScoreLimitCalculation(SingleValueCalculation[ScoreLimit]):
    """The score's row."""

    def calculate(
        self, context: Context, _current_data: Dataset, _reference_data: Dataset | None
    ) -> SingleValue:
        """See `SingleValueCalculation`."""
        row = _score(context, self.metric.score)
        result = self.result(float(row["beyond_chance"]) if row else 0.0)
        result.display_name = str(row["sentence"]) if row else f"{self.metric.score}: no label has arrived"
        shown = CounterData(label=self.metric.score, value=str(row["shown"]) if row else "none yet")
        result.widget = [counter(title=result.display_name, counters=[shown])]  # the test's value says less
        return result

    def display_name(self) -> str:
        """See `SingleValueCalculation`."""
        return str(self.metric.score)


def _score(context: Context, score: str) -> dict[str, Any]:
    """The row of a score; empty while no label has arrived."""
    if SCORES not in context.additional_data:
        return {}
    scores = context.additional_data[SCORES].as_dataframe()
    return dict(scores[scores["score"] == score].iloc[0])


class LabelledRows(MetricContainer):
    """Any of Evidently's metrics on the rows whose label has arrived: its quality metrics need one."""

    items: list[Metric]

    def generate_metrics(self, context: Context) -> Sequence[MetricOrContainer]:
        """The metrics, calculated on those rows ahead, so that the report finds their results."""
        labelled = [None if one is None else _labelled(one) for one in context._input_data]  # noqa: SLF001
        if labelled[0] is None or any(one is not None and one.as_dataframe().empty for one in labelled):
            return []
        some = Context(context.configuration)
        some.init_dataset(labelled[0], labelled[1])
        for metric in self.items:
            calculation = metric.to_calculation()
            context._metrics[calculation.id] = some.calculate_metric(calculation)  # noqa: SLF001
        return self.items


def _labelled(dataset: Dataset) -> Dataset:
    frame = dataset.as_dataframe()
    frame = frame[frame[LABEL_COLUMN].notna() & frame[FORECAST_COLUMN].notna()]
    if (frame[LABEL_COLUMN] % 1 == 0).all():  # of classes: scikit-learn takes 1.0 for a number
        frame = frame.astype({LABEL_COLUMN: "int64"})
    return RowsAlone(frame, dataset._data_definition)  # noqa: SLF001


class RowsAlone(PandasDataset):
    """Rows without Evidently's statistics of each column, which no metric reads: a fifth of the CPU."""

    def _collect_stats(self, column_type: ColumnType, data: pd.Series) -> ColumnStats:
        del column_type, data
        missing = GeneralColumnStats(StatCountValue(0, 0))  # which Evidently does not count either
        return ColumnStats(missing, numerical_stats=None, categorical_stats=None)


def _frames(context: Context) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The reference and the current rows of a run."""
    current, reference = context._input_data  # noqa: SLF001 (Evidently's own metrics are handed these)
    if reference is None:
        raise ValueError("drift needs a reference dataset: hand one to Report.run")
    return reference.as_dataframe(), current.as_dataframe()

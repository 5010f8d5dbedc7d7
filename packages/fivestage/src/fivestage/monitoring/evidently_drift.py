"""Calibrated drift of inputs, scores and labels as Evidently presets, with tests that decide.

Each statistic of each column is a metric with the test `lt(limit, is_critical=False)`, which warns of drift,
and, for statistics that are hard evidence, `lt(broken)`, whose failure means that the data are broken.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from evidently import Dataset
from evidently.core.container import MetricContainer, MetricOrContainer
from evidently.core.metric_types import ColumnMetric, SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.core.report import Context
from evidently.legacy.renderers.html_widgets import plotly_figure
from evidently.tests import lt
from pydantic.v1 import PrivateAttr  # Evidently's metrics are models of Pydantic 1

from fivestage.common.clock import DAY
from fivestage.contract.contract import day_of
from fivestage.monitoring.daily_statistics import ROWS
from fivestage.monitoring.drift import DailySeries, Finding, detect_drift, windows_of
from fivestage.monitoring.label_drift import label_findings

LABEL_COLUMN, FORECAST_COLUMN = "label", "forecast"
Check = Literal["inputs", "score", "labels"]
INPUTS: Check = "inputs"
SCORE: Check = "score"
LABELS: Check = "labels"
DRIFTED_COLUMNS = "columns that drifted"  # their number, for the dashboard over the periods


class CalculatedMetric(SingleValueMetric):
    """A metric whose value, title and chart are computed before the report runs."""

    # Not a parameter, because those identify the series over the periods.
    _result: tuple[float, str, list[Any]] = PrivateAttr()


class CalculatedMetricCalculation(SingleValueCalculation[CalculatedMetric]):
    """Passes the value to the report, which tests and shows it."""

    def calculate(
        self, context: Context, _current_data: Dataset, _reference_data: Dataset | None
    ) -> SingleValue:
        """See `SingleValueCalculation`."""
        del context
        value, _, widget = self.metric._result  # noqa: SLF001
        result = self.result(value)
        result.widget = widget
        return result

    def display_name(self) -> str:
        """See `SingleValueCalculation`."""
        return str(self.metric._result[1])  # noqa: SLF001


class DriftStatistic(ColumnMetric, CalculatedMetric):
    """The distance of one statistic of a column from the reference, computed by the preset `check`."""

    statistic: str
    check: Check
    _finding: Finding = PrivateAttr()

    @property
    def finding(self) -> Finding:
        """The finding that the metric shows."""
        return self._finding

    @classmethod
    def of(cls, finding: Finding, check: Check, tests: Sequence[Any] = ()) -> "DriftStatistic":
        """Return the metric of a finding: its value, its sentence, and a chart if it moved."""
        metric = cls(column=finding.column, statistic=finding.statistic, check=check, tests=list(tests))
        since = "" if finding.since is None else f"; since {day_of(finding.since * DAY)}"
        title, series = f"{finding.column}: {finding.sentence}{since}", finding.series
        charts = [] if series is None else [plotly_figure(title=title, figure=_figure(series))]
        metric._finding, metric._result = finding, (finding.value, title, charts)
        return metric


class CalibratedDrift(MetricContainer):
    """Preset: the drift of some columns from the reference, see `detect_drift`.

    The current rows are of the `days` from one to the day before another, in days since 1970, so that days
    without rows are seen at both ends; by default, of the days from their first to their last.
    """

    columns: list[str]
    days: tuple[int, int] | None = None
    false_alarm: float = 0.01
    name: Check = INPUTS

    def generate_metrics(self, context: Context) -> Sequence[MetricOrContainer]:
        """Return the number of drifted columns and a metric for each finding, largest drift first."""
        current, reference = context._input_data  # noqa: SLF001 (Evidently's own metrics receive these)
        if reference is None:
            raise ValueError("drift needs a reference dataset: pass one to Report.run")
        findings = self._compare(reference.as_dataframe(), current.as_dataframe())
        drifted = float(len({one.column for one in findings if one.drifted}))
        count = Finding(DRIFTED_COLUMNS, ROWS, drifted, len(self.columns), None, DRIFTED_COLUMNS)
        return [
            DriftStatistic.of(count, self.name),
            *(DriftStatistic.of(one, self.name, _tests(one)) for one in findings),
        ]

    def _compare(self, reference: pd.DataFrame, current: pd.DataFrame) -> list[Finding]:
        if self.name == SCORE:  # the reference has none on the days that the model was trained on
            reference = reference.dropna(subset=self.columns)
        windows = windows_of(reference, current, self.columns)
        if windows is None:
            return []
        then, now = windows
        if self.days:
            first, end = self.days
            now = replace(now, first=first, days=end - first)
        if then.days < 2 * now.days:  # too few for `calibrate`
            return []
        return detect_drift(then, now, self.false_alarm)


class LabelDrift(CalibratedDrift):
    """Preset: the drift of labels relative to their forecasts, on the rows that have both."""

    forecasts: list[str]
    task: str = "binary"
    name: Check = LABELS

    def _compare(self, reference: pd.DataFrame, current: pd.DataFrame) -> list[Finding]:
        needed = [LABEL_COLUMN, *self.forecasts]
        then, now = (one.dropna(subset=needed) for one in (reference, current))
        windows = windows_of(then, now, self.columns)
        if windows is None:
            return []
        labels = [one[LABEL_COLUMN].to_numpy(dtype=np.float64) for one in (then, now)]
        forecasts = [one[self.forecasts].to_numpy(dtype=np.float64) for one in (then, now)]
        return label_findings(windows, labels, forecasts, self.task, self.false_alarm)


def _tests(finding: Finding) -> list[Any]:
    drifted = lt(finding.limit, is_critical=False)
    return [drifted] if finding.broken is None else [drifted, lt(max(finding.broken, finding.limit))]


def _figure(series: DailySeries) -> go.Figure:
    """Plot the reference's days, the current days, and the band of nine in ten of the reference's days."""
    days, split = len(series.usual) + len(series.now), len(series.usual)
    dates = [str(day_of((series.first + day) * DAY)) for day in range(days)]
    figure = go.Figure()
    figure.add_hrect(y0=series.low, y1=series.high, fillcolor="grey", opacity=0.15, line_width=0)
    figure.add_scatter(x=dates[:split], y=series.usual, name="reference", line={"color": "grey"})
    figure.add_scatter(x=dates[split:], y=series.now, name="current", line={"color": "#ed0400"})
    figure.update_layout(margin={"t": 10, "b": 30}, yaxis_title=series.what)
    return figure

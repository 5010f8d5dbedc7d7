"""The model's quality as Evidently metrics: its own ones on labelled rows, and scores with our limits."""

import math
from collections.abc import Sequence

import pandas as pd
from evidently import Dataset
from evidently.core.container import MetricContainer, MetricOrContainer
from evidently.core.datasets import ColumnStats, ColumnType, GeneralColumnStats, PandasDataset, StatCountValue
from evidently.core.metric_types import Metric
from evidently.core.report import Context
from evidently.legacy.renderers.html_widgets import CounterData, counter
from evidently.tests import lte

from fivestage.monitoring.evidently_drift import FORECAST_COLUMN, LABEL_COLUMN, CalculatedMetric
from fivestage.monitoring.performance import JudgedScore

REFERENCE_ROWS = 10_000  # evenly spread, suffice: Evidently draws curves with a point for each


class ScoreLimit(CalculatedMetric):
    """How far a score of the labelled rows is off, where the chance of days is not why."""

    score: str

    @classmethod
    def of(cls, judged: JudgedScore) -> "ScoreLimit":
        """The metric of a score that has been judged, with a test once enough labels have arrived."""
        tests = [] if judged.allowed is None else [lte(judged.allowed, is_critical=False)]
        metric = cls(score=judged.score, tests=tests)
        shown = CounterData(label=judged.score, value=judged.shown)  # the test's value says less
        tile = counter(title=judged.sentence, counters=[shown])
        metric._result = judged.beyond_chance, judged.sentence, [tile]
        return metric


class LabelledRows(MetricContainer):
    """Any of Evidently's metrics on the rows whose label has arrived: its quality metrics need one."""

    items: list[Metric]

    def generate_metrics(self, context: Context) -> Sequence[MetricOrContainer]:
        """The metrics, calculated on those rows ahead, so that the report finds their results."""
        current, reference = context._input_data  # noqa: SLF001
        labelled = [_labelled(current), None if reference is None else _labelled(reference, REFERENCE_ROWS)]
        if any(one is not None and one.as_dataframe().empty for one in labelled):
            return []
        some = Context(context.configuration)
        some.init_dataset(labelled[0], labelled[1])
        for metric in self.items:
            calculation = metric.to_calculation()
            context._metrics[calculation.id] = some.calculate_metric(calculation)  # noqa: SLF001
        return self.items


def _labelled(dataset: Dataset, most_rows: float = math.inf) -> Dataset:
    frame = dataset.as_dataframe()
    frame = frame[frame[LABEL_COLUMN].notna() & frame[FORECAST_COLUMN].notna()]
    frame = frame.iloc[:: max(1, math.ceil(len(frame) / most_rows))]
    if (frame[LABEL_COLUMN] % 1 == 0).all():  # of classes: scikit-learn takes 1.0 for a number
        frame = frame.astype({LABEL_COLUMN: "int64"})
    return RowsAlone(frame, dataset._data_definition)  # noqa: SLF001


class RowsAlone(PandasDataset):
    """Rows without Evidently's statistics of each column, which no metric reads: a fifth of the CPU."""

    def _collect_stats(self, column_type: ColumnType, data: pd.Series) -> ColumnStats:
        del column_type, data
        missing = GeneralColumnStats(StatCountValue(0, 0))  # which Evidently does not count either
        return ColumnStats(missing, numerical_stats=None, categorical_stats=None)

"""Model quality in Evidently: its own metrics on labelled rows, and scores with the contract's limits."""

import math
from collections.abc import Sequence

from evidently import Dataset
from evidently.core.container import MetricContainer, MetricOrContainer
from evidently.core.metric_types import Metric
from evidently.core.report import Context
from evidently.legacy.renderers.html_widgets import CounterData, counter
from evidently.tests import lte

from fivestage.monitoring.evidently_drift import FORECAST_COLUMN, LABEL_COLUMN, CalculatedMetric
from fivestage.monitoring.performance import JudgedScore

REFERENCE_ROWS = 10_000  # an evenly spread sample is enough, as Evidently's curves have a point per row


class ScoreLimit(CalculatedMetric):
    """The distance of a score from its target, or 0 if daily variation explains it."""

    score: str

    @classmethod
    def of(cls, judged: JudgedScore) -> "ScoreLimit":
        """Return the metric of a judged score, with a test once enough labels have arrived."""
        tests = [] if judged.allowed is None else [lte(judged.allowed, is_critical=False)]
        metric = cls(score=judged.score, tests=tests)
        shown = CounterData(label=judged.score, value=judged.shown)  # more readable than the value under test
        tile = counter(title=judged.sentence, counters=[shown])
        metric._result = judged.beyond_chance, judged.sentence, [tile]
        return metric


class LabelledRows(MetricContainer):
    """Evidently's quality metrics, restricted to the rows whose label has arrived."""

    items: list[Metric]

    def generate_metrics(self, context: Context) -> Sequence[MetricOrContainer]:
        """Return the metrics, calculated on those rows beforehand, so that the report uses the results."""
        current, reference = context._input_data  # noqa: SLF001
        labelled = [_labelled(current), None if reference is None else _labelled(reference, REFERENCE_ROWS)]
        if any(one is not None and one.as_dataframe().empty for one in labelled):
            return []
        subset = Context(context.configuration)
        subset.init_dataset(labelled[0], labelled[1])
        for metric in self.items:
            calculation = metric.to_calculation()
            context._metrics[calculation.id] = subset.calculate_metric(calculation)  # noqa: SLF001
        return self.items


def _labelled(dataset: Dataset, most_rows: float = math.inf) -> Dataset:
    frame = dataset.as_dataframe()
    frame = frame[frame[LABEL_COLUMN].notna() & frame[FORECAST_COLUMN].notna()]
    frame = frame.iloc[:: max(1, math.ceil(len(frame) / most_rows))]
    # Class labels must be integers: scikit-learn treats 1.0 as a continuous value.
    if (frame[LABEL_COLUMN] % 1 == 0).all():
        frame = frame.astype({LABEL_COLUMN: "int64"})
    return Dataset.from_pandas(frame, data_definition=dataset.data_definition)

"""The checks of each period of service: an Evidently report whose tests decide. Add a line to add a check.

A failed test means that the data are broken, which blocks retraining and notifies the data's owner; with
`is_critical=False` it only warns of drift. A failed test of the model's quality makes the period bad.
`CalibratedDrift` warns of drift, and fails on proof that data are broken; `LabelDrift` warns. `false_alarm`
is the probability that one of them warns by chance in a period.

The columns are the features, `decision day`, `label` (missing until it arrives) and `forecast`; `inputs`,
`scores` (of predictions) and `forecasts` are names of columns. The reference has forecasts only on days that
the model was not trained on, because it fits the others too well. `performance_metrics` are bias and cost by
the labels, with the contract's limits and confidence intervals. The metrics in `quality` are only displayed,
unless they get a test, as in `RocAuc(tests=[gt(0.7)])`.
"""

from evidently import Report
from evidently.metrics import MAE, Accuracy, LogLoss, RocAuc, RowCount
from evidently.tests import gt

from fivestage.monitoring.evidently_drift import CalibratedDrift, LabelDrift
from fivestage.monitoring.evidently_quality import LabelledRows, ScoreLimit
from fivestage.monitoring.period_report import PeriodColumns

SCORE_SHARE = 0.1  # of the false-alarm rate, for the predictions: they have far fewer columns than the inputs


def checks(period: PeriodColumns) -> Report:
    """Build the report of one period; `docs/how-to/add-a-check.md` explains how to add metrics."""
    contract, rules = period.contract, period.contract.monitoring
    inputs, score = (1 - SCORE_SHARE) * rules.false_alarm, SCORE_SHARE * rules.false_alarm
    quality = {"binary": [RocAuc(), LogLoss()], "multiclass": [Accuracy()], "regression": [MAE()]}
    return Report(
        [
            RowCount(tests=[gt(0)]),
            CalibratedDrift(columns=period.inputs, days=period.days, false_alarm=inputs),
            CalibratedDrift(columns=period.scores, false_alarm=score, name="score"),
            LabelDrift(
                columns=period.inputs,
                forecasts=period.forecasts,
                task=contract.task,
                false_alarm=rules.false_alarm,
            ),
            *map(ScoreLimit.of, period.performance_metrics),
            LabelledRows(items=quality[contract.task]),
        ]
    )

"""The checks of each period of service: one Evidently report, whose tests decide. Add a line to add a check.

A test that fails says that the data are broken, which blocks a training and tells the data's owner; with
`is_critical=False` it warns that inputs moved. A failing test of the model's quality makes the period bad.
The columns are the features, `decision day`, `label` (missing until it arrives) and `forecast`.

Forecasts are compared with days that the model was not trained on, as it knows the others too well: with
those from `first_unseen_day` on. `judged_scores` are the contract's limits on bias and money, each beside
its interval. The metrics of `quality` have no test and are only shown; with one, as in
`RocAuc(tests=[gt(0.7)])`, they judge too.
"""

from evidently import Report
from evidently.metrics import MAE, Accuracy, LogLoss, RocAuc, RowCount
from evidently.tests import gt

from fivestage.monitoring.evidently_drift import SCORE, CalibratedDrift, LabelDrift
from fivestage.monitoring.evidently_quality import LabelledRows, ScoreLimit
from fivestage.monitoring.period_report import PeriodColumns

SCORE_SHARE = 0.1  # of the inputs' false alarms goes to the score, which has far fewer columns


def checks(period: PeriodColumns) -> Report:
    """The report of one period; see `docs/how-to/add-a-check.md` for more of Evidently's metrics."""
    contract, rules = period.contract, period.contract.monitoring
    inputs, score = (1 - SCORE_SHARE) * rules.false_alarm, SCORE_SHARE * rules.false_alarm
    quality = {"binary": [RocAuc(), LogLoss()], "multiclass": [Accuracy()], "regression": [MAE()]}
    return Report(
        [
            RowCount(tests=[gt(0)]),
            CalibratedDrift(columns=period.inputs, false_alarm=inputs),
            CalibratedDrift(
                columns=period.scores, false_alarm=score, reference_from=period.first_unseen_day, name=SCORE
            ),
            LabelDrift(
                columns=period.inputs,
                forecasts=period.forecasts,
                task=contract.task,
                false_alarm=rules.false_alarm,
                reference_from=period.first_unseen_day,
            ),
            *map(ScoreLimit.of, period.judged_scores),
            LabelledRows(items=quality[contract.task]),
        ]
    )

"""What each collection of feature sets brings."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fivestage.contract.contract import Contract
from fivestage.data.labels import labels_of
from fivestage.data.splits import TemporalSplit
from fivestage.evaluation.evaluate import decision_day
from fivestage.evaluation.metrics import Scored, evaluate
from fivestage.features.offline import feature_matrix, learn_categories
from fivestage.training.estimators import Estimator, takes_any_columns
from fivestage.training.side_by_side import side_by_side
from fivestage.training.task_trainer import trainer_of


def ablation(
    features: pd.DataFrame,
    sets: Mapping[str, Sequence[str]],
    rows: pd.DataFrame,
    windows: TemporalSplit,
    estimator: Estimator,
    contract: Contract,
) -> list[tuple[str, Scored]]:
    """The same estimator on ever more feature sets, calibrated on the holdout window, scored after it."""
    label = labels_of(rows, contract)
    day = decision_day(rows)[windows.after]
    numbers = feature_matrix(features, learn_categories(features.iloc[windows.train]))
    steps = [list(sets)[: number + 1] for number in range(len(sets) - 1)]
    trainer = trainer_of(contract)

    def scored(step: Sequence[str]) -> tuple[str, Scored]:
        given = {name for part in step for name in sets[part]}
        here = np.array([name in given for name in features])
        seen = (
            pd.DataFrame(numbers[:, here], columns=features.columns[here])
            if takes_any_columns(estimator)
            else pd.DataFrame(np.where(here, numbers, np.nan), columns=features.columns)
        )
        models = trainer.fit(seen.iloc[windows.train], label[windows.train], estimator)
        holdout, after = (trainer.margins(models, seen.iloc[w]) for w in (windows.holdout, windows.after))
        forecast = trainer.calibrate(holdout, label[windows.holdout]).forecast(after)
        return " + ".join(step), evaluate(label[windows.after], forecast, day, contract.costs)

    return side_by_side(scored, steps)

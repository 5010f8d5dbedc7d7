"""Ablation: the metrics of a model with fewer feature sets."""

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
    """Score an estimator on the first feature set, the first two, and so on, without the full collection.

    Each model is fitted on the training window, calibrated on the holdout window, and scored after it.
    """
    label = labels_of(rows, contract)
    day = decision_day(rows)[windows.after]
    numbers = feature_matrix(features, learn_categories(features, windows.train))
    steps = [list(sets)[: number + 1] for number in range(len(sets) - 1)]
    trainer = trainer_of(contract)

    def scored(step: Sequence[str]) -> tuple[str, Scored]:
        names = {name for part in step for name in sets[part]}
        included = np.array([name in names for name in features])
        known = (
            pd.DataFrame(numbers[:, included], columns=features.columns[included])
            if takes_any_columns(estimator)
            else pd.DataFrame(np.where(included, numbers, np.nan), columns=features.columns)
        )
        models = trainer.fit(known.iloc[windows.train], label[windows.train], estimator)
        holdout, after = (trainer.margins(models, known.iloc[w]) for w in (windows.holdout, windows.after))
        forecast = trainer.calibrate(holdout, label[windows.holdout]).forecast(after)
        return " + ".join(step), evaluate(label[windows.after], forecast, day, contract.costs)

    return side_by_side(scored, steps)

"""What each collection of feature sets brings."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fivestage.common.columns import Floats
from fivestage.contract.contract import Contract
from fivestage.data.labels import labels_of
from fivestage.data.splits import TemporalSplit
from fivestage.evaluation.evaluate import decision_day
from fivestage.evaluation.metrics import Scored, evaluate
from fivestage.features.offline import feature_matrix, learn_categories
from fivestage.training.boosting import BoostingParams
from fivestage.training.task_trainer import TaskTrainer, trainer_of


def ablation(
    features: pd.DataFrame,
    sets: Mapping[str, Sequence[str]],
    rows: pd.DataFrame,
    windows: TemporalSplit,
    trees: BoostingParams,
    contract: Contract,
) -> list[tuple[str, Scored]]:
    """The same trees on ever more feature sets: calibrated on the contest window, scored on what came after.

    All sets together are left out: they are the artifact.
    """
    label = labels_of(rows, contract)
    day = decision_day(rows)[windows.after]
    numbers = feature_matrix(features, learn_categories(features.iloc[windows.train]))
    columns = {name: place for place, name in enumerate(features)}
    steps = [list(sets)[: number + 1] for number in range(len(sets) - 1)]
    chosen = [[columns[name] for part in step for name in sets[part]] for step in steps]
    learner = trainer_of(contract)
    found = [_trained(numbers[:, places], label, windows, trees, learner) for places in chosen]
    return [
        (" + ".join(step), evaluate(label[windows.after], forecast, day, contract.costs))
        for step, forecast in zip(steps, found, strict=True)
    ]


def _trained(
    numbers: Floats, label: Any, windows: TemporalSplit, trees: BoostingParams, learner: TaskTrainer
) -> Floats:
    fitted = learner.fit(numbers[windows.train], label[windows.train], trees)
    contest, after = (learner.margins(fitted, numbers[w]) for w in (windows.contest, windows.after))
    return learner.calibrate(contest, label[windows.contest]).forecast(after)

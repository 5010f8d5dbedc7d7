"""Evaluates a version on the test window: metrics, ablation of feature sets, and permutation importance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fivestage.artifact.artifact import Artifact
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, day_of
from fivestage.data.event_tables import EventTables
from fivestage.data.labels import labels_of
from fivestage.data.splits import TemporalSplit, windows_at
from fivestage.evaluation.evaluate import (
    Evaluation,
    artifact_forecast,
    decision_day,
    evaluate_window,
    importance,
)
from fivestage.evaluation.metrics import Metrics, evaluate
from fivestage.features.offline import feature_matrix, learn_categories, names_by_set
from fivestage.features.problem import Problem
from fivestage.training.estimators import Estimator, takes_any_columns
from fivestage.training.selection import Selection, estimator_of
from fivestage.training.side_by_side import side_by_side
from fivestage.training.task_trainer import trainer_of


@dataclass(frozen=True)
class VersionEvaluation:
    """The results of a version on the test window."""

    evaluation: Evaluation  # metrics, slices and curves
    ablation: tuple[tuple[str, Metrics], ...]  # growing collections of feature sets; the last is the version
    importance: dict[str, float]  # permutation importance by feature
    sets: dict[str, tuple[str, ...]]  # names of the version's features, by feature set

    @classmethod
    def of(
        cls,
        problem: Problem,
        artifact: Artifact,
        selection: Selection,
        rows: pd.DataFrame,
        event_tables: EventTables,
        features: pd.DataFrame,
    ) -> "VersionEvaluation":
        """Evaluate a version and the ablation of its feature sets on the frozen test window.

        Args:
            problem: the problem.
            artifact: the version's artifact.
            selection: the candidate that the version is trained from.
            rows: all decisions, with their labels.
            event_tables: the events.
            features: rows x features, by name, text as text.

        Returns:
            The results.

        Raises:
            UserError: if less than one monitoring period of data follows the version's training day, or the
                project lacks a feature of the version.
        """
        contract = problem.contract
        windows = windows_at(rows, contract.split, artifact.as_of)
        after = windows.after
        test, days = features.iloc[after], decision_day(rows.iloc[after])
        if len(days) == 0 or np.ptp(days) + 1 < contract.monitoring.period_days:
            raise UserError(
                f"There is too little data after {day_of(artifact.as_of)}, the day as of which this version "
                "was trained, to evaluate it on. Add later data, or train as of an earlier day."
            )
        forecast = artifact_forecast(artifact, test)
        known = names_by_set(problem.features, rows, event_tables.reference)
        sets = {name: tuple(one for one in known[name] if one in artifact.features) for name in artifact.sets}
        text = learn_categories(features, windows.train)
        candidates = problem.candidates(len(windows.train), tuple(text))
        lines = ablation(features, sets, rows, windows, estimator_of(candidates, selection), contract)
        evaluation = evaluate_window(artifact, rows.iloc[after], forecast, contract)
        return cls(
            evaluation,
            (*lines, (" + ".join(sets), evaluation.metrics)),
            importance(artifact, test, labels_of(rows, contract)[after]),
            sets,
        )


def ablation(
    features: pd.DataFrame,
    sets: Mapping[str, Sequence[str]],
    rows: pd.DataFrame,
    windows: TemporalSplit,
    estimator: Estimator,
    contract: Contract,
) -> list[tuple[str, Metrics]]:
    """Score an estimator on the first feature set, the first two, and so on, without the full collection.

    Each model is fitted on the training window, calibrated on the holdout window, and scored after it.
    """
    label = labels_of(rows, contract)
    day = decision_day(rows)[windows.after]
    numbers = feature_matrix(features, learn_categories(features, windows.train))
    steps = [list(sets)[: number + 1] for number in range(len(sets) - 1)]
    trainer = trainer_of(contract)

    def scored(step: Sequence[str]) -> tuple[str, Metrics]:
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

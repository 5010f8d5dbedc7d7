"""Evaluates a version on the test window: metrics, ablation of feature sets, and permutation importance."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fivestage.artifact.artifact import Artifact
from fivestage.common.errors import UserError
from fivestage.contract.contract import day_of
from fivestage.data.event_tables import EventTables
from fivestage.data.labels import labels_of
from fivestage.data.splits import TemporalSplit
from fivestage.evaluation.evaluate import (
    Evaluation,
    artifact_forecast,
    decision_day,
    evaluate_window,
    importance,
)
from fivestage.evaluation.metrics import Scored
from fivestage.features.offline import learn_categories, names_by_set
from fivestage.features.problem import Problem
from fivestage.training.ablation import ablation
from fivestage.training.selection import Selection, estimator_of


@dataclass(frozen=True)
class VersionEvaluation:
    """The results of a version on the test window.

    Args:
        evaluation: its metrics, slices and curves.
        ablation: names and metrics of growing collections of feature sets; the last is the version itself.
        importance: permutation importance by feature.
    """

    evaluation: Evaluation
    ablation: tuple[tuple[str, Scored], ...]
    importance: dict[str, float]

    @classmethod
    def of(
        cls,
        problem: Problem,
        artifact: Artifact,
        selection: Selection,
        rows: pd.DataFrame,
        event_tables: EventTables,
        features: pd.DataFrame,
        windows: TemporalSplit,
    ) -> "VersionEvaluation":
        """Evaluate a version and the ablation of its feature sets on the frozen test window.

        Args:
            problem: the problem.
            artifact: the version's artifact.
            selection: the candidate that the version is trained from.
            rows: all decisions, with their labels.
            event_tables: the events.
            features: rows x features, by name, text as text.
            windows: positions of the rows in each window, as when the version was trained.

        Returns:
            The results.

        Raises:
            UserError: if less than one monitoring period of data follows the version's training day, or the
                project lacks a feature of the version.
        """
        contract, after = problem.contract, windows.after
        test, days = features.iloc[after], decision_day(rows.iloc[after])
        if len(days) == 0 or np.ptp(days) + 1 < contract.monitoring.period_days:
            raise UserError(
                f"There is too little data after {day_of(artifact.as_of)}, the day as of which this version "
                "was trained, to evaluate it on. Add later data, or train as of an earlier day."
            )
        forecast = artifact_forecast(artifact, test)
        sets = names_by_set(problem.features, rows, event_tables.reference)
        text = learn_categories(features, windows.train)
        candidates = problem.candidates(len(windows.train), tuple(text))
        lines = ablation(features, sets, rows, windows, estimator_of(candidates, selection), contract)
        evaluation = evaluate_window(artifact, rows.iloc[after], forecast, contract)
        return cls(
            evaluation,
            (*lines, (" + ".join(sets), evaluation.scored)),
            importance(artifact, test, labels_of(rows, contract)[after]),
        )

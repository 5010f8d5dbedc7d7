"""A version on everything after its own time: scores, what each feature set brings, and what matters."""

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
    """A version on the test window.

    Args:
        evaluation: its scores, slices and curves.
        ablation: names and scores of more and more feature sets, by the same candidate; the last is its own.
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
        """Evaluate a version on the frozen test window, and each collection of feature sets beside it.

        Args:
            problem: the problem.
            artifact: the version's.
            selection: which candidate it is made of.
            rows: all decisions, with their labels.
            event_tables: the events.
            features: rows x features, by name, text as text.
            windows: of the rows, as they stood when the artifact was made.

        Returns:
            What was found.

        Raises:
            UserError: when the data end within a monitored period of the day up to which it was trained, or
                the project lacks a feature of the version.
        """
        contract, after = problem.contract, windows.after
        seen, days = features.iloc[after], decision_day(rows.iloc[after])
        if len(days) == 0 or np.ptp(days) + 1 < contract.monitoring.period_days:
            raise UserError(
                f"The data hardly go on after {day_of(artifact.as_of)}, the day up to which this version "
                "was trained, so there is nothing to evaluate it on. Add later data, or train as of an "
                "earlier day."
            )
        forecast = artifact_forecast(artifact, seen)
        sets = names_by_set(problem.features, rows, event_tables.reference)
        text = learn_categories(features.iloc[windows.train])
        candidates = problem.candidates(len(windows.train), tuple(text))
        lines = ablation(features, sets, rows, windows, estimator_of(candidates, selection), contract)
        evaluation = evaluate_window(artifact, rows.iloc[after], forecast, contract)
        return cls(
            evaluation,
            (*lines, (" + ".join(sets), evaluation.scored)),
            importance(artifact, seen, labels_of(rows, contract)[after]),
        )

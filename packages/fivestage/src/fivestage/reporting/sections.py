"""Convert the results of the stages to the sections of the report."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fivestage.artifact.artifact import Artifact
from fivestage.common.clock import DAY
from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, day_of
from fivestage.data.event_tables import EventTables, IngestReport
from fivestage.data.splits import TemporalSplit
from fivestage.evaluation.gates import GateVerdict, Probe
from fivestage.evaluation.metrics import Scored
from fivestage.features.offline import names_by_set
from fivestage.features.problem import Problem
from fivestage.monitoring.backtest import Comparison
from fivestage.monitoring.retraining import RetrainingDecision
from fivestage.registry.versions import Version
from fivestage.reporting.results import (
    AblationRow,
    CalibrationPoint,
    CauseRow,
    ColumnDriftRow,
    CostPoint,
    DataSection,
    Estimate,
    ModelSection,
    PeriodRow,
    PoliciesSection,
    PolicyRow,
    Slice,
    WeeklyLabel,
    WindowRow,
    estimates,
)
from fivestage.reporting.sentences import advice
from fivestage.reporting.task_display import shown_of
from fivestage.training.leaderboard import LeaderboardRow
from fivestage.training.version_evaluation import VersionEvaluation

if TYPE_CHECKING:  # Evidently takes seconds to import
    from fivestage.monitoring.causes import Cause
    from fivestage.monitoring.period import MonitoredPeriod

WEEK = 7 * DAY


def data_section(
    problem: Problem,
    rows: pd.DataFrame,
    tables: EventTables,
    ingested: IngestReport,
    split: TemporalSplit,
    probes: Sequence[Probe],
) -> DataSection:
    """Describe the data that a run read, accepted, quarantined and split."""
    decided_at = rows["decision_at"]
    first, last = int(decided_at.iloc[0]), int(decided_at.iloc[-1])
    return DataSection(
        raw_rows=ingested.raw_rows,
        rows=len(rows),
        quarantined=ingested.quarantined,
        events={kind: len(frame) for kind, frame in tables.events.items()},
        windows=(
            WindowRow("train", day_of(first), day_of(split.holdout_start), len(split.train)),
            *(
                WindowRow("fold", day_of(fold.start), day_of(fold.end), len(fold.valid))
                for fold in split.folds
            ),
            WindowRow("holdout", day_of(split.holdout_start), day_of(split.as_of), len(split.holdout)),
            WindowRow("test", day_of(split.as_of), day_of(last + DAY), len(split.after)),
        ),
        label_rate=weekly_label(rows, problem.contract),
        probes=tuple(probes),
        features=names_by_set(problem.features, rows, tables.reference),
        cleaning={name: int(value) for name, value in ingested.quality.items() if value and value % 1 == 0},
    )


def model_section(
    contract: Contract,
    version: Version,
    artifact: Artifact,
    leaderboard: Sequence[LeaderboardRow],
    verdict: GateVerdict,
) -> ModelSection:
    """Describe a version after its champion/challenger evaluation; `evaluated` adds the test window."""
    return ModelSection(
        version=version.version,
        digest=version.digest,
        promoted=verdict.passed,
        candidates=tuple(leaderboard),
        test={},
        threshold=contract.costs.threshold if isinstance(contract, BinaryContract) else 0.0,
        gates=verdict.gates,
        confusion=verdict.confusion,
        lineage=asdict(artifact.lineage) | {"commit": version.commit, "mlflow run": version.run_id},
    )


def evaluated(section: ModelSection, contract: Contract, found: VersionEvaluation) -> ModelSection:
    """Add the evaluation on the test window to the section of a version."""
    shown, evaluation = shown_of(contract), found.evaluation
    return replace(
        section,
        test=estimates(evaluation.scored.scores, evaluation.scored.intervals),
        ablation=tuple(AblationRow(sets, _selected(scored, shown.sets)) for sets, scored in found.ablation),
        slices=tuple(
            Slice(column, value, int(scored.scores["rows"]), _selected(scored, shown.slices))
            for column, values in evaluation.slices.items()
            for value, scored in values.items()
        ),
        calibration=tuple(CalibrationPoint(*point) for point in evaluation.calibration),
        cost_curve=tuple(CostPoint(*point) for point in evaluation.cost_curve),
        importance=found.importance,
    )


def period_row(monitored: "MonitoredPeriod", verdict: RetrainingDecision, drift_report: Path) -> PeriodRow:
    """Describe a monitored period.

    Args:
        monitored: The period.
        verdict: The policy's decision after it.
        drift_report: Path of its drift report, relative to the page.

    Returns:
        The row; a column's drift score is its exceedance ratio, with a limit of one.
    """
    performance = monitored.performance
    scored, expected = performance.scored, performance.expected
    return PeriodRow(
        start=day_of(monitored.start),
        end=day_of(monitored.end),
        version=", ".join(monitored.versions),
        rows=performance.rows,
        label_share=performance.label_share,
        metrics=estimates(scored.scores, scored.intervals) if scored else {},
        drift=tuple(
            ColumnDriftRow(
                one.column,
                one.exceedance,
                1.0,
                f"{one.column}: {one.sentence if one.drifted else 'as in the reference'}",
            )
            for one in monitored.drift
        ),
        bad=performance.bad,
        judged=performance.conclusive,
        verdict=f"{performance.sentence}. {advice(verdict)}: {verdict.reason}",
        estimated_cost=expected.scores["cost_per_1000"],
        drift_report=str(drift_report),
        causes=tuple(_cause_row(cause) for cause in monitored.causes),
        estimated=estimates(expected.scores, expected.intervals),
        slices=tuple(
            Slice(column, value, int(one.scores["rows"]), estimates(one.scores, one.intervals))
            for column, values in monitored.slices.items()
            for value, one in values.items()
        ),
    )


def _cause_row(cause: "Cause") -> CauseRow:
    series = cause.series
    if series is None:
        return CauseRow(cause.kind, cause.subject, cause.sentence)
    days = {name: getattr(series, name) for name in ("usual", "now", "low", "high")}
    first = day_of(series.first * DAY)
    return CauseRow(cause.kind, cause.subject, cause.sentence, series.what, first, **days)


def policies_section(comparison: Comparison) -> PoliciesSection:
    """Describe the backtest of the retraining policies."""
    rows = tuple(
        PolicyRow(
            one.policy,
            one.trainings,
            one.promoted,
            one.decisions_cost,
            one.training_cost,
            Estimate(one.saved.mean, one.saved.low, one.saved.high),
            one.by_day,
        )
        for one in comparison.policies
    )
    return PoliciesSection(day_of(comparison.start), day_of(comparison.end), comparison.decisions, rows)


def weekly_label(rows: pd.DataFrame, contract: Contract) -> tuple[WeeklyLabel, ...]:
    """Return the label's mean by week from the first decision on, and each class's share if multiclass."""
    decided_at, label = rows["decision_at"], rows[contract.label.name]
    first = int(decided_at.iloc[0])
    week = (decided_at - first) // WEEK
    shares: dict[Any, Any] = {}
    if isinstance(contract, MulticlassContract):
        names = label.map(dict(enumerate(contract.label.classes)))
        shares = pd.crosstab(week, names, normalize="index").to_dict(orient="index")
    return tuple(
        WeeklyLabel(day_of(first + int(at) * WEEK), float(mean), int(size), shares.get(at, {}))
        for at, mean, size in label.groupby(week).agg(["mean", "size"]).itertuples()
    )


def _selected(scored: Scored, names: Sequence[str]) -> dict[str, Estimate]:
    return {name: Estimate(scored.scores[name], *scored.intervals[name]) for name in names}

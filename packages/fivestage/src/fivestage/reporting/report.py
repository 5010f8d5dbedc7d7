"""Report of a project's runs: the results of each stage as HTML page, model card and terminal summary."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fivestage.artifact.artifact import Artifact
from fivestage.common.clock import DAY
from fivestage.common.files import write_text
from fivestage.common.settings import REPORTS, RESULTS
from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, day_of
from fivestage.data.event_tables import EventTables, IngestReport
from fivestage.data.splits import windows_at
from fivestage.evaluation.gates import GateVerdict, Probe
from fivestage.features.problem import Problem
from fivestage.monitoring.retraining import Comparison, RetrainingDecision
from fivestage.monitoring.retraining_loop import TrainingResult
from fivestage.registry.versions import Version
from fivestage.reporting import sentences, task_display
from fivestage.reporting.documents import card_text, decisions_text, page_text, render
from fivestage.reporting.notices import Notice
from fivestage.reporting.periods import period_lines, period_notice
from fivestage.reporting.results import (
    AblationRow,
    DataSection,
    ModelSection,
    PoliciesSection,
    ProblemSection,
    Results,
    RunSection,
    WeeklyLabel,
    WindowRow,
    load,
    save,
)
from fivestage.reporting.terminal_summary import summary
from fivestage.training.version_evaluation import VersionEvaluation

if TYPE_CHECKING:  # Evidently takes seconds to import
    from fivestage.monitoring.period import MonitoredPeriod

WEEK = 7 * DAY


@dataclass(frozen=True)
class Report:
    """The reports of a project: where they are written and from which results."""

    problem: Problem
    results: Path = RESULTS  # folder in which each stage saves its results
    page: Path = REPORTS / "index.html"  # HTML page; the model card is next to it
    notices: Path = REPORTS / "notices"  # notices from which CI opens issues

    @property
    def question(self) -> str:
        """The question that the model answers, and the rule that turns the answer into a decision."""
        return f"{self.problem.contract.title} {task_display.rule(self.problem.contract)}"

    def save_data(
        self,
        rows: pd.DataFrame,
        event_tables: EventTables,
        ingested: IngestReport,
        probes: Sequence[Probe],
        version: Version,
        features: Mapping[str, tuple[str, ...]],
    ) -> None:
        """Save the results of stages 1 and 2, for the version that is evaluated on the data.

        Args:
            rows: The accepted decisions with their labels, sorted by `decision_at` (epoch seconds).
            event_tables: The events.
            ingested: Counts of rows read and quarantined.
            probes: Results of the leakage probes.
            version: The version; `rows` are split into windows as of the day of its training.
            features: Names of its features, by set.
        """
        windows = windows_at(rows, self.problem.contract.split, version.as_of)
        first, last = (int(rows["decision_at"].iloc[place]) for place in (0, -1))
        holdout, test = day_of(windows.holdout_start), day_of(windows.as_of)
        folds = [
            WindowRow("fold", day_of(fold.start), day_of(fold.end), len(fold.valid)) for fold in windows.folds
        ]
        section = DataSection(
            raw_rows=ingested.raw_rows,
            rows=len(rows),
            quarantined=ingested.quarantined,
            events={kind: len(frame) for kind, frame in event_tables.events.items()},
            windows=(
                WindowRow("train", day_of(first), holdout, len(windows.train)),
                *folds,
                WindowRow("holdout", holdout, test, len(windows.holdout)),
                WindowRow("test", test, day_of(last + DAY), len(windows.after)),
            ),
            label_rate=weekly_label(rows, self.problem.contract),
            probes=tuple(probes),
            features=dict(features),
            cleaning={
                name: int(value) for name, value in ingested.quality.items() if value and value % 1 == 0
            },
        )
        save(ProblemSection(self.problem.contract.digest), self.results)
        save(section, self.results)

    def save_evaluation(self, version: Version, artifact: Artifact, found: VersionEvaluation) -> str:
        """Save the results of stage 3: a version, its gates and its scores on the test window.

        Args:
            version: The registered version, whose run holds its selection and the results of its gates.
            artifact: The version's artifact.
            found: Evaluation of the version on the test window.

        Returns:
            The version's model card, in Markdown.
        """
        contract, evaluation = self.problem.contract, found.evaluation
        shown = task_display.shown_of(contract)
        section = replace(
            self._trained(version, artifact),
            test=evaluation.metrics,
            ablation=tuple(
                AblationRow(sets, {name: metrics[name] for name in shown.sets})
                for sets, metrics in found.ablation
            ),
            slices=tuple(
                replace(one, metrics={name: one.metrics[name] for name in shown.slices})
                for one in evaluation.slices
            ),
            calibration=evaluation.calibration,
            cost_curve=evaluation.cost_curve,
            importance=found.importance,
        )
        save(section, self.results)
        return card_text(contract, load(self.results))

    def documents(self, version: Version, artifact: Artifact) -> dict[str, str]:
        """Return the documents of a version, with its data and evaluation if it was the last one evaluated.

        Args:
            version: The registered version, whose run holds its selection and the results of its gates.
            artifact: The version's artifact.

        Returns:
            Model card and decision record in Markdown, by file name.
        """
        contract, results = self.problem.contract, load(self.results)
        if results.model is None or results.model.digest != version.digest:
            results = replace(results, model=self._trained(version, artifact), data=None)
        return {
            sentences.CARD: card_text(contract, results),
            "decisions.md": decisions_text(contract, results),
        }

    def _trained(self, version: Version, artifact: Artifact) -> ModelSection:
        """Return the results of a version before its evaluation on the test window."""
        contract, verdict = artifact.contract, version.load_record(GateVerdict)
        return ModelSection(
            version=version.version,
            digest=version.digest,
            promoted=verdict.passed,
            candidates=version.selection().leaderboard,
            test={},
            threshold=contract.costs.threshold if isinstance(contract, BinaryContract) else 0.0,
            gates=verdict.gates,
            confusion=verdict.confusion,
            lineage=asdict(artifact.lineage) | {"commit": version.commit, "mlflow run": version.run_id},
        )

    def save_policies(self, comparison: Comparison) -> str:
        """Save a backtest of retraining policies.

        Args:
            comparison: The backtest's result.

        Returns:
            A sentence that states the result.
        """
        section = PoliciesSection(**vars(comparison))
        save(section, self.results)
        return sentences.policies(self.problem.contract, section)

    def save_periods(self, monitored: "Sequence[tuple[MonitoredPeriod, RetrainingDecision]]") -> str:
        """Write a notice about the periods monitored in one run, and describe them for the terminal.

        Args:
            monitored: Each period with the policy's decision after it, oldest first; at least one.

        Returns:
            Lines with each period's performance, findings and advice, and the notice's path.
        """
        path = period_notice(self.problem.contract, monitored).write(self.notices / "monitoring.md")
        lines = [line for one, verdict in monitored for line in period_lines(one, verdict)]
        return "\n".join([*lines, f"{path} has the summary."])

    def save_retraining(self, result: TrainingResult) -> str:
        """Write a notice about a champion/challenger evaluation, and describe it for the terminal.

        Args:
            result: The challenger, its gates, and whether it is now the champion.

        Returns:
            Lines with each gate, the outcome for the version, and the notice's path.
        """
        path = evaluation_notice(self.problem.contract, result).write(self.notices / "retraining.md")
        return f"{result.text}\n{path} has the summary."

    def write(self, seconds: dict[str, float] | None = None, *, cached: bool = False) -> str:
        """Write the page, and the model card if there is a model.

        Args:
            seconds: Duration of each stage of this run; None keeps the previous run's.
            cached: Whether the data came from ZenML's cache.

        Returns:
            The summary by stage, for the terminal.
        """
        before = load(self.results)
        if seconds is None:
            seconds, cached = (before.run.seconds, before.run.cached) if before.run else ({}, False)
        run = RunSection(seconds, cached)
        save(run, self.results)
        contract, results = self.problem.contract, replace(before, run=run)
        if results.model:
            write_text(self.page.with_name(sentences.CARD), card_text(contract, results))
        write_text(self.page, page_text(contract, results))
        return summary(contract, results, self.page)


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


def evaluation_notice(contract: Contract, result: TrainingResult) -> Notice:
    """Create a notice about a champion/challenger evaluation; it needs attention if a gate failed."""
    waits = result.passed and not result.promoted
    flags = {"passed": result.passed, "promoted": result.promoted, "waits": waits}
    return Notice(
        "retraining",
        f"{contract.title} Version {result.version.version}",
        not result.passed,
        render("evaluation_notice.md.j2", contract, Results(), result=result, gates=result.gates),
        {"version": result.version.version} | {name: str(flag).lower() for name, flag in flags.items()},
    )

"""Report of a project's runs: the results of each stage as HTML page, model card and terminal summary."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fivestage.artifact.artifact import Artifact
from fivestage.common.files import write_text
from fivestage.common.settings import REPORTS, RESULTS
from fivestage.data.event_tables import EventTables, IngestReport
from fivestage.data.splits import TemporalSplit
from fivestage.evaluation.gates import GateVerdict, Probe
from fivestage.features.problem import Problem
from fivestage.monitoring.backtest import Comparison
from fivestage.monitoring.retraining import RetrainingDecision
from fivestage.monitoring.retraining_loop import TrainingResult
from fivestage.registry.versions import Version
from fivestage.reporting import sections, sentences, task_display
from fivestage.reporting.decisions import decisions_text
from fivestage.reporting.model_card import card_text
from fivestage.reporting.results import (
    ProblemSection,
    ReportLink,
    RunSection,
    load,
    save,
)
from fivestage.reporting.run_notices import evaluation_notice, period_lines, period_notice
from fivestage.training.selection import Selection
from fivestage.training.version_evaluation import VersionEvaluation

if TYPE_CHECKING:  # Evidently takes seconds to import
    from fivestage.monitoring.period import MonitoredPeriod


@dataclass(frozen=True)
class Report:
    """The reports of a project: where they are written and from which results."""

    problem: Problem
    results: Path = RESULTS  # folder in which each stage saves its results
    page: Path = REPORTS / "index.html"  # HTML page; the model card is next to it
    notices: Path = REPORTS / "notices"  # notices from which CI opens issues and pull requests

    @property
    def question(self) -> str:
        """The question that the model answers, and the rule that turns the answer into a decision."""
        return f"{self.problem.contract.title} {task_display.rule(self.problem.contract)}"

    def save_data(
        self,
        rows: pd.DataFrame,
        event_tables: EventTables,
        ingested: IngestReport,
        windows: TemporalSplit,
        probes: Sequence[Probe],
    ) -> None:
        """Save the results of stages 1 and 2.

        Args:
            rows: The accepted decisions with their labels, sorted by `decision_at` (epoch seconds).
            event_tables: The events.
            ingested: Counts of rows read and quarantined.
            windows: The temporal split of `rows`.
            probes: Results of the leakage probes.
        """
        save(ProblemSection(self.problem.contract.digest), self.results)
        section = sections.data_section(self.problem, rows, event_tables, ingested, windows, probes)
        save(section, self.results)

    def save_evaluation(
        self,
        version: Version,
        artifact: Artifact,
        selection: Selection,
        verdict: GateVerdict,
        found: VersionEvaluation,
    ) -> str:
        """Save the results of stage 3: a version, its gates and its scores on the test window.

        Args:
            version: The registered version.
            artifact: The version's artifact.
            selection: Results of baselines and candidates on the validation folds.
            verdict: Results of the promotion gates.
            found: Evaluation of the version on the test window.

        Returns:
            The version's model card, in Markdown.
        """
        contract = self.problem.contract
        trained = sections.model_section(contract, version, artifact, selection.leaderboard, verdict)
        save(sections.evaluated(trained, contract, found), self.results)
        return card_text(contract, load(self.results))

    def save_policies(self, comparison: Comparison) -> str:
        """Save a backtest of retraining policies.

        Args:
            comparison: The backtest's result.

        Returns:
            A sentence that states the result.
        """
        section = sections.policies_section(comparison)
        save(section, self.results)
        return sentences.policies(self.problem.contract, section)

    def save_periods(
        self,
        monitored: "Sequence[tuple[MonitoredPeriod, RetrainingDecision]]",
        page_of: Callable[[int], Path],
    ) -> str:
        """Write a notice about the periods monitored in one run, and describe them for the terminal.

        Args:
            monitored: Each period with the policy's decision after it, oldest first; at least one.
            page_of: Returns the drift report's path for a period's start (epoch seconds).

        Returns:
            Lines with each period's performance, findings and advice, and the notice's path.
        """
        path = period_notice(self.problem.contract, monitored).write(self.notices / "monitoring.md")
        lines = [
            line for one, verdict in monitored for line in period_lines(one, verdict, page_of(one.start))
        ]
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

    def documents(
        self, version: Version, artifact: Artifact, selection: Selection, verdict: GateVerdict
    ) -> dict[str, str]:
        """Return the documents of a version, with its evaluation if it was the last one evaluated.

        Args:
            version: The registered version.
            artifact: The version's artifact.
            selection: Results of baselines and candidates on the validation folds.
            verdict: Results of the promotion gates.

        Returns:
            Model card and decision record in Markdown, by file name.
        """
        contract, results = self.problem.contract, load(self.results)
        if results.model is None or results.model.digest != version.digest:
            trained = sections.model_section(contract, version, artifact, selection.leaderboard, verdict)
            results = replace(results, model=trained)
        return {
            "model_card.md": card_text(contract, results),
            "decisions.md": decisions_text(contract, results),
        }

    def write(self, seconds: dict[str, float] | None = None, *, cached: bool = False) -> str:
        """Write the page, and the model card if there is a model.

        Args:
            seconds: Duration of each stage of this run; None keeps the previous run's.
            cached: Whether the data came from ZenML's cache.

        Returns:
            The summary by stage, for the terminal.
        """
        from fivestage.reporting.html_page import write_page
        from fivestage.reporting.terminal_summary import summary

        before, card = load(self.results), self.page.with_name("model_card.md")
        if seconds is None:
            seconds, cached = (before.run.seconds, before.run.cached) if before.run else ({}, False)
        links = (
            *([ReportLink("Model card", path=card.name)] if before.model else []),
            ReportLink("MLflow: runs, versions, artifacts", command="make ui"),
            ReportLink("ZenML: pipelines, steps, lineage", command='make ui ARGS="--which zenml"'),
            ReportLink("Evidently: the checks of each period", command='make ui ARGS="--which evidently"'),
            *([ReportLink("The service", command="make serve")] if before.serving else []),
        )
        save(RunSection(seconds, links, cached), self.results)
        contract, results = self.problem.contract, load(self.results)
        if results.model:
            write_text(card, card_text(contract, results))
        write_page(contract, results, self.page)
        return summary(contract, results, self.page)

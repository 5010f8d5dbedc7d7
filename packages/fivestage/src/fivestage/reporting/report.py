"""What a project's runs report: what each stage found, as a page, a model card and a table."""

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
from fivestage.evaluation.gates import Gate, Probe
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
    """What the runs of a project report."""

    problem: Problem
    results: Path = RESULTS  # the folder in which each stage leaves what it found
    page: Path = REPORTS / "index.html"  # the HTML page; the model card lies beside it
    notices: Path = REPORTS / "notices"  # what CI makes issues and pull requests of

    @property
    def question(self) -> str:
        """The question that the model answers, and by which rule a decision follows from the answer."""
        return f"{self.problem.contract.title} {task_display.rule(self.problem.contract)}"

    def save_data(
        self,
        rows: pd.DataFrame,
        event_tables: EventTables,
        ingested: IngestReport,
        windows: TemporalSplit,
        probes: Sequence[Probe],
    ) -> None:
        """Keep what stages 1 and 2 found.

        Args:
            rows: the decisions kept, by `decision_at` in epoch seconds, with their labels.
            event_tables: the events.
            ingested: what was read and quarantined.
            windows: of `rows`.
            probes: of leakage.
        """
        save(ProblemSection(self.problem.contract.digest), self.results)
        found = sections.data_section(self.problem, rows, event_tables, ingested, windows, probes)
        save(found, self.results)

    def save_evaluation(
        self,
        version: Version,
        artifact: Artifact,
        selection: Selection,
        gates: Sequence[Gate],
        found: VersionEvaluation,
    ) -> str:
        """Keep what stage 3 found: a version, its gates, and how it does on the test window.

        Args:
            version: in the registry.
            artifact: the version's.
            selection: baselines and candidates on the validation folds.
            gates: of promotion.
            found: the version on the test window.

        Returns:
            The version's model card, in Markdown.
        """
        contract = self.problem.contract
        trained = sections.model_section(contract, version, artifact, selection.leaderboard, gates)
        save(sections.evaluated(trained, contract, found), self.results)
        return card_text(contract, load(self.results))

    def save_policies(self, comparison: Comparison) -> str:
        """Keep a backtest of retraining policies.

        Args:
            comparison: the backtest's.

        Returns:
            The finding in a sentence.
        """
        found = sections.policies_section(comparison)
        save(found, self.results)
        return sentences.policies(self.problem.contract, found)

    def save_periods(
        self,
        monitored: "Sequence[tuple[MonitoredPeriod, RetrainingDecision]]",
        page_of: Callable[[int], Path],
    ) -> str:
        """Leave a notice of the periods that one run has monitored, and describe them for the terminal.

        Args:
            monitored: each period with the policy's decision after it, oldest first; at least one.
            page_of: the drift report of the period that starts at a moment (epoch seconds).

        Returns:
            Lines: how each period went, what was found, what to do, and where the notice is.
        """
        path = period_notice(self.problem.contract, monitored).write(self.notices / "monitoring.md")
        lines = [
            line for one, verdict in monitored for line in period_lines(one, verdict, page_of(one.start))
        ]
        return "\n".join([*lines, f"{path} has the summary."])

    def save_retraining(self, result: TrainingResult) -> str:
        """Leave a notice of a champion/challenger evaluation, and describe it for the terminal.

        Args:
            result: the challenger, its gates, and whether it is the champion now.

        Returns:
            Lines: each gate, what became of the version, and where the notice is.
        """
        path = evaluation_notice(self.problem.contract, result).write(self.notices / "retraining.md")
        return f"{result.text}\n{path} has the summary."

    def documents(
        self, version: Version, artifact: Artifact, selection: Selection, gates: Sequence[Gate]
    ) -> dict[str, str]:
        """Describe a version, by its evaluation where that is the last one.

        Args:
            version: in the registry.
            artifact: the version's.
            selection: baselines and candidates on the validation folds.
            gates: of promotion.

        Returns:
            By file name, the model card and the page of decisions, in Markdown.
        """
        contract, found = self.problem.contract, load(self.results)
        if found.model is None or found.model.digest != version.digest:
            trained = sections.model_section(contract, version, artifact, selection.leaderboard, gates)
            found = replace(found, model=trained)
        return {"model_card.md": card_text(contract, found), "decisions.md": decisions_text(contract, found)}

    def write(self, seconds: dict[str, float] | None = None, *, cached: bool = False) -> str:
        """Write the page, and the model card once there is a model.

        Args:
            seconds: how long each stage of this run took; None: of the run before.
            cached: whether the data came from ZenML's cache.

        Returns:
            The table by stage, for the terminal.
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
        contract, found = self.problem.contract, load(self.results)
        if found.model:
            write_text(card, card_text(contract, found))
        write_page(contract, found, self.page)
        return summary(contract, found, self.page)

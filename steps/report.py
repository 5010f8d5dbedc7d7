"""ZenML steps that save what the report shows: change here what goes on the page and to MLflow."""

from pathlib import Path
from typing import Annotated

import pandas as pd
from zenml import step

from fivestage.common import settings
from fivestage.contract.contract import day_of, epoch_of
from fivestage.data.event_tables import EventTables, IngestReport
from fivestage.data.splits import windows_at
from fivestage.evaluation.gates import Gate
from fivestage.registry.versions import Version
from fivestage.reporting.report import Report
from fivestage.training.leakage_probes import LeakageProbes
from fivestage.training.version_evaluation import VersionEvaluation
from problem import PROBLEM
from steps.model import REGISTRY, GateVerdict


@step(enable_cache=False)
def report_data(
    rows: pd.DataFrame, event_tables: EventTables, ingested: IngestReport, probes: LeakageProbes, as_of: str
) -> None:
    """Stages 1 and 2: the contract, the rows read, kept and quarantined, the windows, the leakage probes."""
    windows = windows_at(rows, PROBLEM.contract.split, epoch_of(as_of))
    Report(PROBLEM).save_data(rows, event_tables, ingested, windows, probes.found)


@step(enable_cache=False)
def report_model(version: str, findings: VersionEvaluation) -> Annotated[str, "model_card"]:
    """Stage 3: the version on the test window, and its model card, which MLflow keeps too."""
    found, artifact = REGISTRY.open(version)
    card = Report(PROBLEM).save_evaluation(found, artifact, found.selection(), gates_of(found), findings)
    scores = findings.evaluation.scored.scores
    found.annotate({"model_card.md": card}, {f"test_{name}": value for name, value in scores.items()})
    return card


def documents(version: str) -> dict[str, str]:
    """A version's model card and the decisions behind it, by file name."""
    found, artifact = REGISTRY.open(version)
    return Report(PROBLEM).documents(found, artifact, found.selection(), gates_of(found))


def gates_of(version: Version) -> tuple[Gate, ...]:
    """What the gates said of a version."""
    return version.load_record(GateVerdict).gates


def page_of(start: int) -> Path:
    """Where Evidently's page of a period lies."""
    return settings.REPORTS / "drift" / f"{day_of(start)}.html"

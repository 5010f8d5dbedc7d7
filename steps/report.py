"""ZenML steps that save results for the report: change here what appears on the page and in MLflow."""

from typing import Annotated

import pandas as pd
from zenml import step

from fivestage.data.event_tables import EventTables, IngestReport
from fivestage.reporting.report import Report
from fivestage.training.leakage_probes import LeakageProbes
from fivestage.training.version_evaluation import VersionEvaluation
from problem import PROBLEM
from steps.model import REGISTRY


@step(enable_cache=False)
def report_model(
    rows: pd.DataFrame,
    event_tables: EventTables,
    ingested: IngestReport,
    probes: LeakageProbes,
    version: str,
    version_evaluation: VersionEvaluation,
) -> Annotated[str, "model_card"]:
    """Save stages 1 to 3: the data, the version's evaluation on them, and its model card, also in MLflow."""
    (registered, artifact), report = REGISTRY.open(version), Report(PROBLEM)
    report.save_data(rows, event_tables, ingested, probes.found, registered, version_evaluation.sets)
    card = report.save_evaluation(registered, artifact, version_evaluation)
    metrics = version_evaluation.evaluation.metrics
    registered.annotate({"model_card.md": card}, {f"test_{name}": one.value for name, one in metrics.items()})
    return card


def documents(version: str) -> dict[str, str]:
    """Return a version's model card and the decisions behind it, by file name."""
    return Report(PROBLEM).documents(*REGISTRY.open(version))

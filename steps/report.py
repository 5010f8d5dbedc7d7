"""ZenML steps that save what the report shows: change here what goes on the page and to MLflow."""

from typing import Annotated

import pandas as pd
from zenml import step

from fivestage.artifact.artifact import Artifact
from fivestage.common.settings import RESULTS
from fivestage.data.event_tables import EventTables, IngestReport
from fivestage.registry.versions import Version, annotate, load_record, open_version
from fivestage.reporting.model_card import card_text
from fivestage.reporting.results import ModelSection, ProblemSection, load, save
from fivestage.reporting.sections import data_section, evaluated, model_section
from fivestage.training.selection import Selection
from problem import PROBLEM
from steps.data import Probes, windows_at
from steps.model import Findings, GateVerdict


@step(enable_cache=False)
def report_data(
    rows: pd.DataFrame, event_tables: EventTables, ingested: IngestReport, probes: Probes, as_of: str
) -> None:
    """Stages 1 and 2: the contract, the rows read, kept and quarantined, the windows, the leakage probes."""
    save(ProblemSection(PROBLEM.contract.digest), RESULTS)
    windows = windows_at(rows, as_of)
    save(data_section(PROBLEM, rows, event_tables, ingested, windows, probes.found), RESULTS)


@step(enable_cache=False)
def report_model(version: str, findings: Findings) -> Annotated[str, "model_card"]:
    """Stage 3: the version on the test window, and its model card, which MLflow keeps too."""
    contract = PROBLEM.contract
    found, artifact = open_version(contract.name, version)
    ablation = [(line.sets, line.scored) for line in findings.ablation]
    section = trained_section(found, artifact)
    save(evaluated(section, contract, findings.evaluation, ablation, findings.importance), RESULTS)
    card = card_text(contract, load(RESULTS))
    scores = findings.evaluation.scored.scores
    annotate(found, {"model_card.md": card}, {f"test_{name}": value for name, value in scores.items()})
    return card


def trained_section(found: Version, artifact: Artifact) -> ModelSection:
    """What the report knows of a version before it is evaluated on the test window."""
    leaderboard, gates = load_record(found, Selection).leaderboard, load_record(found, GateVerdict).gates
    return model_section(PROBLEM.contract, found, artifact, leaderboard, gates)

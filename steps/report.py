"""ZenML steps that write each stage's results where the page reads them."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

import pandas as pd
from zenml import step

from fivestage.artifact.artifact import Artifact
from fivestage.common.clock import DAY
from fivestage.common.settings import RESULTS
from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, day_of
from fivestage.data.event_tables import EventTables, IngestReport
from fivestage.evaluation.metrics import Scored
from fivestage.features.offline import names_by_set
from fivestage.registry.versions import Version, annotate, load_record, open_version
from fivestage.reporting.model_card import card_text
from fivestage.reporting.results import (
    AblationRow,
    CalibrationPoint,
    CostPoint,
    DataSection,
    Estimate,
    ModelSection,
    ProblemSection,
    Slice,
    Week,
    WindowRow,
    estimates,
    load,
    save,
)
from fivestage.reporting.task_display import shown_of
from fivestage.training.selection import Selection
from problem import PROBLEM
from steps.data import Probes, windows_at
from steps.model import Findings, GateVerdict

WEEK = 7 * DAY


@step(enable_cache=False)
def tell_data(
    rows: pd.DataFrame, world: EventTables, ingested: IngestReport, probes: Probes, as_of: str
) -> None:
    """Stage 1 and 2 of the page: rows, quarantine, windows, the label over time, probes."""
    contract = PROBLEM.contract
    save(ProblemSection(contract.digest), RESULTS)
    windows = windows_at(rows, as_of)
    decided = rows["decision_at"]
    weeks = label_weeks(rows, contract)
    first = int(decided.iloc[0])
    save(
        DataSection(
            raw_rows=ingested.raw_rows,
            rows=len(rows),
            quarantined=ingested.quarantined,
            events={kind: len(frame) for kind, frame in world.events.items()},
            windows=(
                WindowRow("train", day_of(first), day_of(windows.contest_start), len(windows.train)),
                *(
                    WindowRow("fold", day_of(fold.start), day_of(fold.end), len(fold.valid))
                    for fold in windows.folds
                ),
                WindowRow(
                    "contest", day_of(windows.contest_start), day_of(windows.as_of), len(windows.contest)
                ),
                WindowRow(
                    "test", day_of(windows.as_of), day_of(int(decided.iloc[-1]) + DAY), len(windows.after)
                ),
            ),
            label_rate=weeks,
            probes=probes.found,
            features=names_by_set(PROBLEM.features, rows, world.reference),
            cleaning={what: int(many) for what, many in ingested.quality.items() if many and many % 1 == 0},
        ),
        RESULTS,
    )


@step(enable_cache=False)
def tell_model(version: str, findings: Findings) -> Annotated[str, "model_card"]:
    """Stage 3 of the page, and the model card, which goes to MLflow too."""
    contract = PROBLEM.contract
    found, artifact = open_version(contract.name, version)
    evaluation, shown = findings.evaluation, shown_of(contract)
    save(
        replace(
            model_of(found, artifact, contract),
            test=estimates(evaluation.scored.scores, evaluation.scored.intervals),
            ablation=tuple(
                AblationRow(line.sets, _some(line.scored, shown.sets)) for line in findings.ablation
            ),
            slices=tuple(
                Slice(column, value, int(scored.scores["rows"]), _some(scored, shown.slices))
                for column, values in evaluation.slices.items()
                for value, scored in values.items()
            ),
            calibration=tuple(CalibrationPoint(*point) for point in evaluation.calibration),
            cost_curve=tuple(CostPoint(*point) for point in evaluation.cost_curve),
            importance=findings.importance,
        ),
        RESULTS,
    )
    card = card_text(contract, load(RESULTS))
    annotate(
        found, {"model_card.md": card}, {f"test_{name}": v for name, v in evaluation.scored.scores.items()}
    )
    return card


def model_of(found: Version, artifact: Artifact, contract: Contract) -> ModelSection:
    """What is known of a version as soon as its contest is over; evaluation adds the rest."""
    selection, verdict = load_record(found, Selection), load_record(found, GateVerdict)
    return ModelSection(
        version=found.version,
        digest=found.digest,
        promoted=verdict.passed,
        candidates=selection.leaderboard,
        test={},
        threshold=where_it_stands(contract),
        gates=verdict.gates,
        lineage=asdict(artifact.lineage) | {"commit": found.commit, "mlflow run": found.run_id},
    )


def label_weeks(rows: pd.DataFrame, contract: Contract) -> tuple[Week, ...]:
    """The label week by week."""
    decided, label = rows["decision_at"], rows[contract.label.name]
    first = int(decided.iloc[0])
    week = (decided - first) // WEEK
    shares: dict[Any, Any] = {}
    if isinstance(contract, MulticlassContract):
        names = label.map(dict(enumerate(contract.label.classes)))
        shares = pd.crosstab(week, names, normalize="index").to_dict(orient="index")
    return tuple(
        Week(day_of(first + int(at) * WEEK), float(mean), int(size), shares.get(at, {}))
        for at, mean, size in label.groupby(week).agg(["mean", "size"]).itertuples()
    )


def where_it_stands(contract: Contract) -> float:
    """Of the cost curve: the threshold that is decided by, or no move at all."""
    return contract.costs.threshold if isinstance(contract, BinaryContract) else 0.0


def _some(scored: Scored, names: Sequence[str]) -> dict[str, Estimate]:
    return {name: Estimate(scored.scores[name], *scored.intervals[name]) for name in names}

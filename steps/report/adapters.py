"""ZenML steps that write each stage's results where the page reads them."""

from dataclasses import asdict
from typing import Annotated

import pandas as pd
from zenml import step

from core.clock import DAY
from core.contract import day_of, load_contract
from core.settings import RESULTS
from monitoring.metrics import Scored
from report.card import card_text
from report.results import (
    AblationRow,
    CalibrationPoint,
    CostPoint,
    Data,
    Estimate,
    Model,
    Problem,
    Slice,
    Week,
    Window,
    estimates,
    load,
    save,
)
from steps.data.adapters import Probes, windows_at
from steps.data.features import names_by_set
from steps.data.world import Ingested, World
from steps.model.adapters import Findings, Verdict
from steps.model.registry import annotate, load_record, open_version
from steps.model.select import Selection

WEEK = 7 * DAY


@step(enable_cache=False)
def tell_data(rows: pd.DataFrame, world: World, ingested: Ingested, probes: Probes, as_of: str) -> None:
    """Stage 1 and 2 of the page: rows, quarantine, windows, the label over time, probes."""
    contract = load_contract()
    save(Problem(contract.digest), RESULTS)
    windows = windows_at(rows, as_of)
    decided = rows["decision_at"]
    label = rows[contract.label.name]
    weeks = label.groupby((decided - decided.iloc[0]) // WEEK).agg(["mean", "size"])
    first = int(decided.iloc[0])
    save(
        Data(
            raw_rows=ingested.raw_rows,
            rows=len(rows),
            quarantined=ingested.quarantined,
            events={kind: len(frame) for kind, frame in world.events.items()},
            windows=(
                Window("train", day_of(first), day_of(windows.contest_start), len(windows.train)),
                *(
                    Window("fold", day_of(fold.start), day_of(fold.end), len(fold.valid))
                    for fold in windows.folds
                ),
                Window("contest", day_of(windows.contest_start), day_of(windows.as_of), len(windows.contest)),
                Window(
                    "test", day_of(windows.as_of), day_of(int(decided.iloc[-1]) + DAY), len(windows.after)
                ),
            ),
            label_rate=tuple(
                Week(day_of(first + int(week) * WEEK), float(rate), int(size))
                for week, rate, size in weeks.itertuples()
            ),
            probes=probes.found,
            features=names_by_set(rows, world.reference),
        ),
        RESULTS,
    )


@step(enable_cache=False)
def tell_model(version: str, findings: Findings) -> Annotated[str, "model_card"]:
    """Stage 3 of the page, and the model card, which goes to MLflow too."""
    contract = load_contract()
    found, artifact = open_version(contract.name, version)
    evaluation = findings.evaluation
    selection = load_record(found, Selection)
    verdict = load_record(found, Verdict)
    save(
        Model(
            version=found.version,
            digest=found.digest,
            promoted=verdict.passed,
            candidates=selection.leaderboard,
            test=estimates(evaluation.scored.scores, evaluation.scored.intervals),
            threshold=artifact.threshold,
            gates=verdict.gates,
            lineage=asdict(artifact.lineage) | {"commit": found.commit, "mlflow run": found.run_id},
            ablation=tuple(
                AblationRow(line.sets, *_some(line.scored, "roc_auc", "log_loss", "savings_share"))
                for line in findings.ablation
            ),
            slices=tuple(
                Slice(column, value, int(scored.scores["rows"]), *_some(scored, "roc_auc", "cost_per_1000"))
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


def _some(scored: Scored, *names: str) -> list[Estimate]:
    return [Estimate(scored.scores[name], *scored.intervals[name]) for name in names]

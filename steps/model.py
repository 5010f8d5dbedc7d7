"""ZenML steps of stage 3."""

import time
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
from zenml import step

from fivestage.artifact.artifact import Artifact, FormatError, Lineage, load_artifact
from fivestage.artifact.engine import Engine
from fivestage.common.errors import UserError
from fivestage.contract.contract import day_of
from fivestage.data.event_tables import EventTables
from fivestage.data.labels import labels_of
from fivestage.evaluation.champion_challenger import TIMED_ROWS, Evidence, row_milliseconds, run_gates
from fivestage.evaluation.evaluate import (
    Evaluation,
    answers_of,
    artifact_forecast,
    decision_day,
    evaluate_window,
    importance,
)
from fivestage.evaluation.gates import Gate
from fivestage.evaluation.metrics import Answers, Scored
from fivestage.features.offline import learn_categories, names_by_set
from fivestage.orchestration.caching import GATES_CACHE, MODEL_CACHE
from fivestage.orchestration.lineage import code_digest, lock_digest
from fivestage.orchestration.materializers import RecordMaterializer
from fivestage.registry.training_runs import TrainingDetails, datasets_of
from fivestage.registry.versions import (
    Version,
    annotate,
    await_approval,
    fetch,
    find,
    load_record,
    open_version,
    promote,
    record,
    register,
)
from fivestage.training.ablation import ablation
from fivestage.training.estimators import settings_of
from fivestage.training.packaging import fit_chosen, package
from fivestage.training.sample import training_sample
from fivestage.training.selection import Selection, estimator_of, select
from fivestage.training.task_trainer import baseline_savings
from problem import PROBLEM
from steps.data import Probes, windows_at


@dataclass(frozen=True)
class GateVerdict:
    """What every gate said of a challenger."""

    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        """Whether the challenger may serve."""
        return all(gate.passed for gate in self.gates)


@dataclass(frozen=True)
class AblationLine:
    """Scores and intervals of one collection of feature sets."""

    sets: str
    scored: Scored


@dataclass(frozen=True)
class Findings:
    """A version on the test window."""

    evaluation: Evaluation
    ablation: tuple[AblationLine, ...]
    importance: dict[str, float]


@step(cache_policy=MODEL_CACHE, output_materializers=RecordMaterializer)
def train_model(
    rows: pd.DataFrame,
    event_tables: EventTables,
    features: pd.DataFrame,
    as_of: str,
    data: str,
    registry: str,  # noqa: ARG001 (in another one, the version is registered again)
    kept: str,
) -> Annotated[Version, "version"]:
    """Choose a candidate on the temporal folds, fit it, and register the artifact that it becomes.

    `kept` names a version whose candidate, settings and calibration are kept; empty: all are tried.
    """
    started, contract = time.time(), PROBLEM.contract
    windows = windows_at(rows, as_of)
    sample = training_sample(rows, features, windows, contract)
    candidates = PROBLEM.candidates(len(windows.train), tuple(sample.categories))
    champion = load_record(find(contract.name, kept), Selection) if kept else None
    selection = select(sample, windows, contract, candidates, champion)
    fitted = fit_chosen(sample, windows, selection, contract, candidates)
    lineage = Lineage(data, contract.digest, lock_digest(), code_digest())
    artifact = package(fitted, rows, windows, event_tables, PROBLEM, lineage)
    tried = () if selection is champion else selection.leaderboard
    params = {
        "candidate": selection.candidate,
        **settings_of(estimator_of(candidates, selection)),
        "as_of": as_of,
        "features": len(artifact.features),
    }
    metrics = {f"folds_{name}": value for one in tried if one.chosen for name, value in one.metrics.items()}
    chosen = f"chosen on {len(windows.folds)} temporal folds" if tried else f"calibrated as version {kept} is"
    details = TrainingDetails(
        tried, datasets_of(rows, windows, data), started, note=f"{selection.candidate}, {chosen}"
    )
    version = register(artifact, contract.name, params, metrics, details)
    record(version, selection)
    return version


@step(cache_policy=GATES_CACHE, output_materializers=RecordMaterializer)
def evaluate_challenger(
    rows: pd.DataFrame, features: pd.DataFrame, version: Version, probes: Probes, as_of: str, champion: str
) -> Annotated[GateVerdict, "verdict"]:
    """Champion and challenger, each as the whole artifact, on the same frozen window; every gate says why."""
    contract = PROBLEM.contract
    windows = windows_at(rows, as_of)
    window, seen = rows.iloc[windows.holdout], features.iloc[windows.holdout]

    def answers(artifact: Artifact) -> Answers:
        return answers_of(artifact, artifact_forecast(artifact, seen))

    challenger = load_artifact(fetch(contract.name, version.version))
    asked: list[Any] = window[list(contract.columns)].head(TIMED_ROWS).to_dict(orient="records")
    evidence = Evidence(
        baseline_savings(training_sample(rows, features, windows, contract), windows, contract),
        probes.found,
        row_milliseconds(Engine(challenger, PROBLEM.features), asked),
    )
    opponent = None
    if champion not in ("", version.version):
        try:
            opponent = answers(load_artifact(fetch(contract.name, champion)))
        except FormatError as error:
            evidence = replace(evidence, absent=f"the champion, version {champion}, cannot be asked: {error}")
    return GateVerdict(tuple(run_gates(window, answers(challenger), opponent, evidence, contract)))


@step(enable_cache=False, output_materializers=RecordMaterializer)
def find_version(version: str) -> Annotated[Version, "version"]:
    """A registered version."""
    return find(PROBLEM.contract.name, version)


@step(enable_cache=False)
def promote_challenger(version: Version, verdict: GateVerdict, champion: str) -> Annotated[bool, "promoted"]:
    """Move the alias `champion` if every gate passed; the reasons stay with the run.

    Where the contract asks for a person's approval, what passed waits for it; the first champion does not.
    """
    record(version, verdict)
    annotate(
        version,
        {"gates.txt": gate_lines(verdict)},
        {"gates_failed": sum(not g.passed for g in verdict.gates)},
    )
    if not verdict.passed:
        return False
    if champion and PROBLEM.contract.monitoring.promotion == "approval":
        await_approval(version)
        return False
    promote(version)
    return True


def gate_lines(verdict: GateVerdict) -> str:
    """The gates as text, one a line."""
    return "".join(f"{'pass' if g.passed else 'FAIL'}  {g.name}: {g.sentence}\n" for g in verdict.gates)


@step(cache_policy=MODEL_CACHE, output_materializers=RecordMaterializer)
def examine(
    rows: pd.DataFrame,
    event_tables: EventTables,
    features: pd.DataFrame,
    version: str,
    registry: str,  # noqa: ARG001 (whose number it is)
) -> Annotated[Findings, "findings"]:
    """A version on the frozen test window, after its own time, and what each feature set brings there."""
    contract = PROBLEM.contract
    found, artifact = open_version(contract.name, version)
    windows = windows_at(rows, str(day_of(artifact.as_of)))
    days = decision_day(rows.iloc[windows.after])
    if len(days) == 0 or np.ptp(days) + 1 < contract.monitoring.period_days:
        raise UserError(
            f"The data reach hardly past {day_of(artifact.as_of)}, the day of version {version}: there is "
            "nothing to evaluate it on. Name data that go on, or train as of an earlier day."
        )
    after, label = rows.iloc[windows.after], labels_of(rows, contract)[windows.after]
    seen = features.iloc[windows.after]
    sets = names_by_set(PROBLEM.features, rows, event_tables.reference)
    text = learn_categories(features.iloc[windows.train])
    candidates = PROBLEM.candidates(len(windows.train), tuple(text))
    estimator = estimator_of(candidates, load_record(found, Selection))
    lines = ablation(features, sets, rows, windows, estimator, contract)
    evaluation = evaluate_window(artifact, after, artifact_forecast(artifact, seen), contract)
    return Findings(
        evaluation,
        tuple(AblationLine(name, scored) for name, scored in [*lines, (" + ".join(sets), evaluation.scored)]),
        importance(artifact, seen, label),
    )

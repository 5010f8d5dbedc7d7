"""ZenML steps of stage 3."""

import time
from typing import Annotated

import pandas as pd
from zenml import step

from fivestage.data.event_tables import EventTables
from fivestage.evaluation.champion_challenger import Evidence, run_gates
from fivestage.evaluation.evaluate import answers_of
from fivestage.evaluation.gates import GateVerdict
from fivestage.orchestration import caching
from fivestage.orchestration.lineage import lineage_of
from fivestage.registry.versions import ModelRegistry, Version
from fivestage.training.leakage_probes import LeakageProbes
from fivestage.training.packaging import fit_chosen
from fivestage.training.sample import TrainingSample
from fivestage.training.selection import select
from fivestage.training.task_trainer import baseline_savings
from fivestage.training.version_evaluation import VersionEvaluation
from problem import PROBLEM

REGISTRY = ModelRegistry(PROBLEM.contract.name)


@step(cache_policy=caching.MODEL_CACHE)
def train_model(
    rows: pd.DataFrame,
    event_tables: EventTables,
    features: pd.DataFrame,
    as_of: str,
    data: str,
    registry_key: str,  # noqa: ARG001 (part of the cache key: another registry has to get the version too)
    same_settings_as: str,
) -> Annotated[Version, "version"]:
    """Choose a candidate on the temporal folds, fit it, and register the resulting artifact.

    `same_settings_as` names a version whose candidate, settings and calibration are reused; if it is empty,
    all candidates are compared.
    """
    started, contract = time.time(), PROBLEM.contract
    sample = TrainingSample.as_of(rows, features, contract, as_of)
    candidates = PROBLEM.candidates(len(sample.windows.train), tuple(sample.categories))
    kept = REGISTRY.find(same_settings_as).selection() if same_settings_as else None
    lineage = lineage_of(data, contract)
    selection = select(sample, candidates, kept, lineage.code)
    artifact = fit_chosen(sample, selection, candidates).artifact(rows, event_tables, PROBLEM, lineage)
    # `select` returns `kept` if nothing has changed.
    unchanged = same_settings_as if selection is kept else ""
    windows = sample.windows
    return REGISTRY.register_training(artifact, selection, candidates, rows, windows, started, unchanged)


@step(cache_policy=caching.GATES_CACHE)
def evaluate_challenger(
    rows: pd.DataFrame,
    features: pd.DataFrame,
    version: Version,
    probes: LeakageProbes,
    as_of: str,
    champion: str,
    from_scratch: bool = False,  # noqa: FBT001, FBT002 (ZenML passes it by name)
) -> Annotated[GateVerdict, "verdict"]:
    """Compare the artifacts of challenger and champion on the holdout window, and run the gates."""
    contract = PROBLEM.contract
    sample = TrainingSample.as_of(rows, features, contract, as_of)
    window, window_features = rows.iloc[sample.windows.holdout], features.iloc[sample.windows.holdout]

    _, challenger = REGISTRY.open(version.version)
    answers = answers_of(challenger, window_features)
    not_compared = "" if champion else "there is no champion yet"
    if from_scratch:
        not_compared = "this run starts from scratch, whatever the champion is"
    elif champion == version.version:
        not_compared = "this version is the champion itself"
    champion_answers = not_compared or REGISTRY.champion_answers(champion, window_features, contract)
    evidence = Evidence.of(challenger, PROBLEM.features, window, baseline_savings(sample), probes.found)
    return run_gates(window, answers, champion_answers, evidence, contract)


@step(enable_cache=False)
def find_version(version: str) -> Annotated[Version, "version"]:
    """Look up a registered version."""
    return REGISTRY.find(version)


@step(enable_cache=False)
def promote_challenger(version: Version, verdict: GateVerdict, champion: str) -> Annotated[bool, "promoted"]:
    """Move the alias `champion` if every gate passed, and store the gates' results with the run.

    If the contract requires a person's approval, the version waits for it, unless there is no champion yet.
    """
    version.record(verdict)
    version.annotate(
        {"gates.txt": gate_lines(verdict)},
        {"gates_failed": sum(not g.passed for g in verdict.gates)},
    )
    if not verdict.passed:
        return False
    if champion and PROBLEM.contract.monitoring.promotion == "approval":
        REGISTRY.await_approval(version)
        return False
    REGISTRY.promote(version)
    return True


def gate_lines(verdict: GateVerdict) -> str:
    """Format the gates as text, one per line."""
    return "".join(f"{gate.line}\n" for gate in verdict.gates)


@step(cache_policy=caching.MODEL_CACHE)
def evaluate_on_test(
    rows: pd.DataFrame,
    event_tables: EventTables,
    features: pd.DataFrame,
    version: str,
    registry_key: str,  # noqa: ARG001 (part of the cache key: version numbers are per registry)
) -> Annotated[VersionEvaluation, "version_evaluation"]:
    """Score a version on the test window, and measure what each feature set contributes, for the report."""
    registered, artifact = REGISTRY.open(version, PROBLEM.features)
    return VersionEvaluation.of(PROBLEM, artifact, registered.selection(), rows, event_tables, features)

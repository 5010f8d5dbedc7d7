"""A training as MLflow shows it: a run with its data, and one below it for each candidate."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from fivestage.contract.contract import iso
from fivestage.data.splits import TemporalSplit
from fivestage.training.leaderboard import LeaderboardRow
from fivestage.training.selection import Candidates, Selection, parameters_of


@dataclass(frozen=True)
class TrainingDetails:
    """What a training's run shows beside its artifact.

    Args:
        parameters: of what was chosen, by name.
        leaderboard: what was tried, a run of its own each; the run has the metrics of what was chosen.
        datasets: what was seen.
        started: when the training began, epoch seconds; 0: now.
        problem: module and name of the problem, by which MLflow finds the features.
        note: the run in words.
    """

    parameters: Mapping[str, object] = field(default_factory=dict)
    leaderboard: Sequence[LeaderboardRow] = ()
    datasets: Sequence[DatasetInput] = ()
    started: float = 0.0
    problem: str = "problem:PROBLEM"
    note: str = ""


def details_of(
    selection: Selection,
    candidates: Candidates,
    rows: pd.DataFrame,
    windows: TemporalSplit,
    data: str,
    started: float,
    kept: str,
) -> TrainingDetails:
    """What a training's run shows of its candidates and its data; see `ModelRegistry.register_training`."""
    how = f"calibrated as version {kept} is" if kept else f"chosen on {len(windows.folds)} temporal folds"
    tried = () if kept else selection.leaderboard
    note = f"{selection.candidate}, {how}"
    parameters = parameters_of(candidates, selection)
    return TrainingDetails(parameters, tried, datasets_of(rows, windows, data), started, note=note)


def datasets_of(rows: pd.DataFrame, windows: TemporalSplit, digest: str) -> list[DatasetInput]:
    """The windows of a training as MLflow lists data: what is learnt from, and what it is judged on."""
    decided = rows["decision_at"].to_numpy()
    used = [("train", windows.train, "training"), ("holdout", windows.holdout, "evaluation")]
    used += [(f"fold {number}", fold.valid, "validation") for number, fold in enumerate(windows.folds, 1)]
    found = []
    for name, places, context in used:
        first, last = (iso(at) for at in (decided[places].min(), decided[places].max()))
        profile = {"rows": len(places), "first decision": first, "last decision": last}
        data = Dataset(
            name=name,
            digest=digest[:12],
            source_type="code",
            source=json.dumps({"tags": {"reader": "problem/dataset.py"}}),
            profile=json.dumps(profile),
        )
        found.append(DatasetInput(data, [InputTag(MLFLOW_DATASET_CONTEXT, context)]))
    return found


def begin(client: MlflowClient, experiment: str, of: str, name: str, details: TrainingDetails) -> str:
    """The run of an artifact with this digest: begun when its training was, or one that was cut short."""
    known = client.get_experiment_by_name(experiment)
    number = known.experiment_id if known else client.create_experiment(experiment)
    found = client.search_runs([number], f"tags.of = '{of}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    started = round((details.started or time.time()) * 1000)
    tags = {"of": of, "stage": "training", MLFLOW_RUN_NOTE: details.note}
    run = client.create_run(number, start_time=started, run_name=name, tags=tags)
    client.log_inputs(run.info.run_id, datasets=list(details.datasets))
    for row in details.leaderboard:
        _log_candidate(client, number, run.info.run_id, row)
    return str(run.info.run_id)


def _log_candidate(client: MlflowClient, experiment: str, parent: str, row: LeaderboardRow) -> None:
    started = round((row.started or time.time()) * 1000)
    tags = {MLFLOW_PARENT_RUN_ID: parent, "kind": row.kind, "chosen": "yes" if row.chosen else "no"}
    run = client.create_run(experiment, start_time=started, run_name=row.name, tags=tags)
    client.log_batch(run.info.run_id, metrics=metrics_of(row, started))
    client.set_terminated(run.info.run_id, end_time=started + round(row.seconds * 1000))


def metrics_of(row: LeaderboardRow, at: int) -> list[Metric]:
    """The scores of a baseline or candidate on the folds, as MLflow keeps them; `at` is in milliseconds."""
    return [Metric(f"folds_{name}", value, at, 0) for name, value in known_numbers(row.metrics).items()]


def known_numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    """Without the missing ones, which MLflow's pages cannot show.

    Args:
        metrics: numbers by name; NaN where one is missing.

    Returns:
        The same by name, without those that are NaN.
    """
    return {name: value for name, value in metrics.items() if not math.isnan(value)}

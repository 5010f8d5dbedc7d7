"""MLflow runs of a training: one with its data, and a child run for each candidate."""

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


@dataclass(frozen=True)
class TrainingDetails:
    """The details that a training's run shows in addition to its artifact."""

    parameters: Mapping[str, object] = field(default_factory=dict)  # of the chosen candidate
    leaderboard: Sequence[LeaderboardRow] = ()  # baselines and candidates, each logged as a child run
    datasets: Sequence[DatasetInput] = ()  # the windows of data that were used
    started: float = 0.0  # epoch seconds; 0 for now
    problem: str = "problem:PROBLEM"  # module and name, by which MLflow finds the features
    note: str = ""  # a description of the run


def datasets_of(rows: pd.DataFrame, windows: TemporalSplit, digest: str) -> list[DatasetInput]:
    """Return a training's windows of data as MLflow datasets: for training, validation and evaluation."""
    decided = rows["decision_at"].to_numpy()
    usage = [("train", windows.train, "training"), ("holdout", windows.holdout, "evaluation")]
    usage += [(f"fold {number}", fold.valid, "validation") for number, fold in enumerate(windows.folds, 1)]
    datasets = []
    for name, places, context in usage:
        first, last = (iso(at) for at in (decided[places].min(), decided[places].max()))
        profile = {"rows": len(places), "first decision": first, "last decision": last}
        data = Dataset(
            name=name,
            digest=digest[:12],
            source_type="code",
            source=json.dumps({"tags": {"reader": "problem/dataset.py"}}),
            profile=json.dumps(profile),
        )
        datasets.append(DatasetInput(data, [InputTag(MLFLOW_DATASET_CONTEXT, context)]))
    return datasets


def begin(client: MlflowClient, experiment: str, digest: str, name: str, details: TrainingDetails) -> str:
    """Return the run of the artifact with this digest: an interrupted one, or a new one."""
    known = client.get_experiment_by_name(experiment)
    experiment_id = known.experiment_id if known else client.create_experiment(experiment)
    interrupted = client.search_runs([experiment_id], f"tags.of = '{digest}'", max_results=1)
    if interrupted:
        return str(interrupted[0].info.run_id)
    started = round((details.started or time.time()) * 1000)
    tags = {"of": digest, "stage": "training", MLFLOW_RUN_NOTE: details.note}
    run = client.create_run(experiment_id, start_time=started, run_name=name, tags=tags)
    client.log_inputs(run.info.run_id, datasets=list(details.datasets))
    for row in details.leaderboard:
        _log_candidate(client, experiment_id, run.info.run_id, row)
    return str(run.info.run_id)


def _log_candidate(client: MlflowClient, experiment: str, parent: str, row: LeaderboardRow) -> None:
    started = round((row.started or time.time()) * 1000)
    tags = {MLFLOW_PARENT_RUN_ID: parent, "kind": row.kind, "chosen": "yes" if row.chosen else "no"}
    run = client.create_run(experiment, start_time=started, run_name=row.name, tags=tags)
    client.log_batch(run.info.run_id, metrics=metrics_of(row, started))
    client.set_terminated(run.info.run_id, end_time=started + round(row.seconds * 1000))


def metrics_of(row: LeaderboardRow, at: int) -> list[Metric]:
    """Return a baseline's or candidate's scores on the folds as MLflow metrics; `at` is in milliseconds."""
    return [Metric(f"folds_{name}", value, at, 0) for name, value in known_numbers(row.metrics).items()]


def known_numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    """Drop missing metrics (NaN), which MLflow's pages cannot show."""
    return {name: value for name, value in metrics.items() if not math.isnan(value)}

"""Functions that run the pipelines and return their outputs, for the commands and the retraining loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from zenml.enums import ExecutionStatus
from zenml.models import PipelineRunResponse

from fivestage.common.database import require_no_secret
from fivestage.common.errors import UserError
from fivestage.data.event_tables import EventTables
from fivestage.deployment.batch_scoring import BatchResult
from fivestage.deployment.releases import Release
from fivestage.deployment.service_client import Deployment
from fivestage.monitoring.retraining import Comparison, RetrainingDecision
from fivestage.monitoring.retraining_loop import TrainingResult
from fivestage.registry.versions import Version
from pipelines.deployment import deployment, kubernetes_deployment, rollback
from pipelines.ingestion import ingestion
from pipelines.scoring import scoring
from pipelines.training import evaluation, re_evaluation, training
from problem import PROBLEM
from steps.deploy import TARGETS
from steps.model import REGISTRY

if TYPE_CHECKING:  # Evidently takes seconds to import, which no other pipeline needs
    from fivestage.monitoring.period import MonitoredPeriod

REMOTE = "The pipeline runs on a remote orchestrator: look for its result there."


@dataclass(frozen=True)
class TrainingRun(TrainingResult):
    """A training with its pipeline run."""

    run: PipelineRunResponse

    def rows_and_events(self) -> tuple[pd.DataFrame, EventTables]:
        """Load the rows and the events of this training."""
        outputs = self.run.steps["ingest"].outputs
        return outputs["rows"][0].load(), outputs["event_tables"][0].load()

    def leaderboard(self) -> list[str]:
        """Format the scores of baselines and candidates on the temporal folds, one line each."""
        return [row.line for row in self.version.selection().leaderboard]


def ingest(as_of: str) -> bool:
    """Clean, validate, featurise and probe the raw tables; return whether they came from the cache."""
    run = ingestion(PROBLEM.digest(), as_of)
    return run is not None and run.steps["ingest"].status == ExecutionStatus.CACHED


def train(as_of: str = "", *, from_scratch: bool = False) -> TrainingRun:
    """Train as of a day and compare with the champion, or, if `from_scratch`, with none.

    The default day is the first of the test window, or the champion's if that is later.

    Raises:
        UserError: If the champion was trained as of a later day.
    """
    champion = None if from_scratch else REGISTRY.champion()
    first = PROBLEM.contract.split.test_start
    default = max(first, champion.day) if champion else first
    return _train(as_of or default.isoformat(), champion, from_scratch=from_scratch)


def retrain(as_of: str, champion: Version) -> TrainingRun:
    """Train on newer data with the champion's candidate and tuned settings, and compare with the champion."""
    return _train(as_of, champion, same_settings_as=champion.version)


def _train(
    as_of: str, champion: Version | None, same_settings_as: str = "", *, from_scratch: bool = False
) -> TrainingRun:
    if champion and champion.is_after(as_of):
        raise UserError(
            f"The champion is of {champion.day}, later than {as_of}: it was trained on the rows "
            "it would be evaluated on. Name a later day with --as-of, or `make clean` to start from scratch."
        )
    run = training(
        PROBLEM.digest(),
        REGISTRY.key(),
        as_of,
        champion.version if champion else "",
        same_settings_as,
        from_scratch,
    )
    return _training_run(run, "train_model")


def re_evaluate(version: str, as_of: str, champion: Version) -> TrainingRun:
    """Compare an already trained challenger with the champion as of a later day."""
    return _training_run(re_evaluation(PROBLEM.digest(), version, as_of, champion.version), "find_version")


def _training_run(run: PipelineRunResponse | None, version_step: str) -> TrainingRun:
    version, verdict, promoted = (
        output(run, step) for step in (version_step, "evaluate_challenger", "promote_challenger")
    )
    assert run is not None  # noqa: S101 (`output` raises otherwise)
    return TrainingRun(version, verdict.gates, promoted, run)


def evaluate(version: Version) -> None:
    """Evaluate a version on all data after its training day, for the report and MLflow."""
    evaluation(PROBLEM.digest(), REGISTRY.key(), version.version, str(version.day))


def deploy(version: Version, folder: str, target: str = "local") -> Deployment:
    """Serve a version on a target, with the service's state in `folder`."""
    return output(deployment(target, version.version, folder), TARGETS[target].name)  # type: ignore[no-any-return]


def release(
    version: Version, overlay: str, image: str, why: str, context: str, bake_seconds: float, accept: str
) -> Release:
    """Release a version to a Kubernetes cluster."""
    run = kubernetes_deployment(version.version, overlay, image, why, context, bake_seconds, accept)
    return output(run, "deploy_kubernetes")  # type: ignore[no-any-return]


def roll_back(overlay: str, why: str, context: str) -> Release:
    """Return a Kubernetes cluster, and the alias `champion`, to the previous release."""
    return output(rollback(overlay, why, context), "roll_back_kubernetes")  # type: ignore[no-any-return]


def score(version: Version, source: str, target: str) -> BatchResult:
    """Score a file or a table.

    Raises:
        UserError: If `source` or `target` contains a password, as both are stored with the run.
    """
    for place in (source, target):
        require_no_secret(place)
    return output(scoring(PROBLEM.digest(), version.version, source, target), "score")  # type: ignore[no-any-return]


def monitor(
    folder: str,
    start: int,
    end: int,
    log_offset: tuple[int, int] = (0, 0),
    past: Sequence[dict[str, Any]] = (),
    trained: Sequence[int] = (),
) -> "tuple[MonitoredPeriod, RetrainingDecision]":
    """Check one period of service, and return the policy's decision with it."""
    from pipelines.monitoring import monitoring

    run = monitoring(PROBLEM.digest(), folder, start, end, log_offset, list(past), list(trained))
    return output(run, "monitor_period"), output(run, "decide_retraining")


def compare_policies() -> Comparison:
    """Backtest several retraining policies over all the data."""
    from pipelines.comparison import comparison

    return output(comparison(PROBLEM.digest()), "compare")  # type: ignore[no-any-return]


def output(run: PipelineRunResponse | None, step: str) -> Any:
    """Load the output of a step.

    Raises:
        UserError: If the run is on a remote orchestrator, or failed in its pods.
    """
    if run is None:
        raise UserError(REMOTE)
    try:
        artifact = run.steps[step].output
    except (KeyError, ValueError) as error:  # only in pods: a local step raises its own error
        advice = "see the log of the pod that failed"
        raise UserError(f"The run {run.name} ended before its step {step} was done: {advice}.") from error
    return artifact.load()

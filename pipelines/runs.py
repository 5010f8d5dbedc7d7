"""Run a pipeline and bring back what came of it: what run.py and the replay call."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
from zenml.enums import ExecutionStatus
from zenml.models import PipelineRunResponse

from fivestage.common.clock import DAY
from fivestage.common.database import require_no_secret
from fivestage.common.errors import UserError
from fivestage.contract.contract import day, day_of, epoch
from fivestage.data.event_tables import EventTables
from fivestage.deployment import local_process as local
from fivestage.deployment.batch_scoring import BatchResult
from fivestage.monitoring.backtest import Comparison
from fivestage.monitoring.period_watch import Watched, first_decision, reaches
from fivestage.monitoring.policy import PeriodSummary, RetrainingDecision
from fivestage.monitoring.state import MonitoringState, PendingTraining, amend, read
from fivestage.registry import versions as registry
from fivestage.registry.versions import Version
from pipelines.comparison import comparison
from pipelines.deployment import deployment, kubernetes_deployment, rollback
from pipelines.ingestion import ingestion
from pipelines.monitoring import monitoring
from pipelines.scoring import scoring
from pipelines.training import evaluation, rematch, training
from problem import PROBLEM
from steps.deploy import TARGETS, Deployment, Released, settings_in
from steps.model import GateVerdict as Contest
from steps.monitor import no_longer_wanted, nothing_watched, period_of

REMOTE = "The pipeline has been handed to a remote orchestrator: look for its outcome there."


@dataclass(frozen=True)
class Trained:
    """A challenger, how its contest went, and the rows and events it was made from."""

    version: Version
    contest: Contest
    promoted: bool
    run: PipelineRunResponse

    def warehouse(self) -> tuple[pd.DataFrame, EventTables]:
        """The rows and the events of this training."""
        outputs = self.run.steps["ingest"].outputs
        return outputs["rows"][0].load(), outputs["world"][0].load()


def ingest(as_of: str) -> bool:
    """Clean, validate, featurise and probe the raw tables for the page; whether the cache had them."""
    run = ingestion(PROBLEM.digest(), as_of)
    return run is not None and run.steps["ingest"].status == ExecutionStatus.CACHED


def score(version: Version, source: str, target: str) -> BatchResult:
    """Score a file or a table; their names are kept with the run.

    Raises:
        UserError: when one holds a password.
    """
    for place in (source, target):
        require_no_secret(place)
    return _output(scoring(PROBLEM.digest(), version.version, source, target), "score")  # type: ignore[no-any-return]


def train(as_of: str, *, afresh: bool = False) -> Trained:
    """Train as of a day, against the champion; `afresh` lives from there on as if there were none.

    Raises:
        UserError: when the champion comes from a later day.
    """
    return _train(as_of, () if afresh else _champions())


def retrain(as_of: str, champion: Version | None = None) -> Trained:
    """Train again what the champion is, with its settings, against it: they were tuned, the days are new."""
    champion = champion or champion_of()
    return _train(as_of, (champion,), champion.version)


def _champions() -> tuple[Version, ...]:
    found = registry.champion(PROBLEM.contract.name)
    return (found,) if found else ()


def _train(as_of: str, champions: Sequence[Version], kept: str = "") -> Trained:
    for champion in champions:
        if champion.as_of > epoch(day(as_of)):
            raise UserError(
                f"The champion is of {day_of(champion.as_of)}, later than {as_of}: it has seen what it would "
                "be judged on. Name a later day with --as-of, or `make clean` to start afresh."
            )
    run = training(
        PROBLEM.digest(),
        registry.registry_key(PROBLEM.contract.name),
        as_of,
        "".join(champion.version for champion in champions),
        kept,
    )
    if run is None:
        raise UserError(REMOTE)
    return Trained(_output(run, "train_model"), _output(run, "contest"), _output(run, "crown"), run)


def evaluate(version: Version) -> None:
    """A version on everything after its own time; the results go to the page and to MLflow."""
    as_of = str(day_of(version.as_of))
    evaluation(PROBLEM.digest(), registry.registry_key(version.name), version.version, as_of)


def deploy(version: Version, folder: str, target: str = "local") -> Deployment:
    """Serve a version from a folder of its own, where the target says."""
    return _output(deployment(target, version.version, folder), TARGETS[target].name)  # type: ignore[no-any-return]


def release(
    version: Version, overlay: str, image: str, why: str, context: str, bake_seconds: float
) -> Released:
    """Release a version to a Kubernetes cluster."""
    run = kubernetes_deployment(version.version, overlay, image, why, context, bake_seconds)
    return _output(run, "deploy_kubernetes")  # type: ignore[no-any-return]


def roll_back(overlay: str, why: str, context: str) -> Released:
    """Return a Kubernetes cluster, and the alias `champion`, to the release before."""
    return _output(rollback(overlay, why, context), "roll_back_kubernetes")  # type: ignore[no-any-return]


def monitor(
    folder: str,
    start: int,
    end: int,
    heard: tuple[int, int] = (0, 0),
    past: Sequence[PeriodSummary] = (),
    trained: Sequence[int] = (),
) -> tuple[Watched, RetrainingDecision]:
    """One period of service and what follows from it."""
    run = monitoring(
        PROBLEM.digest(), folder, start, end, heard, [asdict(period) for period in past], list(trained)
    )
    return _output(run, "watch_period"), _output(run, "decide_retraining")


def monitor_next(folder: str) -> tuple[Watched, RetrainingDecision] | None:
    """The next period of a service that is over, remembering those before it; None while there is none.

    The first one is that of the first decision, in periods that are counted from the champion's day on.

    Raises:
        UserError: when the log holds nothing of it, nor of later ones.
    """
    length, diary = PROBLEM.contract.monitoring.period_days * DAY, _diary(folder)
    start = diary.until if diary.periods else diary.until + _idle(folder, diary.until) // length * length
    end = start + length
    if time.time() < end:
        return None
    watched, verdict = monitor(folder, start, end, diary.heard, diary.periods, diary.trained)
    heard = watched.last_number, watched.last_shadow

    def append(now: MonitoringState) -> MonitoringState:
        done = not (verdict.retrain or verdict.promote)
        seen = (*diary.periods, period_of(watched))
        return replace(now, periods=seen, until=end, heard=heard, verdict=verdict, done=done)

    amend(folder, _first_day, append)
    return watched, verdict


def nothing_to_watch(folder: str) -> str:
    """Why nothing of a service can be watched yet, as on a new cluster; empty where something may be.

    Of a registry that stays empty Prometheus is told nothing, and its alert of late monitoring comes.
    """
    database, contract = settings_in(folder).database_url, PROBLEM.contract
    if reaches(database, contract, 0, 0):
        if registry.champion(contract.name) is None:
            return "The registry has no champion yet to hold the answers against: `make train` makes one."
        diary = _diary(folder)
        if diary.periods or reaches(database, contract, diary.until, 0):
            return ""
    nothing_watched()
    return "Nobody has asked the service yet: its log holds no decision to watch."


def _idle(folder: str, since: int) -> int:
    """Seconds from a moment to the next decision in the log."""
    first = first_decision(settings_in(folder).database_url, PROBLEM.contract, since)
    return 0 if first is None else first - since


def compare() -> Comparison:
    """The year under several policies of retraining."""
    return _output(comparison(PROBLEM.digest()), "compare")  # type: ignore[no-any-return]


def act(folder: str) -> Trained | None:
    """Do what the latest verdict on a service asks for, once: train again, or promote what is proven."""
    diary = read(folder, lambda: 0)  # without one nothing is asked for, be there a champion or not
    return None if diary.done or diary.verdict is None else _follow_once(folder, diary.verdict, diary.until)


def retrain_now(folder: str, as_of: str) -> Trained:
    """Train again whatever the verdict on a service is; by default as of the latest day that is known of."""
    newest = max(epoch(PROBLEM.contract.split.test_end), _diary(folder).until, champion_of().as_of)
    asked = RetrainingDecision(retrain=True, reason="somebody asks for it")
    return _follow_once(folder, asked, epoch(day(as_of)) if as_of else newest)


def _follow_once(folder: str, verdict: RetrainingDecision, at: int) -> Trained:
    """Follow a verdict and remember it; a run that was cut short is repeated as it was, and ends the same.

    A challenger that does not take over answers in shadow from then on.
    """

    def begin(now: MonitoringState) -> MonitoringState:
        same = now.begun is not None and now.begun.at == at
        return now if same else replace(now, begun=PendingTraining(at, champion_of().version))

    def end(now: MonitoringState) -> MonitoringState:
        trained = sorted({*now.trained, at}) if verdict.retrain else now.trained
        return replace(now, done=now.done or now.until <= at, trained=tuple(trained), begun=None)

    begun = amend(folder, _first_day, begin).begun
    against = registry.find(PROBLEM.contract.name, begun.champion) if begun else None
    trained = follow(verdict, at, against)
    if not trained.promoted:
        shadow(folder, trained.version)
    amend(folder, _first_day, end)
    no_longer_wanted()
    return trained


def follow(verdict: RetrainingDecision, at: int, champion: Version | None = None) -> Trained:
    """What a verdict asks for, as of a moment; by default against the champion of now."""
    champion = champion or champion_of()
    if verdict.promote:
        return promote(verdict.promote, str(day_of(at)), champion)
    return retrain(str(day_of(at)), champion)


def promote(version: str, as_of: str, champion: Version) -> Trained:
    """A challenger that is trained already meets the champion again, as of a later day."""
    run = rematch(PROBLEM.digest(), version, as_of, champion.version)
    if run is None:
        raise UserError(REMOTE)
    return Trained(_output(run, "find_version"), _output(run, "contest"), _output(run, "crown"), run)


def shadow(folder: str, version: Version) -> None:
    """Let a challenger answer what a local service is asked, beside the champion."""
    local.shadow(settings_in(folder), version.version, registry.fetch(version.name, version.version))


def another_is_over(folder: str) -> bool:
    """Whether the log goes on after what has been watched."""
    diary = _diary(folder)
    return reaches(settings_in(folder).database_url, PROBLEM.contract, diary.until, diary.heard[0])


def _diary(folder: str) -> MonitoringState:
    return read(folder, _first_day)


def _first_day() -> int:
    return champion_of().as_of


def champion_of() -> Version:
    """The champion.

    Raises:
        UserError: when there is none.
    """
    return registry.crowned(PROBLEM.contract.name)


def _output(run: PipelineRunResponse | None, step: str) -> Any:
    if run is None:
        raise UserError(REMOTE)
    try:
        made = run.steps[step].output
    except (KeyError, ValueError) as error:  # in pods: here, what a step fails of is raised
        told = "the log of the pod that failed says why"
        raise UserError(f"The run {run.name} ended before its step {step} was done: {told}.") from error
    return made.load()

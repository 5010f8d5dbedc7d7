"""Run a pipeline and bring back what came of it: what run.py and the replay call."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter
from zenml.models import PipelineRunResponse

from core.clock import DAY
from core.contract import day, day_of, epoch, load_contract
from core.database import require_no_secret
from core.errors import UserError
from core.files import write_whole
from monitoring.policy import Period, Verdict
from pipelines.comparison import comparison
from pipelines.deployment import deployment, kubernetes_deployment, rollback
from pipelines.ingestion import ingestion
from pipelines.monitoring import monitoring
from pipelines.scoring import scoring
from pipelines.training import evaluation, rematch, training
from steps.data.world import World
from steps.deploy import local
from steps.deploy.adapters import TARGETS, Deployment, Released, settings_in
from steps.deploy.scoring import Scored
from steps.lineage import data_digest
from steps.model import registry
from steps.model.adapters import Verdict as Contest
from steps.model.fit import Trees
from steps.model.registry import Version, load_record
from steps.model.select import Selection
from steps.monitor.adapters import period_of
from steps.monitor.watch import Watched, reaches
from steps.monitor.year import Comparison

DIARY = "periods.json"
REMOTE = "The pipeline has been handed to a remote orchestrator: look for its outcome there."


@dataclass(frozen=True)
class Trained:
    """A challenger, how its contest went, and the rows and events it was made from."""

    version: Version
    contest: Contest
    promoted: bool
    run: PipelineRunResponse

    def warehouse(self) -> tuple[pd.DataFrame, World]:
        """The rows and the events of this training."""
        outputs = self.run.steps["ingest"].outputs
        return outputs["rows"][0].load(), outputs["world"][0].load()


@dataclass(frozen=True)
class Diary:
    """The periods watched so far, and how far they reach: in time, and in the prediction log."""

    periods: tuple[Period, ...]
    until: int
    heard: tuple[int, int]  # answers, and challengers' answers
    verdict: Verdict | None = None
    done: bool = True  # what the verdict asks for


def ingest(as_of: str) -> None:
    """Clean, validate, featurise and probe the raw tables; the results go to the page."""
    ingestion(data_digest(), as_of)


def score(version: Version, source: str, target: str) -> Scored:
    """Score a file or a table; their names are kept with the run.

    Raises:
        UserError: when one holds a password.
    """
    for place in (source, target):
        require_no_secret(place)
    return _output(scoring(data_digest(), version.version, source, target), "score")  # type: ignore[no-any-return]


def train(as_of: str, tried: Sequence[Trees] = (), *, afresh: bool = False) -> Trained:
    """Train as of a day, against the champion; `afresh` lives from there on as if there were none.

    Raises:
        UserError: when the champion comes from a later day.
    """
    contract = load_contract()
    champion = None if afresh else registry.champion(contract.name)
    if champion and champion.as_of > epoch(day(as_of)):
        raise UserError(
            f"The champion is of {day_of(champion.as_of)}, later than {as_of}: it has seen what it would "
            "be judged on. Name a later day with --as-of, or `make clean` to start afresh."
        )
    run = training(
        data_digest(),
        registry.registry_key(contract.name),
        as_of,
        champion.version if champion else "",
        [asdict(trees) for trees in tried],
    )
    if run is None:
        raise UserError(REMOTE)
    return Trained(_output(run, "build"), _output(run, "contest"), _output(run, "crown"), run)


def retrain(as_of: str) -> Trained:
    """Train again with the champion's trees: they were tuned, the days are new."""
    return train(as_of, [load_record(champion_of(), Selection).trees])


def evaluate(version: Version) -> None:
    """A version on everything after its own time; the results go to the page and to MLflow."""
    as_of = str(day_of(version.as_of))
    evaluation(data_digest(), registry.registry_key(version.name), version.version, as_of)


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
    past: Sequence[Period] = (),
    trained: Sequence[int] = (),
) -> tuple[Watched, Verdict]:
    """One period of service and what follows from it."""
    run = monitoring(
        data_digest(), folder, start, end, heard, [asdict(period) for period in past], list(trained)
    )
    return _output(run, "watch_period"), _output(run, "decide_retraining")


def monitor_next(folder: str) -> tuple[Watched, Verdict]:
    """The next period of a service, remembering those before it; the first one starts with the champion.

    Raises:
        UserError: when the log holds nothing of it.
    """
    contract, champion, diary = load_contract(), champion_of(), _diary(folder)
    end = diary.until + contract.monitoring.period_days * DAY
    watched, verdict = monitor(folder, diary.until, end, diary.heard, diary.periods, [champion.as_of])
    heard = watched.last_number, watched.last_shadow
    done = not (verdict.retrain or verdict.promote)
    _write(Diary((*diary.periods, period_of(watched)), end, heard, verdict, done), folder)
    return watched, verdict


def compare() -> Comparison:
    """The year under several policies of retraining."""
    return _output(comparison(data_digest()), "compare")  # type: ignore[no-any-return]


def act(folder: str) -> Trained | None:
    """Do what the latest verdict on a service asks for, once: train again, or promote what is proven.

    A challenger that does not take over answers in shadow from then on.
    """
    diary = _diary(folder)
    if diary.done or diary.verdict is None:
        return None
    trained = follow(diary.verdict, diary.until)
    if not trained.promoted:
        shadow(folder, trained.version)
    _write(replace(diary, done=True), folder)
    return trained


def follow(verdict: Verdict, at: int) -> Trained:
    """What a verdict asks for, as of a moment."""
    return promote(verdict.promote, str(day_of(at))) if verdict.promote else retrain(str(day_of(at)))


def promote(version: str, as_of: str) -> Trained:
    """A challenger that is trained already meets the champion again, as of a later day."""
    run = rematch(data_digest(), version, as_of, champion_of().version)
    if run is None:
        raise UserError(REMOTE)
    return Trained(_output(run, "find_version"), _output(run, "contest"), _output(run, "crown"), run)


def shadow(folder: str, version: Version) -> None:
    """Let a challenger answer what a local service is asked, beside the champion."""
    local.shadow(settings_in(folder), version.version, registry.fetch(version.name, version.version))


def another_is_over(folder: str) -> bool:
    """Whether a further period has gone by that nobody has watched yet."""
    contract, diary = load_contract(), _diary(folder)
    end = diary.until + contract.monitoring.period_days * DAY
    return reaches(settings_in(folder).database_url, contract, end, diary.heard[0])


def _diary(folder: str) -> Diary:
    path = Path(folder) / DIARY
    if path.exists():
        return TypeAdapter(Diary).validate_json(path.read_bytes())
    return Diary((), champion_of().as_of, (0, 0))


def _write(diary: Diary, folder: str) -> None:
    content = TypeAdapter(Diary).dump_json(diary, indent=1)
    write_whole(Path(folder) / DIARY, lambda scratch: scratch.write_bytes(content))


def champion_of() -> Version:
    """The champion.

    Raises:
        UserError: when there is none.
    """
    return registry.crowned(load_contract().name)


def _output(run: PipelineRunResponse | None, step: str) -> Any:
    if run is None:
        raise UserError(REMOTE)
    return run.steps[step].output.load()

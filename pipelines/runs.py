"""Run a pipeline and bring back what came of it: what run.py and the replay call."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from zenml.models import PipelineRunResponse

from core.contract import day, epoch, load_contract
from core.errors import UserError
from monitoring.policy import Period, Verdict
from pipelines.deployment import deployment
from pipelines.ingestion import ingestion
from pipelines.monitoring import monitoring
from pipelines.scoring import scoring
from pipelines.training import evaluation, training
from steps.data.world import World
from steps.deploy.adapters import Deployment
from steps.deploy.scoring import Scored
from steps.lineage import data_digest
from steps.model import registry
from steps.model.adapters import Verdict as Contest
from steps.model.fit import Trees
from steps.model.registry import Version, load_record
from steps.model.select import Selection
from steps.monitor.watch import Watched


@dataclass(frozen=True)
class Trained:
    """A challenger and how its contest went."""

    version: Version
    contest: Contest
    promoted: bool


def ingest(as_of: str) -> None:
    """Clean, validate, featurise and probe the raw tables; the results go to the page."""
    ingestion(data_digest(), as_of)


def score(version: Version, source: str, target: str) -> Scored:
    """Score a file or a table."""
    return _output(scoring(data_digest(), version.version, source, target), "score")  # type: ignore[no-any-return]


def train(as_of: str, tried: Sequence[Trees] = ()) -> Trained:
    """Train as of a day; the opponent is the champion, unless it comes from a later day."""
    contract = load_contract()
    champion = registry.champion(contract.name, before=epoch(day(as_of)))
    run = training(
        data_digest(), as_of, champion.version if champion else "", [asdict(trees) for trees in tried]
    )
    return Trained(_output(run, "build"), _output(run, "contest"), _output(run, "crown"))


def retrain(as_of: str) -> Trained:
    """Train again with the champion's trees: their settings were tuned, the days are new."""
    return train(as_of, [load_record(champion_of(), Selection).trees])


def evaluate(version: Version) -> None:
    """A version on everything after its own time; the results go to the page and to MLflow."""
    evaluation(data_digest(), version.version)


def deploy(version: Version, folder: str) -> Deployment:
    """Serve a version from a folder of its own."""
    return _output(deployment(version.version, folder), "deploy_local")  # type: ignore[no-any-return]


def monitor(
    folder: str,
    start: int,
    end: int,
    heard: int = 0,
    past: Sequence[Period] = (),
    trained: Sequence[int] = (),
) -> tuple[Watched, Verdict]:
    """One period of service and what follows from it."""
    run = monitoring(
        data_digest(), folder, start, end, heard, [asdict(period) for period in past], list(trained)
    )
    return _output(run, "watch_period"), _output(run, "decide_retraining")


def warehouse() -> tuple[pd.DataFrame, World]:
    """The rows and the events, as ingested last.

    Raises:
        UserError: when nothing has been ingested.
    """
    from zenml.client import Client

    try:
        outputs = Client().get_pipeline("training").last_successful_run.steps["ingest"].outputs
    except (KeyError, RuntimeError) as error:
        raise UserError("Nothing has been ingested yet: run `make train` first.") from error
    return outputs["rows"][0].load(), outputs["world"][0].load()


def champion_of() -> Version:
    """The champion.

    Raises:
        UserError: when there is none.
    """
    name = load_contract().name
    found = registry.champion(name)
    if found is None:
        raise UserError(f"{name} has no champion yet: run `make train`, and see which gate stops it.")
    return found


def _output(run: PipelineRunResponse | None, step: str) -> Any:
    if run is None:
        raise UserError("The pipeline has been handed to a remote orchestrator: look for its outcome there.")
    return run.steps[step].output.load()

"""ZenML steps of stage 5."""

import time
from pathlib import Path
from typing import Annotated, Any

import mlflow
import pandas as pd
from zenml import step

from core.contract import day_of, iso, load_contract
from core.settings import REPORTS, VAR
from monitoring.exposition import expose
from monitoring.policy import Period, Verdict, decide
from steps.deploy.adapters import settings_in
from steps.materializers import RecordMaterializer
from steps.model.registry import known_numbers, open_version
from steps.monitor.watch import Watched, read_served, watch

PAGES = REPORTS / "drift"
METRICS = VAR / "metrics" / "monitoring.prom"


@step(enable_cache=False, output_materializers=RecordMaterializer)
def watch_period(
    rows: pd.DataFrame, features: pd.DataFrame, folder: str, start: int, end: int, heard: int
) -> Annotated[Watched, "watched"]:
    """A period as the prediction log tells it: performance on the labels that have arrived, and drift."""
    contract = load_contract()
    served = read_served(settings_in(folder).database_url, contract, start, end, heard)
    versions = served.log["model_version"].unique().tolist() if len(served.log) else []
    artifacts = {version: open_version(contract.name, version)[1] for version in versions}
    page = page_of(start)
    watched = watch(rows, features, served, artifacts, contract, page)
    _log(watched, page, contract.name)
    return watched


@step(enable_cache=False)
def decide_retraining(
    watched: Watched, past: list[dict[str, Any]], trained: list[int]
) -> Annotated[Verdict, "retraining"]:
    """N of the last M periods bad, or too old a model: then train again, if pause and budget allow."""
    contract = load_contract()
    periods = [*(Period(**_tuples(one)) for one in past), period_of(watched)]
    verdict = decide(periods, trained, watched.end, contract.monitoring, contract.budget)
    expose(metrics_of(watched, verdict), METRICS, f"{contract.name}-monitoring")
    return verdict


def metrics_of(watched: Watched, verdict: Verdict) -> dict[str, float]:
    """A period as Prometheus is told of it; see `monitoring.exposition`."""
    performance = watched.performance
    scored = performance.scored
    return {
        "ran_at_seconds": time.time(),
        "period_end_seconds": watched.end,
        "rows": performance.rows,
        "label_share": performance.label_share,
        "bad": performance.bad,
        "drifted": len(watched.drift.drifted),
        "broken": len(watched.drift.broken),
        "retrain": verdict.retrain,
        "estimated_cost_per_1000": performance.expected.scores["cost_per_1000"],
        **({name: scored.scores[name] for name in ("bias", "cost_per_1000")} if scored else {}),
    }


def period_of(watched: Watched) -> Period:
    """What the policy remembers of a period."""
    performance = watched.performance
    return Period(performance.label_share, performance.bad, watched.drift.broken)


def page_of(start: int) -> Path:
    """Where Evidently's page of a period lies."""
    return PAGES / f"{day_of(start)}.html"


def _tuples(period: dict[str, Any]) -> dict[str, Any]:
    return period | {"broken": tuple(period["broken"])}


def _log(watched: Watched, page: Path, name: str) -> None:
    mlflow.set_experiment(f"{name}-monitoring")
    scored = watched.performance.scored
    with mlflow.start_run(run_name=f"period from {day_of(watched.start)}"):
        mlflow.log_params(
            {"start": iso(watched.start), "end": iso(watched.end), "versions": watched.versions}
        )
        if scored:
            mlflow.log_metrics(known_numbers(scored.scores))
        mlflow.log_metric("drifted_columns", len(watched.drift.drifted))
        mlflow.log_artifact(str(page))

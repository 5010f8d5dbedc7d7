"""ZenML steps of stage 5."""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from zenml import step

from fivestage.common import settings
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, day_of
from fivestage.monitoring.backtest import backtest
from fivestage.monitoring.exposition import expose
from fivestage.monitoring.notify import Alert, notify
from fivestage.monitoring.period import MonitoredPeriod, check_period
from fivestage.monitoring.retraining import Comparison, RetrainingDecision, RetrainingHistory
from fivestage.monitoring.served import periods_to_check
from fivestage.serving.service_settings import Settings
from monitoring.checks import checks
from monitoring.policy import decide
from problem import PROBLEM
from steps.model import REGISTRY

logger = logging.getLogger(__name__)
METRICS, JOB = settings.VAR / "metrics" / "monitoring.prom", f"{PROBLEM.contract.name}-monitoring"
NOTIFIED = "told.json"  # alerts already sent; the file is next to the service's log


@step(enable_cache=False)
def monitor_period(
    rows: pd.DataFrame,
    features: pd.DataFrame,
    folder: str,
    start: int,
    end: int,
    log_offsets: tuple[int, int],
    past: list[dict[str, Any]],
) -> Annotated[MonitoredPeriod, "monitored"]:
    """Run the checks on a period of service, and on earlier ones whose labels have arrived since."""
    contract, database, checked = PROBLEM.contract, Settings.of_folder(folder).database_url, []
    for served in periods_to_check(database, rows, (start, end), log_offsets, past, contract):
        try:
            versions = {one: REGISTRY.artifact_of(one) for one in served.versions}
            monitored, snapshot = check_period(rows, features, served, versions, contract, checks)
        except UserError as error:  # an artifact or the table's first days may be gone
            if not served.as_of:
                raise
            logger.warning("The period from %s cannot be judged: %s", day_of(served.span.start), error)
            continue
        if snapshot is None and served.as_of:  # it stays as it was
            reason = monitored.performance.sentence
            logger.warning("The period from %s cannot be judged: %s.", day_of(served.span.start), reason)
            continue
        if snapshot is not None:
            monitored.save(snapshot, _project_of(folder))
        _log(monitored, folder)
        checked.append(monitored)
    *earlier, monitored = checked
    return replace(monitored, matured=tuple(earlier))


@step(enable_cache=False)
def decide_retraining(
    monitored: MonitoredPeriod, past: list[dict[str, Any]], trained: list[int]
) -> Annotated[RetrainingDecision, "retraining"]:
    """Decide whether to train again or to promote a challenger; see `decide` for the policy."""
    contract = PROBLEM.contract
    periods = monitored.history(past)
    verdict = decide(RetrainingHistory(periods, trained, monitored.span.end, contract))
    if trained:  # else a past day was named by hand, and the gauges are of the present
        # Without enough labels, the gauges of labels stay those of the last judged period.
        expose(metrics_of(monitored, verdict), METRICS, JOB, update=True)
    return verdict


@step(enable_cache=False)
def compare(rows: pd.DataFrame, features: pd.DataFrame, data: str) -> Annotated[Comparison, "comparison"]:
    """Backtest each policy over all the data; trained models are cached by the hashes of data and code."""
    return backtest(PROBLEM, rows, features, data, decide, lambda line: print(f"  {line}", flush=True))  # noqa: T201 (progress for the user)


@step(enable_cache=False)
def notify_teams(monitored: MonitoredPeriod, verdict: RetrainingDecision, folder: str) -> None:
    """Notify the responsible teams of alerts that start or end."""
    alerts = alerts_of(monitored, verdict, PROBLEM.contract)
    for failure in notify(alerts, time.time(), Path(folder) / NOTIFIED):
        logger.warning(failure)


def alerts_of(monitored: MonitoredPeriod, verdict: RetrainingDecision, contract: Contract) -> list[Alert]:
    """Return the alerts for the teams; an input shift without broken data appears only on the page."""
    alerts: list[Alert] = []
    for one in (*monitored.matured, monitored):
        performance = one.performance
        period = f"{contract.title} From {one.days}"
        late = "" if one is monitored else f", {one.days}"  # alerts with the same title are the same alert
        for cause in one.causes if one is monitored else one.causes_by_labels:
            if cause.kind != "input shift":
                team = "data" if cause.kind == "data broken" else "model"
                body = f"{period}: {cause.sentence}. {one.page}"
                alerts.append(Alert(f"{cause.kind}: {cause.subject}{late}", team, body))
        if one.labels_late:
            alerts.append(Alert("labels late", "data", f"{period}: {performance.sentence}."))
        if performance.bad:
            alerts.append(Alert(f"bad period{late}", "model", f"{period}: {performance.sentence}."))
    if verdict.acts:
        action = f"promotion of version {verdict.promote}" if verdict.promote else "retraining"
        alerts.append(Alert(f"{action} wanted", "model", f"{period}: {verdict.reason}."))
    return alerts


def reset_retrain_gauge() -> None:
    """Reset the gauge `retrain` once the policy's decision has been followed, before the next period."""
    if METRICS.exists():
        expose({"retrain": 0.0}, METRICS, JOB, update=True)


def export_no_requests() -> None:
    """Export that monitoring ran, although the service has had no request yet."""
    days = PROBLEM.contract.monitoring.period_days
    expose({"ran_at_seconds": time.time(), "period_days": days, "rows": 0.0}, METRICS, JOB)


def metrics_of(monitored: MonitoredPeriod, verdict: RetrainingDecision) -> dict[str, float]:
    """Return a period's values for Prometheus by gauge; see `fivestage.monitoring.exposition`.

    Those of labels are of the newest period that could be judged now; without one they are left out. The
    share of labels is that of the period whose labels are late, else of the latest.
    """
    performance, rules = monitored.performance, PROBLEM.contract.monitoring
    newest_first = [one.performance for one in (monitored, *reversed(monitored.matured))]
    judged = next((one for one in newest_first if one.conclusive), None)
    scored = {**(judged.scored or {})} if judged else {}
    awaited = next((one for one in (monitored, *monitored.matured) if one.labels_late), monitored)
    return {
        "ran_at_seconds": time.time(),
        "period_end_seconds": monitored.span.end,
        "period_days": rules.period_days,
        "rows": performance.rows,
        **({"label_share": awaited.performance.label_share} if awaited.performance.rows else {}),
        "min_label_share": awaited.labels_due,
        **({"bad": judged.bad} if judged else {}),
        "max_bias": rules.max_bias,
        "drifted": len(monitored.drifted),
        "broken": len(monitored.broken),
        "retrain": verdict.acts,
        "estimated_cost_per_1000": performance.expected["cost_per_1000"].value,
        **{name: scored[name].value for name in ("bias", "cost_per_1000") if name in scored},
    }


def _project_of(folder: str) -> str:
    """Return the service's project name in Evidently's workspace; the demo has a separate project."""
    return f"{PROBLEM.contract.name}{', demo' if Settings.of_folder(folder).is_demo else ''}"


def _log(monitored: MonitoredPeriod, folder: str) -> None:
    performance = monitored.performance
    estimated = {f"estimated_{name}": one.value for name, one in performance.expected.items()}
    observed = {name: one.value for name, one in (performance.scored or {}).items()}
    counts = {"drifted_columns": len(monitored.drifted), "broken": len(monitored.broken)}
    causes = "".join(f"{one.kind}: {one.sentence}\n" for one in monitored.causes)
    REGISTRY.log_period(
        f"{folder} {monitored.span.start}",
        monitored.span.start,
        monitored.span.end,
        versions=monitored.versions,
        metrics={**estimated, **observed, **counts},
        files=[("causes.txt", causes), *([monitored.page] if performance.rows else [])],
    )

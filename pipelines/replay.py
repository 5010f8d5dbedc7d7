"""Live through the months after training: ask, hear what happened, watch, train again when called for."""

from collections.abc import Callable

import numpy as np

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.common.settings import REPORTS, RESULTS
from fivestage.contract.contract import day_of, epoch
from fivestage.deployment.replay_client import Asked, Fed, asking, feed, one_by_one
from fivestage.deployment.service_client import url
from fivestage.monitoring import causes
from fivestage.monitoring.period_watch import Watched
from fivestage.monitoring.policy import RetrainingDecision
from fivestage.reporting.results import (
    CauseRow,
    DriftRow,
    MonitoringSection,
    ParityRow,
    PeriodRow,
    Retraining,
    ServingSection,
    Slice,
    VersionChange,
    estimates,
    save,
)
from pipelines.runs import Trained, deploy, follow, monitor, shadow
from problem import PROBLEM
from steps.deploy import settings_in
from steps.monitor import page_of, period_of

TIMED_ROWS = 500


def replay(first: Trained, folder: str, tell: Callable[[str], None]) -> MonitoringSection:
    """From the version's own time to the end of the test window, a period at a time.

    The service in `folder` must be running. What retrainings promote takes over while it answers.

    Raises:
        UserError: when a request failed: what was not asked or told cannot be watched.
    """
    contract, version = PROBLEM.contract, first.version
    rows, world = first.warehouse()
    settings = settings_in(folder)
    length = contract.monitoring.period_days * DAY
    watched: list[Watched] = []
    fed: list[Fed] = []
    switches: list[Asked] = []
    verdicts: list[RetrainingDecision] = []
    retrainings: list[Retraining] = []
    trained_at = [version.as_of]
    versions = [VersionChange(day_of(version.as_of), version.version)]
    for start in range(version.as_of, epoch(contract.split.test_end) - length + 1, length):
        end = start + length
        fed.append(feed(settings, rows, world.events, contract, start, end))
        if fed[-1].failed:
            raise UserError(f"{fed[-1].failed} requests failed: {settings.folder}/service.log says why.")
        if not fed[-1].rows:
            tell(f"{day_of(start)} to {day_of(end)}: there was nothing to decide")
            continue
        seen, verdict = monitor(
            folder,
            start,
            end,
            (watched[-1].last_number, watched[-1].last_shadow) if watched else (0, 0),
            [period_of(one) for one in watched],
            trained_at,
        )
        watched.append(seen)
        verdicts.append(verdict)
        tell(_line(seen, fed[-1]))
        if verdict.retrain or verdict.promote:
            trained = follow(verdict, end)
            trained_at += [end] if verdict.retrain else []
            retrainings.append(_retraining(end, verdict.reason, trained))
            if trained.promoted:
                last = rows[(rows["decision_at"] >= end - DAY) & (rows["decision_at"] < end)]
                with asking(settings, last, contract) as asked:  # a live service is never idle
                    deploy(trained.version, folder)
                switches.append(asked)
                versions.append(VersionChange(day_of(end), trained.version.version))
            else:
                shadow(folder, trained.version)
            did = "retrained" if verdict.retrain else "proven"
            tell(f"{did}: {verdict.reason}; version {trained.version.version} {_outcome(trained)}")
    told = MonitoringSection(
        periods=tuple(_period(one, verdict) for one, verdict in zip(watched, verdicts, strict=True)),
        retrainings=tuple(retrainings),
        versions=tuple(versions),
    )
    save(told, RESULTS)
    milliseconds = one_by_one(settings, rows.tail(TIMED_ROWS), contract)
    save(_serving(watched, fed, switches, versions[-1].version, url(settings), milliseconds), RESULTS)
    return told


def _serving(
    watched: list[Watched],
    fed: list[Fed],
    switches: list[Asked],
    version: str,
    address: str,
    milliseconds: list[float],
) -> ServingSection:
    asks: list[Fed | Asked] = [*fed, *switches]
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return ServingSection(
        version=version,
        url=address,
        parity=ParityRow(
            sum(one.compared for one in watched), max(one.largest_difference for one in watched)
        ),
        requests=sum(one.requests for one in asks),
        failed=sum(one.failed for one in asks),
        at_switch=sum(one.requests for one in switches),
        rows=sum(one.rows for one in fed),
        p50_ms=float(p50),
        p99_ms=float(p99),
        how_to_open="make serve",
    )


def _period(watched: Watched, verdict: RetrainingDecision) -> PeriodRow:
    performance = watched.performance
    scored = performance.scored
    return PeriodRow(
        start=day_of(watched.start),
        end=day_of(watched.end),
        version=", ".join(watched.versions),
        rows=performance.rows,
        label_share=performance.label_share,
        metrics=estimates(scored.scores, scored.intervals) if scored else {},
        drift=tuple(
            DriftRow(column.column, column.worst.beyond, 1.0, column.sentence)
            for column in watched.drift.columns
        ),
        bad=performance.bad,
        verdict=f"{performance.sentence}. {_advice(verdict)}: {verdict.reason}",
        estimated_cost=performance.expected.scores["cost_per_1000"],
        drift_report=str(page_of(watched.start).relative_to(REPORTS)),
        causes=tuple(_cause(cause) for cause in watched.causes),
        estimated=estimates(performance.expected.scores, performance.expected.intervals),
        slices=tuple(
            Slice(column, value, int(one.scores["rows"]), estimates(one.scores, one.intervals))
            for column, values in watched.slices.items()
            for value, one in values.items()
        ),
    )


def _cause(cause: causes.Cause) -> CauseRow:
    trail = cause.trail
    if trail is None:
        return CauseRow(cause.kind, cause.subject, cause.sentence)
    days = {name: getattr(trail, name) for name in ("usual", "now", "low", "high")}
    return CauseRow(cause.kind, cause.subject, cause.sentence, trail.what, day_of(trail.first * DAY), **days)


def _advice(verdict: RetrainingDecision) -> str:
    if verdict.promote:
        return f"Promote version {verdict.promote}"
    return "Retrain" if verdict.retrain else "Keep"


def _retraining(at: int, reason: str, trained: Trained) -> Retraining:
    return Retraining(day_of(at), reason, trained.version.version, trained.promoted, trained.contest.gates)


def _outcome(trained: Trained) -> str:
    if trained.promoted:
        return "is the new champion"
    failed = [gate.sentence for gate in trained.contest.gates if not gate.passed]
    return f"stays challenger, in shadow: {'; '.join(failed)}" if failed else "waits for approval"


def _line(watched: Watched, fed: Fed) -> str:
    performance = watched.performance
    state = "bad" if performance.bad else "good"
    return (
        f"{day_of(watched.start)} to {day_of(watched.end)}: {fed.rows:,} rows in {fed.requests} requests, "
        f"{fed.failed} failed; {state}, {performance.sentence}; {len(watched.drift.drifted)} drifted"
    )

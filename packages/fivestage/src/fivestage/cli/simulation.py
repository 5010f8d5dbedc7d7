"""Simulate the months after training period by period: requests, outcomes, monitoring, retraining."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import typer

from fivestage.cli.simulated_client import (
    Exchange,
    background_requests,
    report_outcomes,
    request_decisions,
    time_rows,
)
from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.common.settings import RESULTS
from fivestage.contract.contract import Contract, day_of
from fivestage.data.event_tables import EventTables
from fivestage.deployment.service_client import Deployment, url
from fivestage.monitoring.retraining import RetrainingDecision
from fivestage.monitoring.retraining_loop import RetrainingLoop, TrainingResult
from fivestage.registry.versions import Version
from fivestage.reporting.number_format import plural
from fivestage.reporting.periods import period_row
from fivestage.reporting.results import (
    MonitoringSection,
    ParityRow,
    PeriodRow,
    Retraining,
    ServingSection,
    VersionChange,
    save,
)
from fivestage.reporting.sentences import by_late_labels
from fivestage.serving.service_settings import Settings

if TYPE_CHECKING:  # Evidently takes seconds to import
    from fivestage.monitoring.period import MonitoredPeriod

TIMED_ROWS = 500


@dataclass
class Simulation:
    """A simulation of the test window against a running service, with monitoring and retraining."""

    contract: Contract
    settings: Settings  # of the running service
    loop: RetrainingLoop
    deploy: Callable[[Version], Deployment]  # replaces the served version while the service runs
    monitored: "list[tuple[MonitoredPeriod, RetrainingDecision]]" = field(default_factory=list)
    sent: list[Exchange] = field(default_factory=list)
    sent_at_switch: list[Exchange] = field(default_factory=list)
    retrainings: list[Retraining] = field(default_factory=list)
    versions: list[VersionChange] = field(default_factory=list)

    def run(self, first: Version, rows: pd.DataFrame, events: EventTables) -> None:
        """Simulate from a version's training day to the end of the test window, and save the results."""
        self.versions.append(VersionChange(day_of(first.as_of), first.version))
        length = self.contract.monitoring.period_days * DAY
        starts = range(first.as_of, self.contract.split.test_end_at - length + 1, length)

        def outcomes(start: int) -> Exchange:
            return report_outcomes(self.settings, events.events, self.contract, start, start + length)

        with ThreadPoolExecutor(1) as ahead:
            reported = ahead.submit(outcomes, first.as_of)
            import fivestage.monitoring.period  # noqa: F401 - takes seconds, as do the outcomes

            for number, start in enumerate(starts, 1):
                self._require_answers(reported.result())
                exchange = request_decisions(self.settings, rows, self.contract, start, start + length)
                self._require_answers(exchange)
                if start != starts[-1]:
                    reported = ahead.submit(outcomes, start + length)  # while this period is monitored
                self._period(exchange, rows, start, start + length, f"{number} of {len(starts)}")
        save(MonitoringSection(self.periods, tuple(self.retrainings), tuple(self.versions)), RESULTS)
        save(self._serving(time_rows(self.settings, rows.tail(TIMED_ROWS), self.contract)), RESULTS)

    @property
    def periods(self) -> tuple[PeriodRow, ...]:
        """The periods as last checked, each with the verdict of its own day."""
        verdicts = {one.span.start: verdict for one, verdict in self.monitored}
        checked = (one for latest, _ in self.monitored for one in (*latest.matured, latest))
        return tuple({one.span.start: period_row(one, verdicts[one.span.start]) for one in checked}.values())

    def _require_answers(self, exchange: Exchange) -> None:
        if exchange.failed:
            log = self.settings.folder / "service.log"
            raise UserError(f"{plural(exchange.failed, 'request')} failed: see {log}.")

    def _period(self, exchange: Exchange, rows: pd.DataFrame, start: int, end: int, progress: str) -> None:
        self.sent.append(exchange)
        if not exchange.rows:
            typer.echo(f"  {progress}, {day_of(start)} to {day_of(end)}: there was nothing to decide")
            self.loop.pass_over(end)
            return
        monitored, verdict = next(self.loop.monitor_all())
        self.monitored.append((monitored, verdict))
        for one in monitored.matured:
            typer.echo(f"  {by_late_labels(one)}")
        typer.echo(f"  {progress}, {_line(monitored, exchange)}")
        result = self.loop.follow_verdict()
        if result is None:
            return
        version = result.version
        self.retrainings.append(
            Retraining(day_of(end), verdict.reason, version.version, result.promoted, result.gates)
        )
        if result.promoted:
            latest = rows[(rows["decision_at"] >= end - DAY) & (rows["decision_at"] < end)]
            # The switch happens under load.
            with background_requests(self.settings, latest, self.contract) as count:
                self.deploy(version)
            self.sent_at_switch.append(count)
            self.versions.append(VersionChange(day_of(end), version.version))
        action = "retrained" if verdict.retrain else "re-evaluated"
        typer.echo(f"  {action}: {verdict.reason}; version {version.version} {_outcome(result)}")

    def _serving(self, milliseconds: list[float]) -> ServingSection:
        both = [*self.sent, *self.sent_at_switch]
        p50, p99 = np.percentile(milliseconds, [50, 99])
        return ServingSection(
            version=self.versions[-1].version,
            url=url(self.settings),
            parity=ParityRow(
                sum(one.performance.rows for one, _ in self.monitored),
                max(one.largest_difference for one, _ in self.monitored),
            ),
            requests=sum(one.requests for one in both),
            failed=sum(one.failed for one in both),
            at_switch=sum(one.requests for one in self.sent_at_switch),
            rows=sum(one.rows for one in self.sent),
            p50_ms=float(p50),
            p99_ms=float(p99),
        )


def _outcome(result: TrainingResult) -> str:
    if result.promoted:
        return "is the new champion"
    failed = [gate.sentence for gate in result.gates if not gate.passed]
    return f"stays challenger, in shadow: {'; '.join(failed)}" if failed else "waits for approval"


def _line(monitored: "MonitoredPeriod", exchange: Exchange) -> str:
    performance = monitored.performance
    rows, requests = plural(exchange.rows, "row"), plural(exchange.requests, "request")
    sent = f"{rows} in {requests}, {exchange.failed} failed"
    found = f"{monitored.state}, {performance.sentence}; {len(monitored.drifted)} drifted"
    return f"{monitored.days}: {sent}; {found}"

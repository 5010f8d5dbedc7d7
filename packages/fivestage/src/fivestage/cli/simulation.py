"""Simulate the months after training: requests, outcomes, monitoring, retraining, a period at a time."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from fivestage.cli.application import Stopwatch, say
from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.common.settings import DEMO, REPORTS, RESULTS
from fivestage.contract.contract import Contract, day_of, epoch
from fivestage.data.event_tables import EventTables
from fivestage.deployment.local_process import settings_in, stop
from fivestage.deployment.service_client import Deployment, require_free_port, url
from fivestage.deployment.simulated_client import (
    Exchange,
    background_requests,
    feed,
    time_rows,
)
from fivestage.monitoring.period import MonitoredPeriod
from fivestage.monitoring.retraining import RetrainingDecision
from fivestage.monitoring.retraining_loop import RetrainingLoop, TrainingResult
from fivestage.registry.versions import Version
from fivestage.reporting.number_format import plural
from fivestage.reporting.results import (
    MonitoringSection,
    ParityRow,
    PeriodRow,
    Retraining,
    ServingSection,
    VersionChange,
    forget,
    save,
)
from fivestage.reporting.sections import period_row
from fivestage.reporting.sentences import ADVICE
from fivestage.serving.service_settings import Settings

TIMED_ROWS = 500


@dataclass
class Simulation:
    """The test window against a running service, with everything that a team would have done.

    Args:
        contract: The problem's contract.
        settings: Of the running service.
        loop: What monitors and retrains.
        deploy: Lets a version take over while the service answers.
        page_of: Where the drift report of a period, by its start, lies.
    """

    contract: Contract
    settings: Settings
    loop: RetrainingLoop
    deploy: Callable[[Version], Deployment]
    page_of: Callable[[int], Path]
    monitored: list[MonitoredPeriod] = field(default_factory=list)
    periods: list[PeriodRow] = field(default_factory=list)
    sent: list[Exchange] = field(default_factory=list)
    sent_at_switch: list[Exchange] = field(default_factory=list)
    retrainings: list[Retraining] = field(default_factory=list)
    versions: list[VersionChange] = field(default_factory=list)
    trained_at: list[int] = field(default_factory=list)

    def run(self, first: Version, rows: pd.DataFrame, events: EventTables) -> None:
        """From a version's own time to the end of the test window; the results are kept for the report."""
        self.trained_at.append(first.as_of)
        self.versions.append(VersionChange(day_of(first.as_of), first.version))
        length = self.contract.monitoring.period_days * DAY
        starts = range(first.as_of, epoch(self.contract.split.test_end) - length + 1, length)
        for number, start in enumerate(starts, 1):
            self._period(rows, events, start, start + length, f"{number} of {len(starts)}")
        save(MonitoringSection(tuple(self.periods), tuple(self.retrainings), tuple(self.versions)), RESULTS)
        save(self._serving(time_rows(self.settings, rows.tail(TIMED_ROWS), self.contract)), RESULTS)

    def _period(self, rows: pd.DataFrame, events: EventTables, start: int, end: int, progress: str) -> None:
        exchange = feed(self.settings, rows, events.events, self.contract, start, end)
        self.sent.append(exchange)
        if exchange.failed:
            log = self.settings.folder / "service.log"
            raise UserError(f"{plural(exchange.failed, 'request')} failed: {log} says why.")
        if not exchange.rows:
            say(f"  {progress}, {day_of(start)} to {day_of(end)}: there was nothing to decide")
            return
        last = self.monitored[-1] if self.monitored else None
        monitored, verdict = self.loop.pipelines.monitor(
            self.loop.folder,
            start,
            end,
            (last.last_number, last.last_shadow) if last else (0, 0),
            [one.summary for one in self.monitored],
            self.trained_at,
        )
        self.monitored.append(monitored)
        self.periods.append(period_row(monitored, verdict, self.page_of(start).relative_to(REPORTS)))
        say(f"  {progress}, {_line(monitored, exchange)}")
        if verdict.retrain or verdict.promote:
            self._follow(verdict, rows, end)

    def _follow(self, verdict: RetrainingDecision, rows: pd.DataFrame, at: int) -> None:
        result = self.loop.follow(verdict, at)
        version = result.version
        self.trained_at += [at] if verdict.retrain else []
        self.retrainings.append(
            Retraining(day_of(at), verdict.reason, version.version, result.promoted, result.gates)
        )
        if result.promoted:
            latest = rows[(rows["decision_at"] >= at - DAY) & (rows["decision_at"] < at)]
            with background_requests(self.settings, latest, self.contract) as count:  # it is never idle
                self.deploy(version)
            self.sent_at_switch.append(count)
            self.versions.append(VersionChange(day_of(at), version.version))
        else:
            self.loop.pipelines.shadow(self.loop.folder, version)
        action = "retrained" if verdict.retrain else "re-evaluated"
        say(f"  {action}: {verdict.reason}; version {version.version} {_outcome(result)}")

    def _serving(self, milliseconds: list[float]) -> ServingSection:
        both = [*self.sent, *self.sent_at_switch]
        p50, p99 = np.percentile(milliseconds, [50, 99])
        return ServingSection(
            version=self.versions[-1].version,
            url=url(self.settings),
            parity=ParityRow(
                sum(one.performance.rows for one in self.monitored),
                max(one.largest_difference for one in self.monitored),
            ),
            requests=sum(one.requests for one in both),
            failed=sum(one.failed for one in both),
            at_switch=sum(one.requests for one in self.sent_at_switch),
            rows=sum(one.rows for one in self.sent),
            p50_ms=float(p50),
            p99_ms=float(p99),
            how_to_open="make serve",
        )


def clear_demo() -> None:
    """End what an earlier demo left, and make sure that the service can listen before anything is trained.

    Raises:
        UserError: when something else listens at the service's port.
    """
    settings = settings_in(str(DEMO))
    stop(settings)
    shutil.rmtree(DEMO, ignore_errors=True)
    require_free_port(settings)


def simulate_months(
    trained: TrainingResult,
    data: tuple[pd.DataFrame, EventTables],
    loop: RetrainingLoop,
    deploy: Callable[[Version], Deployment],
    page_of: Callable[[int], Path],
    watch: Stopwatch,
) -> None:
    """Serve a version as a process of this machine, and simulate the months after it.

    Args:
        trained: The version and its gates.
        data: All rows and events, those after the version's own time too.
        loop: What monitors and retrains, in the folder of the service.
        deploy: Brings a version into service from that folder.
        page_of: Where the drift report of a period, by its start, lies.
        watch: Times the stages and prints them.

    Raises:
        UserError: when the version did not pass its gates, or a request failed.
    """
    if not trained.promoted:
        forget(ServingSection, RESULTS)
        forget(MonitoringSection, RESULTS)
        failed = ", ".join(gate.name for gate in trained.gates if not gate.passed)
        if not failed:
            raise UserError(
                "The model passed its gates and waits for approval: make approve, then make deploy."
            )
        raise UserError(
            f"The model did not pass its gates ({failed}), so nothing is served; {REPORTS / 'index.html'} "
            f"shows how it did. {ADVICE}"
        )
    settings = settings_in(loop.folder)
    try:
        with watch.stage("serving", f"version {trained.version.version} as a process of this machine"):
            deployed = deploy(trained.version)
            say(f"  {deployed.url} answers as offline, to {deployed.difference:.0e}")
        with watch.stage("monitoring", "the months after training, a period at a time"):
            Simulation(loop.contract, settings, loop, deploy, page_of).run(trained.version, *data)
    finally:
        stop(settings)


def _outcome(result: TrainingResult) -> str:
    if result.promoted:
        return "is the new champion"
    failed = [gate.sentence for gate in result.gates if not gate.passed]
    return f"stays challenger, in shadow: {'; '.join(failed)}" if failed else "waits for approval"


def _line(monitored: MonitoredPeriod, exchange: Exchange) -> str:
    performance = monitored.performance
    state = "bad" if performance.bad else "good"
    rows, requests = plural(exchange.rows, "row"), plural(exchange.requests, "request")
    sent = f"{rows} in {requests}, {exchange.failed} failed"
    found = f"{state}, {performance.sentence}; {len(monitored.drifted)} drifted"
    return f"{day_of(monitored.start)} to {day_of(monitored.end)}: {sent}; {found}"

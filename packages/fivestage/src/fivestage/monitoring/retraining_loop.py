"""Monitoring and retraining from run to run: which period is next, what its verdict asks for, what is done.

The loop's state lies beside the service's log, so that a run that was cut short is repeated as it was.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from fivestage.common.clock import DAY
from fivestage.contract.contract import Contract, day, day_of, epoch
from fivestage.evaluation.gates import Gate
from fivestage.monitoring.retraining import PeriodSummary, RetrainingDecision
from fivestage.monitoring.state import MonitoringState, PendingTraining, amend, read
from fivestage.registry.versions import ModelRegistry, Version
from fivestage.serving.log import first_decision

if TYPE_CHECKING:  # Evidently takes seconds to import
    from fivestage.monitoring.period import MonitoredPeriod

NO_REQUESTS = "The service has had no request yet: its log holds no decision to monitor."


@dataclass(frozen=True)
class TrainingResult:
    """A challenger, its gates, and whether it took the champion's place."""

    version: Version
    gates: tuple[Gate, ...]
    promoted: bool

    @property
    def passed(self) -> bool:
        """Whether every gate passed; what passed and is not promoted waits for approval."""
        return all(gate.passed for gate in self.gates)


class Pipelines(Protocol):
    """The project's pipelines, as the loop runs them; `pipelines/runs.py` fulfils it."""

    def monitor(
        self,
        folder: str,
        start: int,
        end: int,
        log_offset: tuple[int, int],
        past: Sequence[PeriodSummary],
        trained: Sequence[int],
    ) -> "tuple[MonitoredPeriod, RetrainingDecision]":
        """One period of the service in a folder, and the policy's verdict."""

    def retrain(self, as_of: str, champion: Version) -> TrainingResult:
        """Train again with the champion's settings, against it."""

    def re_evaluate(self, version: str, as_of: str, champion: Version) -> TrainingResult:
        """A challenger that is trained already, against the champion, as of a later day."""

    def shadow(self, folder: str, version: Version) -> None:
        """Let a challenger answer beside the champion."""


@dataclass(frozen=True)
class RetrainingLoop:
    """The loop around one service.

    Args:
        contract: The problem's contract.
        folder: Where the service and the loop keep their state.
        database_url: The prediction log.
        pipelines: What monitors and trains.
    """

    contract: Contract
    folder: str
    database_url: str
    pipelines: Pipelines

    def monitor_next(self) -> "tuple[MonitoredPeriod, RetrainingDecision] | None":
        """The next period that is over, in view of those before it; None while there is none.

        The first one is that of the first decision, in periods counted from the champion's day on.

        Raises:
            UserError: when the log holds nothing of it, nor of later ones.
        """
        length, state = self.contract.monitoring.period_days * DAY, self._state()
        start = state.until
        if not state.periods:
            first = first_decision(self.database_url, self.contract, start)
            start += 0 if first is None else (first - start) // length * length
        end = start + length
        if time.time() < end:
            return None
        monitored, verdict = self.pipelines.monitor(
            self.folder, start, end, state.log_offsets, state.periods, state.trained
        )
        offsets = monitored.last_number, monitored.last_shadow
        done = not (verdict.retrain or verdict.promote)

        def append(now: MonitoringState) -> MonitoringState:
            periods = (*state.periods, monitored.summary)
            return replace(now, periods=periods, until=end, log_offsets=offsets, verdict=verdict, done=done)

        self._change(append)
        return monitored, verdict

    def monitor_all(self) -> "Iterator[tuple[MonitoredPeriod, RetrainingDecision]]":
        """Each period that is over and not monitored yet; more than one where nobody ran this in time."""
        while found := self.monitor_next():
            yield found
            if not self.goes_on():
                return

    def pass_over(self, end: int) -> None:
        """Go on from a moment: nothing was to be decided before it."""
        self._change(lambda now: replace(now, until=end))

    def reason_to_wait(self) -> str:
        """Why the service cannot be monitored yet, as on a new cluster; empty where it can."""
        if first_decision(self.database_url, self.contract, 0) is None:
            return NO_REQUESTS
        if ModelRegistry(self.contract.name).champion() is None:
            return "The registry has no champion yet to compare the answers with: `make train` makes one."
        state = self._state()
        seen = state.periods or first_decision(self.database_url, self.contract, state.until) is not None
        return "" if seen else NO_REQUESTS

    def goes_on(self) -> bool:
        """Whether the log holds decisions after the last period that was monitored."""
        state = self._state()
        offset = state.log_offsets[0]
        return first_decision(self.database_url, self.contract, state.until, offset) is not None

    def follow_verdict(self) -> TrainingResult | None:
        """Do what the latest verdict asks for, once; None where it asks for nothing or has been followed."""
        state = read(self.folder, lambda: 0)  # without a state nothing is asked for, champion or not
        return None if state.done or state.verdict is None else self._follow_once(state.verdict, state.until)

    def retrain_now(self, as_of: str = "") -> TrainingResult:
        """Train again whatever the verdict is; by default as of the latest day that is known."""
        latest = max(self.contract.split.test_end_at, self._state().until, self._champion().as_of)
        request = RetrainingDecision(retrain=True, reason="somebody asks for it")
        return self._follow_once(request, epoch(day(as_of)) if as_of else latest)

    def follow(self, verdict: RetrainingDecision, at: int, champion: Version | None = None) -> TrainingResult:
        """What a verdict asks for, as of a moment; by default against the champion of now."""
        champion = champion or self._champion()
        if verdict.promote:
            return self.pipelines.re_evaluate(verdict.promote, str(day_of(at)), champion)
        return self.pipelines.retrain(str(day_of(at)), champion)

    def _follow_once(self, verdict: RetrainingDecision, at: int) -> TrainingResult:
        """Follow a verdict and remember it; a challenger that is not promoted answers in shadow."""

        def begin(now: MonitoringState) -> MonitoringState:
            same = now.begun is not None and now.begun.at == at
            return now if same else replace(now, begun=PendingTraining(at, self._champion().version))

        def end(now: MonitoringState) -> MonitoringState:
            trained = sorted({*now.trained, at}) if verdict.retrain else now.trained
            return replace(now, done=now.done or now.until <= at, trained=tuple(trained), begun=None)

        begun = self._change(begin).begun
        against = ModelRegistry(self.contract.name).find(begun.champion) if begun else None
        result = self.follow(verdict, at, against)
        if not result.promoted:
            self.pipelines.shadow(self.folder, result.version)
        self._change(end)
        return result

    def _state(self) -> MonitoringState:
        return read(self.folder, self._first_day)

    def _change(self, change: Callable[[MonitoringState], MonitoringState]) -> MonitoringState:
        return amend(self.folder, self._first_day, change)

    def _first_day(self) -> int:
        return self._champion().as_of

    def _champion(self) -> Version:
        return ModelRegistry(self.contract.name).require_champion()

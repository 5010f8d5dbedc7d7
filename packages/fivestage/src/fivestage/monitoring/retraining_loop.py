"""Monitoring and retraining from run to run: which period is next, what its verdict asks for, what is done.

The loop's state lies beside the service's log, so that a run that was cut short is repeated as it was.
"""

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import TypeAdapter

from fivestage.common.clock import DAY
from fivestage.common.files import write_whole
from fivestage.contract.contract import Contract, day, day_of, epoch
from fivestage.evaluation.gates import ADVICE, Gate
from fivestage.monitoring.retraining import PeriodSummary, RetrainingDecision
from fivestage.registry.versions import ModelRegistry, Version
from fivestage.serving.log import first_decision

if TYPE_CHECKING:  # Evidently takes seconds to import
    from fivestage.monitoring.period import MonitoredPeriod

NO_REQUESTS = "The service has had no request yet: its log holds no decision to monitor."
STATE_FILE = "periods.json"


@dataclass(frozen=True)
class PendingTraining:
    """A training as of a moment (epoch seconds): cut short, it meets the same champion again."""

    at: int
    champion: str  # a version


@dataclass(frozen=True)
class MonitoringState:
    """What is remembered of a service: its periods, and how far they reach in time and in the log."""

    periods: tuple[PeriodSummary, ...]
    until: int
    log_offsets: tuple[int, int]  # answers, and challengers' answers
    verdict: RetrainingDecision | None = None
    done: bool = True  # what the verdict asks for
    trained: tuple[int, ...] = ()  # epoch seconds, promoted or not; the first model's is not a retraining
    begun: PendingTraining | None = None


STATE = TypeAdapter(MonitoringState)


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

    @property
    def text(self) -> str:
        """A line for each gate, what became of the version, and what to do where a gate failed."""
        waits = "waits for approval: make approve" if self.passed else "stays challenger"
        fate = f"version {self.version.version} {'is the champion' if self.promoted else waits}"
        advice = () if self.passed else (ADVICE,)
        return "\n".join(f"  {line}" for line in (*(gate.line for gate in self.gates), fate, *advice))


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
        length, state = self.contract.monitoring.period_days * DAY, self.state()
        start = state.until
        if not state.periods and (first := self._first_decision(start)) is not None:
            start += (first - start) // length * length
        end = start + length
        if time.time() < end:
            return None
        monitored, verdict = self.pipelines.monitor(
            self.folder, start, end, state.log_offsets, state.periods, state.trained
        )
        offsets = monitored.last_number, monitored.last_shadow
        done, periods = not (verdict.retrain or verdict.promote), (*state.periods, monitored.summary)
        self._change(
            lambda now: replace(
                now, periods=periods, until=end, log_offsets=offsets, verdict=verdict, done=done
            )
        )
        return monitored, verdict

    def monitor_all(self) -> "Iterator[tuple[MonitoredPeriod, RetrainingDecision]]":
        """Each period that is over and not monitored yet; more than one where nobody ran this in time."""
        while found := self.monitor_next():
            yield found
            state = self.state()
            if self._first_decision(state.until, state.log_offsets[0]) is None:
                return

    def pass_over(self, end: int) -> None:
        """Go on from a moment: nothing was to be decided before it."""
        self._change(lambda now: replace(now, until=end))

    def reason_to_wait(self) -> str:
        """Why the service cannot be monitored yet, as on a new cluster; empty where it can."""
        if self._first_decision(0) is None:
            return NO_REQUESTS
        if ModelRegistry(self.contract.name).champion() is None:
            return "The registry has no champion yet to compare the answers with: `make train` makes one."
        state = self.state()
        return "" if state.periods or self._first_decision(state.until) is not None else NO_REQUESTS

    def follow_verdict(self) -> TrainingResult | None:
        """Do what the latest verdict asks for, once; None where it asks for nothing or has been followed."""
        if not self._path.exists():  # champion or not
            return None
        state = self.state()
        return None if state.done or state.verdict is None else self._follow_once(state.verdict, state.until)

    def retrain_now(self, as_of: str = "") -> TrainingResult:
        """Train again whatever the verdict is; by default as of the latest day that is known."""
        latest = max(self.contract.split.test_end_at, self.state().until, self._champion().as_of)
        request = RetrainingDecision(retrain=True, reason="somebody asks for it")
        return self._follow_once(request, epoch(day(as_of)) if as_of else latest)

    def state(self) -> MonitoringState:
        """What is remembered; without anything yet, it begins when the first model was trained."""
        if not self._path.exists():
            first = self._champion().as_of
            return MonitoringState((), first, (0, 0), trained=(first,))
        content = self._path.read_bytes().replace(b'"heard"', b'"log_offsets"')  # as it was called up to 0.2
        found = STATE.validate_json(content)
        return found if found.trained else replace(found, trained=(self._champion().as_of,))

    def _follow_once(self, verdict: RetrainingDecision, at: int) -> TrainingResult:
        """Follow a verdict and remember it; a challenger that is not promoted answers in shadow."""

        def begin(now: MonitoringState) -> MonitoringState:
            same = now.begun is not None and now.begun.at == at
            return now if same else replace(now, begun=PendingTraining(at, self._champion().version))

        def end(now: MonitoringState) -> MonitoringState:
            trained = sorted({*now.trained, at}) if verdict.retrain else now.trained
            return replace(now, done=now.done or now.until <= at, trained=tuple(trained), begun=None)

        begun, as_of = self._change(begin).begun, str(day_of(at))
        champion = ModelRegistry(self.contract.name).find(begun.champion) if begun else self._champion()
        if verdict.promote:
            result = self.pipelines.re_evaluate(verdict.promote, as_of, champion)
        else:
            result = self.pipelines.retrain(as_of, champion)
        if not result.promoted:
            self.pipelines.shadow(self.folder, result.version)
        self._change(end)
        return result

    def _change(self, change: Callable[[MonitoringState], MonitoringState]) -> MonitoringState:
        """Change the state as it stands now, for another run may write in it as well."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            changed = change(self.state())
            content = STATE.dump_json(changed, indent=1)
            write_whole(self._path, lambda scratch: scratch.write_bytes(content))
        return changed

    @property
    def _path(self) -> Path:
        return Path(self.folder) / STATE_FILE

    def _first_decision(self, since: int, log_offset: int = 0) -> int | None:
        return first_decision(self.database_url, self.contract, since, log_offset)

    def _champion(self) -> Version:
        return ModelRegistry(self.contract.name).require_champion()

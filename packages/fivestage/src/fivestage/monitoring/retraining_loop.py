"""The retraining loop: monitor each period, follow its verdict, and keep the state between runs.

The state is a file next to the service's log. An interrupted run is repeated with the same inputs.
"""

import fcntl
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import TypeAdapter

from fivestage.common.clock import DAY
from fivestage.common.files import write_whole
from fivestage.contract.contract import Contract, day_of, epoch_of
from fivestage.evaluation.gates import ADVICE, Gate
from fivestage.monitoring.retraining import PeriodSummary, RetrainingDecision
from fivestage.registry.versions import ModelRegistry, Version
from fivestage.serving.log import count_requests, first_decision
from fivestage.serving.served_version import shadow
from fivestage.serving.service_settings import Settings

if TYPE_CHECKING:  # Evidently takes seconds to import
    from fivestage.monitoring.period import MonitoredPeriod

NO_REQUESTS = "The service has had no request yet: its log holds no decision to monitor."
STATE_FILE = "periods.json"


@dataclass(frozen=True)
class PendingTraining:
    """A training that has started; if interrupted, it is repeated against the same champion."""

    at: int  # the time as of which it trains, epoch seconds
    champion: str  # a version


@dataclass(frozen=True)
class MonitoringState:
    """The stored state of a service: its periods, and how far they reach in time and in the log."""

    periods: tuple[PeriodSummary, ...]
    until: int
    log_offsets: tuple[int, int]  # in the logs of predictions and of challengers' predictions
    pending: RetrainingDecision | None = None  # the latest verdict, if it has yet to be followed
    trained: tuple[int, ...] = ()  # epoch seconds, promoted or not; the first model's is not a retraining
    begun: PendingTraining | None = None


STATE = TypeAdapter(MonitoringState)


@dataclass(frozen=True)
class TrainingResult:
    """A challenger, its gates, and whether it was promoted."""

    version: Version
    gates: tuple[Gate, ...]
    promoted: bool

    @property
    def passed(self) -> bool:
        """Whether every gate passed; a version that passed but is not promoted waits for approval."""
        return all(gate.passed for gate in self.gates)

    @property
    def text(self) -> str:
        """A line per gate, the status of the version, and advice if a gate failed."""
        waits = "waits for approval: make approve" if self.passed else "stays challenger"
        status = f"version {self.version.version} {'is the champion' if self.promoted else waits}"
        advice = () if self.passed else (ADVICE,)
        return "\n".join(f"  {line}" for line in (*(gate.line for gate in self.gates), status, *advice))


class Pipelines(Protocol):
    """The project's pipelines that the loop runs; `pipelines/runs.py` implements them."""

    def monitor(
        self,
        folder: str,
        start: int,
        end: int,
        log_offset: tuple[int, int],
        past: list[dict[str, Any]],
        trained: Sequence[int],
    ) -> "tuple[MonitoredPeriod, RetrainingDecision]":
        """Monitor one period of the service in a folder, and return the policy's verdict with it."""

    def retrain(self, as_of: str, champion: Version) -> TrainingResult:
        """Train again with the champion's settings, and compare with the champion."""

    def re_evaluate(self, version: str, as_of: str, champion: Version) -> TrainingResult:
        """Compare an already trained challenger with the champion as of a later day."""


@dataclass(frozen=True)
class RetrainingLoop:
    """The retraining loop of one service.

    Args:
        contract: The problem's contract.
        folder: Where the service and the loop keep their state.
        database_url: The prediction log.
        pipelines: The pipelines that monitor and train.
    """

    contract: Contract
    folder: str
    database_url: str
    pipelines: Pipelines
    no_champion: ClassVar[str] = (  # a reason to wait
        "The registry has no champion yet to compare predictions with: train one with `make train`."
    )

    def check(self, as_of: str) -> "tuple[MonitoredPeriod, RetrainingDecision]":
        """Monitor the period from a day on, such as `2024-01-31`, as of its end, and no earlier one.

        The pipeline replaces the period's page and its runs; gauges, alerts and the loop's state stay.
        """
        start = epoch_of(as_of)
        end = start + self.contract.monitoring.period_seconds
        known = {one.span.start: one.span.after for one in self.state().periods}
        return self.pipelines.monitor(self.folder, start, end, known.get(start, (0, 0)), [], [])

    def monitor_next(self) -> "tuple[MonitoredPeriod, RetrainingDecision] | None":
        """Monitor the next finished period and store the result; return None if there is none yet.

        Periods are counted from the champion's day on; the first is that of the first decision.

        Raises:
            UserError: If the log holds no decision of it or of later periods.
        """
        length, state = self.contract.monitoring.period_days * DAY, self.state()
        start = state.until
        if not state.periods and (first := self._first_decision(start)) is not None:
            start += (first - start) // length * length
        end = start + length
        if time.time() < end:
            return None
        past, champion = [asdict(one) for one in state.periods], self._champion().as_of
        trained = (*state.trained, champion) if champion > max(state.trained) else state.trained  # by hand
        monitored, verdict = self.pipelines.monitor(self.folder, start, end, state.log_offsets, past, trained)
        self._change(
            lambda now: replace(
                now,
                periods=tuple(monitored.history(state.periods)),
                until=end,
                log_offsets=monitored.span.next,
                pending=verdict if verdict.acts else None,
                trained=tuple(sorted({*now.trained, *trained})),
            )
        )
        return monitored, verdict

    def monitor_all(self) -> "Iterator[tuple[MonitoredPeriod, RetrainingDecision]]":
        """Monitor all finished periods that have not been monitored yet."""
        while result := self.monitor_next():
            yield result
            if not result[0].span.has_later:
                return

    def pass_over(self, end: int) -> None:
        """Skip the time before `end`, in which there was nothing to decide."""
        self._change(lambda now: replace(now, until=end))

    def reason_to_wait(self) -> str:
        """Return why the service cannot be monitored yet, as on a new cluster; empty if it can."""
        earlier = count_requests(self.database_url)
        if not earlier:
            return NO_REQUESTS
        if ModelRegistry(self.contract.name).champion() is None:
            return self.no_champion
        state = self.state()
        if state.periods or self._first_decision(state.until) is not None:
            return ""
        return (
            f"The log holds no decision from {day_of(state.until)} on, when monitoring of the champion "
            f"starts; {earlier} earlier {'request is' if earlier == 1 else 'requests are'} not counted "
            "(smoke tests are logged too)."
        )

    def follow_verdict(self) -> TrainingResult | None:
        """Follow the latest verdict once; return None if it requires nothing or has been followed."""
        if not self._path.exists():  # checked first, so that no champion is needed
            return None
        state = self.state()
        return self._follow_once(state.pending, state.until) if state.pending else None

    def retrain_now(self, as_of: str = "") -> TrainingResult:
        """Train again regardless of the verdict, by default as of the latest known day."""
        latest = max(self.contract.split.test_end_at, self.state().until, self._champion().as_of)
        request = RetrainingDecision(retrain=True, reason="requested by the user")
        return self._follow_once(request, epoch_of(as_of) if as_of else latest)

    def state(self) -> MonitoringState:
        """Load the state; a new one starts at the champion's training day."""
        if not self._path.exists():
            first = self._champion().as_of
            return MonitoringState((), first, (0, 0), trained=(first,))
        content = json.loads(self._path.read_bytes())
        if "heard" in content:  # as it was named up to v0.2
            content["log_offsets"] = content["heard"]
            content["pending"] = None if content.get("done", True) else content.get("verdict")
        state = STATE.validate_python(content)
        return state if state.trained else replace(state, trained=(self._champion().as_of,))

    def _follow_once(self, verdict: RetrainingDecision, at: int) -> TrainingResult:
        """Follow a verdict and record it; a challenger that is not promoted predicts in shadow."""

        def begin(now: MonitoringState) -> MonitoringState:
            same = now.begun is not None and now.begun.at == at
            return now if same else replace(now, begun=PendingTraining(at, self._champion().version))

        def end(now: MonitoringState) -> MonitoringState:
            trained = sorted({*now.trained, at}) if verdict.retrain else now.trained
            pending = now.pending if now.until > at else None  # of a period monitored meanwhile
            return replace(now, pending=pending, trained=tuple(trained), begun=None)

        begun, as_of = self._change(begin).begun, str(day_of(at))
        champion = ModelRegistry(self.contract.name).find(begun.champion) if begun else self._champion()
        if verdict.promote:
            result = self.pipelines.re_evaluate(verdict.promote, as_of, champion)
        else:
            result = self.pipelines.retrain(as_of, champion)
        if not result.promoted:
            version = result.version.version
            shadow(Settings.of_folder(self.folder), version, ModelRegistry(self.contract.name).fetch(version))
        self._change(end)
        return result

    def _change(self, change: Callable[[MonitoringState], MonitoringState]) -> MonitoringState:
        """Update the stored state under a lock, as another run may update it too."""
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

    def _first_decision(self, since: int) -> int | None:
        return first_decision(self.database_url, self.contract, since)

    def _champion(self) -> Version:
        return ModelRegistry(self.contract.name).require_champion()

"""Which period is monitored next, and what a verdict leads to, once; the pipelines are stand-ins."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import day_of, epoch_of
from fivestage.monitoring import retraining_loop as loops
from fivestage.monitoring.period import MonitoredPeriod
from fivestage.monitoring.retraining import PeriodSummary, RetrainingDecision, Span
from fivestage.monitoring.retraining_loop import RetrainingLoop, TrainingResult
from fivestage.registry.versions import ModelRegistry, Version
from fivestage.serving import served_version
from fivestage.serving.served_version import read_served_version
from tests.synthetic import synthetic_problem

CONTRACT = synthetic_problem("binary").contract
TRAINED = epoch_of("2025-09-01")
LENGTH = CONTRACT.monitoring.period_days * DAY
CHAMPION = Version(CONTRACT.name, "4", "digest", "run", TRAINED, "commit")
CHALLENGER = replace(CHAMPION, version="5")
BAD = RetrainingDecision(retrain=True, reason="bad")
PROVEN = RetrainingDecision(retrain=False, reason="proven", promote="5")
GOOD = RetrainingDecision(retrain=False, reason="good")


class Stand:
    """Stand-ins for the pipelines: they keep what they were given, and give what they are told to."""

    def __init__(self) -> None:
        self.verdicts: list[RetrainingDecision] = []
        self.offsets: list[int] = []
        self.monitored: list[tuple[int, int, tuple[int, int], int, list[int]]] = []
        self.past: list[list[dict[str, Any]]] = []
        self.matured: tuple[PeriodSummary, ...] = ()
        self.later: list[bool] = []  # whether the log has decisions after each period
        self.done: list[str] = []
        self.promoted = False

    def monitor(
        self,
        folder: str,  # noqa: ARG002
        start: int,
        end: int,
        log_offset: tuple[int, int],
        past: list[dict[str, Any]],
        trained: Sequence[int],
    ) -> tuple[MonitoredPeriod, RetrainingDecision]:
        self.monitored.append((start, end, log_offset, len(past), list(trained)))
        if not self.verdicts:
            raise UserError("the pipeline failed")
        self.past.append(past)
        last = self.offsets.pop(0) if self.offsets else 120
        summary = PeriodSummary(0.95, bad=False, broken=(), span=Span(start, end, log_offset))
        judged = tuple(SimpleNamespace(span=one.span, summary=one) for one in self.matured)
        later = bool(self.later and self.later.pop(0))
        found = SimpleNamespace(
            span=Span(start, end, next=(last, last // 100), has_later=later), matured=judged, summary=summary
        )
        found.history = lambda past: MonitoredPeriod.history(cast("MonitoredPeriod", found), past)
        return cast("MonitoredPeriod", found), self.verdicts.pop(0)

    def retrain(self, as_of: str, champion: Version) -> TrainingResult:
        return self._did(f"retrain {as_of}", champion)

    def re_evaluate(self, version: str, as_of: str, champion: Version) -> TrainingResult:
        return self._did(f"promote {version} {as_of}", champion)

    def _did(self, action: str, champion: Version) -> TrainingResult:
        self.done.append(f"{action} against {champion.version}")
        return TrainingResult(CHALLENGER, (), self.promoted)


@pytest.fixture
def champions(monkeypatch: pytest.MonkeyPatch) -> list[Version]:
    """Who is champion: the last of them, if any."""
    found = [CHAMPION]
    monkeypatch.setattr(ModelRegistry, "champion", lambda _registry: found[-1] if found else None)
    monkeypatch.setattr(ModelRegistry, "find", lambda _registry, version: replace(CHAMPION, version=version))
    monkeypatch.setattr(ModelRegistry, "fetch", lambda _registry, version: Path("models", version))
    monkeypatch.setattr(served_version, "artifact_digest", lambda _folder: "digest")
    return found


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The first and the latest decision of the prediction log."""
    found = {"first": TRAINED, "latest": TRAINED, "requests": 4}

    def first_decision(_database: str, _contract: object, since: int) -> int | None:
        return next((at for at in (found["first"], found["latest"]) if at >= since), None)

    monkeypatch.setattr(loops, "first_decision", first_decision)
    monkeypatch.setattr(loops, "count_requests", lambda _: found["requests"])
    return found


@pytest.fixture
def stand() -> Stand:
    return Stand()


@pytest.fixture
def loop(stand: Stand, tmp_path: Path, champions: list[Version], log: dict[str, int]) -> RetrainingLoop:  # noqa: ARG001
    return RetrainingLoop(CONTRACT, str(tmp_path), "sqlite://", stand)


def monitored(loop: RetrainingLoop, stand: Stand, *verdicts: RetrainingDecision) -> None:
    stand.verdicts += verdicts
    for _ in verdicts:
        assert loop.monitor_next()


def test_periods_follow_one_another_and_are_remembered(loop: RetrainingLoop, stand: Stand) -> None:
    stand.offsets = [120, 300, 301]
    monitored(loop, stand, GOOD, BAD, BAD)
    ends = [TRAINED + number * LENGTH for number in range(4)]
    assert stand.monitored == [
        (ends[0], ends[1], (0, 0), 0, [TRAINED]),
        (ends[1], ends[2], (120, 1), 1, [TRAINED]),
        (ends[2], ends[3], (300, 3), 2, [TRAINED]),
    ]


def test_a_period_that_is_checked_again_by_hand_is_read_from_the_same_place(
    loop: RetrainingLoop, stand: Stand
) -> None:
    """Read from the log's beginning, it counted as the first, which may begin without requests."""
    monitored(loop, stand, GOOD, GOOD)
    before, start = loop.state(), TRAINED + LENGTH
    stand.verdicts = [GOOD, GOOD]
    for at, offset in ((start, (120, 1)), (start + DAY, (0, 0))):
        loop.check(str(day_of(at)))
        assert stand.monitored[-1] == (at, at + LENGTH, offset, 0, [])
    assert loop.state() == before


def test_a_period_that_is_judged_late_replaces_what_was_known_of_it(
    loop: RetrainingLoop, stand: Stand
) -> None:
    stand.offsets = [120, 300, 301]
    monitored(loop, stand, GOOD, GOOD)
    starts = [TRAINED, TRAINED + LENGTH]
    stand.matured = (PeriodSummary(1.0, bad=True, broken=(), span=Span(TRAINED, TRAINED + LENGTH)),)
    monitored(loop, stand, GOOD)
    assert [(one["span"]["start"], one["span"]["after"]) for one in stand.past[-1]] == [
        (starts[0], (0, 0)),
        (starts[1], (120, 1)),
    ]
    assert [one.bad for one in loop.state().periods] == [True, False, False]


def test_a_period_in_which_nothing_was_due_is_passed_over(loop: RetrainingLoop, stand: Stand) -> None:
    monitored(loop, stand, GOOD)
    loop.pass_over(TRAINED + 2 * LENGTH)
    monitored(loop, stand, GOOD)
    assert [start - TRAINED for start, *_ in stand.monitored] == [0, 2 * LENGTH]


def test_a_period_that_fails_is_monitored_again(loop: RetrainingLoop, stand: Stand) -> None:
    monitored(loop, stand, GOOD)
    for _ in range(2):
        with pytest.raises(UserError):
            loop.monitor_next()
    assert stand.monitored[1] == stand.monitored[2] != stand.monitored[0]


def test_the_first_period_is_that_of_the_first_decision(
    loop: RetrainingLoop, stand: Stand, log: dict[str, int]
) -> None:
    log["first"] = TRAINED + 2 * LENGTH + 5
    monitored(loop, stand, GOOD, GOOD)
    assert [start - TRAINED for start, *_ in stand.monitored] == [2 * LENGTH, 3 * LENGTH]


@pytest.mark.parametrize(("late", "over"), [(-1, False), (0, True)])
def test_a_period_that_goes_on_is_not_monitored_yet(
    loop: RetrainingLoop, stand: Stand, monkeypatch: pytest.MonkeyPatch, *, late: int, over: bool
) -> None:
    monkeypatch.setattr(time, "time", lambda: TRAINED + LENGTH + late)
    stand.verdicts = [GOOD]
    assert (loop.monitor_next() is not None) is over


def test_all_periods_that_were_missed_are_monitored(loop: RetrainingLoop, stand: Stand) -> None:
    stand.verdicts, stand.later = [GOOD, BAD, GOOD], [True, True, False]
    assert [verdict for _, verdict in loop.monitor_all()] == [GOOD, BAD, GOOD]


def test_without_a_champion_nothing_is_trained_or_monitored(
    loop: RetrainingLoop, stand: Stand, champions: list[Version], log: dict[str, int], tmp_path: Path
) -> None:
    champions.clear()
    log["requests"] = 0
    assert loop.reason_to_wait().startswith("The service has had no request yet")
    log["requests"] = 4
    assert loop.reason_to_wait().startswith("The registry has no champion yet")
    for ask in (loop.retrain_now, loop.monitor_next):
        with pytest.raises(UserError, match="no champion yet: run `make train`"):
            ask()
    assert loop.follow_verdict() is None
    assert (stand.done, stand.monitored, list(tmp_path.glob("*.json"))) == ([], [], [])


@pytest.mark.parametrize(
    ("latest", "periods", "waits"),
    [
        (TRAINED - 1, 0, True),  # as the rows of a smoke test, from before the champion's day
        (TRAINED, 0, False),
        (TRAINED - 1, 1, False),  # it had requests once: that it has none now is to be seen
    ],
)
def test_only_a_service_without_any_request_has_nothing_to_monitor(
    loop: RetrainingLoop, stand: Stand, log: dict[str, int], *, latest: int, periods: int, waits: bool
) -> None:
    monitored(loop, stand, *[GOOD] * periods)
    log.update(first=latest, latest=latest)
    assert bool(loop.reason_to_wait()) is waits
    if waits:
        assert loop.reason_to_wait() == (
            "The log holds no decision from 2025-09-01 on, when monitoring of the champion starts; "
            "4 earlier requests are not counted (smoke tests are logged too)."
        )


@pytest.mark.parametrize(("verdict", "action"), [(BAD, "retrain"), (PROVEN, "promote 5"), (GOOD, "")])
def test_a_verdict_is_followed_once(
    loop: RetrainingLoop, stand: Stand, verdict: RetrainingDecision, action: str
) -> None:
    assert loop.follow_verdict() is None  # nothing has been monitored yet
    monitored(loop, stand, verdict)
    first, second = loop.follow_verdict(), loop.follow_verdict()
    end = day_of(TRAINED + LENGTH)
    assert stand.done == ([f"{action} {end} against 4"] if action else [])
    assert (first is not None, second) == (bool(action), None)
    shadow = Path(loop.folder, "shadow")
    assert shadow.exists() is bool(action)
    assert not action or read_served_version(shadow).version == "5"


def test_a_promoted_challenger_does_not_answer_in_shadow(loop: RetrainingLoop, stand: Stand) -> None:
    stand.promoted = True
    monitored(loop, stand, BAD)
    assert loop.follow_verdict() is not None
    assert not Path(loop.folder, "shadow").exists()


def test_a_retraining_counts_for_the_pause_and_the_budget_whether_promoted_or_not(
    loop: RetrainingLoop, stand: Stand
) -> None:
    monitored(loop, stand, BAD)
    loop.follow_verdict()
    monitored(loop, stand, PROVEN)
    assert stand.monitored[-1][-1] == [TRAINED, TRAINED + LENGTH]
    loop.follow_verdict()  # trains nothing
    loop.retrain_now("2025-12-20")
    monitored(loop, stand, GOOD)
    assert stand.monitored[-1][-1] == [TRAINED, TRAINED + LENGTH, epoch_of("2025-12-20")]
    assert len(stand.done) == 3


def test_a_training_cut_short_after_the_promotion_is_repeated_as_it_was(
    loop: RetrainingLoop, stand: Stand, champions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    monitored(loop, stand, BAD)
    stand.promoted = True

    def killed(as_of: str, champion: Version) -> TrainingResult:
        stand._did(f"retrain {as_of}", champion)
        champions.append(replace(CHALLENGER, as_of=TRAINED + LENGTH))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stand, "retrain", killed)
        with pytest.raises(KeyboardInterrupt):
            loop.follow_verdict()
    assert loop.follow_verdict() is not None
    assert stand.done == [f"retrain {day_of(TRAINED + LENGTH)} against 4"] * 2
    assert loop.follow_verdict() is None


def test_a_period_monitored_while_a_training_runs_is_not_lost(
    loop: RetrainingLoop, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitored(loop, stand, BAD)

    def slow(as_of: str, champion: Version) -> TrainingResult:
        monitored(loop, stand, PROVEN)
        return stand._did(f"retrain {as_of}", champion)

    with monkeypatch.context() as patch:
        patch.setattr(stand, "retrain", slow)
        loop.follow_verdict()
    monitored(loop, stand, PROVEN)
    assert stand.monitored[-1][3:] == (2, [TRAINED, TRAINED + LENGTH])
    loop.follow_verdict()
    assert stand.done[-1] == f"promote 5 {day_of(TRAINED + 3 * LENGTH)} against 4"


def test_a_training_by_hand_counts_as_the_last_one(
    loop: RetrainingLoop, stand: Stand, champions: list[Version]
) -> None:
    """`make train` promotes a version past the loop: its age would have asked for another one at once."""
    monitored(loop, stand, GOOD)
    champions.append(replace(CHALLENGER, as_of=TRAINED + LENGTH))
    monitored(loop, stand, GOOD)
    assert stand.monitored[-1][-1] == [TRAINED, TRAINED + LENGTH]
    champions.append(CHAMPION)  # rolled back
    monitored(loop, stand, GOOD)
    assert stand.monitored[-1][-1] == [TRAINED, TRAINED + LENGTH]


def test_a_service_that_has_been_monitored_is_not_read_to_see_whether_it_can_be(
    loop: RetrainingLoop, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its log was decoded before each period."""

    def read(*_: object) -> int:
        raise AssertionError("the log is decoded")

    monitored(loop, stand, GOOD)
    monkeypatch.setattr(loops, "first_decision", read)
    assert loop.reason_to_wait() == ""
    stand.verdicts, stand.later = [GOOD, GOOD], [True, False]
    assert [verdict for _, verdict in loop.monitor_all()] == [GOOD, GOOD]


@pytest.mark.parametrize("as_of", ["2025-12-01", ""])
def test_a_training_on_request_is_as_of_the_day_or_of_the_latest(
    loop: RetrainingLoop, stand: Stand, as_of: str
) -> None:
    loop.retrain_now(as_of)
    latest = str(day_of(max(CONTRACT.split.test_end_at, TRAINED)))
    assert stand.done == [f"retrain {as_of or latest} against 4"]


def test_what_version_0_2_remembers_is_read(loop: RetrainingLoop) -> None:
    period = {"label_share": 0.5, "bad": True, "broken": ["x"], "start": 1, "end": 5}
    verdict = {"retrain": True, "reason": "old", "promote": ""}
    state = {"periods": [period], "until": 5, "heard": [3, 1], "trained": [2], "verdict": verdict}
    for done, pending in ((False, RetrainingDecision(retrain=True, reason="old")), (True, None)):
        (Path(loop.folder) / "periods.json").write_text(json.dumps(state | {"done": done}))
        assert (loop.state().log_offsets, loop.state().pending) == ((3, 1), pending)
    assert loop.state().periods == (PeriodSummary(0.5, bad=True, broken=("x",)),)

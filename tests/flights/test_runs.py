"""What is asked of the pipelines and what is remembered of them; the pipelines themselves are stand-ins."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import day, epoch
from fivestage.monitoring.exposition import exposed
from fivestage.monitoring.policy import PeriodSummary, RetrainingDecision
from fivestage.registry import versions as registry
from fivestage.registry.versions import Version
from pipelines import runs
from problem import PROBLEM
from steps import monitor as adapters
from steps.model import GateVerdict as Contest

TRAINED = epoch(day("2013-09-01"))
CHAMPION = Version("flight-disruption", "4", "digest", "run", TRAINED, "commit")
CHALLENGER = replace(CHAMPION, version="5")
PASSED = Contest(())
ALL = ""  # candidates are tried
LENGTH = PROBLEM.contract.monitoring.period_days * DAY


class Stand:
    """A stand-in for a pipeline: it keeps what it was given, and ends with the outputs of its steps."""

    def __init__(self, *outputs: dict[str, Any]) -> None:
        self.given: list[tuple[Any, ...]] = []
        self._outputs = list(outputs)

    def __call__(self, *given: Any) -> Any:
        self.given.append(given)
        if not self._outputs:
            return None  # a remote orchestrator
        outputs = self._outputs.pop(0)
        loaded = {
            step: SimpleNamespace(output=SimpleNamespace(load=lambda v=v: v)) for step, v in outputs.items()
        }
        return SimpleNamespace(steps=loaded)


@pytest.fixture
def champion(monkeypatch: pytest.MonkeyPatch) -> Version:
    monkeypatch.setattr(registry, "champion", lambda _name: CHAMPION)
    return CHAMPION


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "champion", lambda _name: None)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(PROBLEM), "digest", lambda _self: "data")
    monkeypatch.setattr(registry, "registry_key", lambda name: f"registry of {name}")


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Stand:
    stand = Stand({"train_model": CHALLENGER, "contest": PASSED, "crown": True})
    monkeypatch.setattr(runs, "training", stand)
    return stand


def test_a_champion_of_a_later_day_is_a_sentence(champion: Version, training: Stand) -> None:
    with pytest.raises(UserError, match=r"^The champion is of 2013-09-01, later than 2013-08-31: .*--as-of"):
        runs.train("2013-08-31")
    assert (training.given, champion.as_of) == ([], TRAINED)


@pytest.mark.usefixtures("champion")
def test_the_champion_of_the_day_itself_is_met(training: Stand) -> None:
    trained = runs.train("2013-09-01")
    assert training.given == [("data", "registry of flight-disruption", "2013-09-01", "4", ALL)]
    assert (trained.version, trained.contest, trained.promoted) == (CHALLENGER, PASSED, True)


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("as_of", ["2013-08-01", "2013-10-01"])
def test_afresh_there_is_no_champion(training: Stand, as_of: str) -> None:
    runs.train(as_of, afresh=True)
    assert [given[3] for given in training.given] == [""]


@pytest.mark.usefixtures("nobody")
def test_the_first_training_meets_nobody(training: Stand) -> None:
    runs.train("2013-08-01")
    assert training.given[0][3:] == ("", ALL)


@pytest.mark.usefixtures("champion")
def test_training_again_keeps_what_the_champion_is(training: Stand) -> None:
    runs.retrain("2013-10-01")
    assert training.given[0][2:] == ("2013-10-01", "4", "4")


@pytest.mark.usefixtures("nobody")
def test_without_a_champion_nothing_is_trained_again_or_watched(training: Stand, tmp_path: Path) -> None:
    for ask in (lambda: runs.retrain("2013-10-01"), lambda: runs.monitor_next(str(tmp_path))):
        with pytest.raises(UserError, match="flight-disruption has no champion yet: run `make train`"):
            ask()
    assert training.given == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nobody")
def test_a_remote_orchestrator_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("training", "scoring", "deployment", "monitoring"):
        monkeypatch.setattr(runs, name, Stand())
    for ask in (
        lambda: runs.train("2013-08-01"),
        lambda: runs.score(CHAMPION, "in.csv", "out.csv"),
        lambda: runs.deploy(CHAMPION, "folder"),
        lambda: runs.monitor("folder", 0, DAY),
    ):
        with pytest.raises(UserError, match="remote orchestrator"):
            ask()


@pytest.mark.usefixtures("nobody")
def test_a_run_that_failed_in_its_pods_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "training", lambda *_: SimpleNamespace(name="training-1", steps={}))
    with pytest.raises(UserError, match="training-1 ended before its step train_model was done"):
        runs.train("2013-08-01")


def watched(last_number: int, *broken: str, bad: bool) -> dict[str, Any]:
    """The outputs of a monitored period."""
    found = SimpleNamespace(
        performance=SimpleNamespace(label_share=0.95, bad=bad),
        broken=broken,
        shadow=None,
        last_number=last_number,
        last_shadow=last_number // 100,
    )
    return {"watch_period": found, "decide_retraining": RetrainingDecision(bad, f"after {last_number}")}


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the prediction log says of itself: its first decision."""
    found = {"first": TRAINED}
    monkeypatch.setattr(runs, "first_decision", lambda *_: found["first"])
    return found


@pytest.mark.usefixtures("champion", "logged")
def test_periods_follow_one_another_and_are_remembered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand = Stand(
        watched(120, bad=False), watched(300, "dest", "rows a day", bad=True), watched(301, bad=True)
    )
    monkeypatch.setattr(runs, "monitoring", stand)
    folder = str(tmp_path)
    assert [_reason(folder) for _ in range(3)] == ["after 120", "after 300", "after 301"]
    first = asdict(PeriodSummary(0.95, bad=False, broken=()))
    second = asdict(PeriodSummary(0.95, bad=True, broken=("dest", "rows a day")))
    ends = [TRAINED + number * LENGTH for number in range(4)]
    assert stand.given == [
        ("data", folder, ends[0], ends[1], (0, 0), [], [TRAINED]),
        ("data", folder, ends[1], ends[2], (120, 1), [first], [TRAINED]),
        ("data", folder, ends[2], ends[3], (300, 3), [first, second], [TRAINED]),
    ]


def _reason(folder: str) -> str:
    seen = runs.monitor_next(folder)
    assert seen is not None
    return seen[1].reason


@pytest.mark.usefixtures("champion", "logged")
def test_a_period_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand = Stand(watched(120, bad=False))
    monkeypatch.setattr(runs, "monitoring", stand)
    runs.monitor_next(str(tmp_path))
    for _ in range(2):
        with pytest.raises(UserError):
            runs.monitor_next(str(tmp_path))
    assert stand.given[1] == stand.given[2] != stand.given[0]


@pytest.mark.usefixtures("champion")
def test_the_first_period_is_that_of_the_first_decision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logged: dict[str, int]
) -> None:
    logged["first"] = TRAINED + 2 * LENGTH + 5
    stand = Stand(watched(120, bad=False), watched(130, bad=False))
    monkeypatch.setattr(runs, "monitoring", stand)
    for _ in range(2):
        runs.monitor_next(str(tmp_path))
    assert [given[2] - TRAINED for given in stand.given] == [2 * LENGTH, 3 * LENGTH]


@pytest.mark.usefixtures("champion", "logged")
def test_a_period_that_goes_on_is_not_watched_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand = Stand(watched(120, bad=False))
    monkeypatch.setattr(runs, "monitoring", stand)
    for late, over in ((-1, False), (0, True)):
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda late=late: TRAINED + LENGTH + late)
            assert (runs.monitor_next(str(tmp_path)) is not None) is over
    assert len(stand.given) == 1


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where Prometheus finds what monitoring has to tell."""
    path = tmp_path / "metrics" / "monitoring.prom"
    monkeypatch.setattr(adapters, "METRICS", path)
    return path


@pytest.mark.usefixtures("nobody")
def test_an_empty_log_is_no_failure_even_without_a_champion(tmp_path: Path, metrics: Path) -> None:
    before = time.time()
    assert runs.nothing_to_watch(str(tmp_path / "serving")).startswith("Nobody has asked the service yet")
    told = exposed(metrics)
    assert told["rows"] == 0
    assert told["ran_at_seconds"] >= before
    assert runs.act(str(tmp_path / "serving")) is None


@pytest.mark.usefixtures("nobody")
def test_answers_without_a_champion_wait_for_one_and_late_monitoring_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, metrics: Path
) -> None:
    monkeypatch.setattr(runs, "reaches", lambda *_: True)
    assert runs.nothing_to_watch(str(tmp_path)).startswith("The registry has no champion yet")
    assert not metrics.exists()


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize(("latest", "watched_before", "nothing"), [
    (TRAINED - 1, 0, True),  # as the rows of a smoke test, from before the champion's day
    (TRAINED, 0, False),
    (TRAINED - 1, 1, False),  # it was asked once, so that it no longer is is news
])  # fmt: skip
def test_only_a_service_that_was_never_asked_has_nothing_to_watch(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    metrics: Path,
    latest: int,
    watched_before: int,
    nothing: bool,  # noqa: FBT001 (a parameter of the test)
) -> None:
    monkeypatch.setattr(runs, "reaches", lambda _database, _contract, moment, _heard: latest >= moment)
    monkeypatch.setattr(runs, "first_decision", lambda *_: TRAINED)
    verdict_of(monkeypatch, tmp_path, *[GOOD] * watched_before)
    assert bool(runs.nothing_to_watch(str(tmp_path))) is nothing
    assert metrics.exists() is nothing


class Contests:
    """Stand-ins for what a verdict leads to; each keeps what it was asked for, and is refused."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.shadowing: list[str] = []
        self.wanted = True
        self.promoted = False

    def retrain(self, at: str, champion: Version) -> runs.Trained:
        return self._did("retrain", at, champion)

    def promote(self, version: str, at: str, champion: Version) -> runs.Trained:
        return self._did(f"promote {version}", at, champion)

    def _did(self, what: str, at: str, champion: Version) -> runs.Trained:
        self.done.append(f"{what} {at} against {champion.version}")
        return runs.Trained(CHALLENGER, PASSED, self.promoted, run=None)  # type: ignore[arg-type]


@pytest.fixture
def contests(monkeypatch: pytest.MonkeyPatch) -> Contests:
    found = Contests()
    monkeypatch.setattr(runs, "retrain", found.retrain)
    monkeypatch.setattr(runs, "promote", found.promote)
    monkeypatch.setattr(runs, "shadow", lambda _folder, version: found.shadowing.append(version.version))
    monkeypatch.setattr(runs, "no_longer_wanted", lambda: setattr(found, "wanted", False))
    monkeypatch.setattr(registry, "find", lambda _name, version: replace(CHAMPION, version=version))
    return found


def verdict_of(monkeypatch: pytest.MonkeyPatch, folder: Path, *verdicts: RetrainingDecision) -> list[Any]:
    """Watch a period for each verdict; what the pipeline was given."""
    stand = Stand(*(watched(120, bad=False) | {"decide_retraining": one} for one in verdicts))
    monkeypatch.setattr(runs, "monitoring", stand)
    for _ in verdicts:
        runs.monitor_next(str(folder))
    return stand.given


BAD = RetrainingDecision(retrain=True, reason="bad")
PROVEN = RetrainingDecision(retrain=False, reason="proven", promote="5")
GOOD = RetrainingDecision(retrain=False, reason="good")


@pytest.mark.usefixtures("champion", "logged")
@pytest.mark.parametrize(
    ("verdict", "called"),
    [
        (BAD, "retrain 2013-09-08 against 4"),
        (PROVEN, "promote 5 2013-09-08 against 4"),
        (GOOD, ""),
    ],
)
def test_what_a_verdict_asks_for_is_done_once(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    contests: Contests,
    verdict: RetrainingDecision,
    called: str,
) -> None:
    folder = str(tmp_path)
    assert runs.act(folder) is None  # nothing has been watched yet
    verdict_of(monkeypatch, tmp_path, verdict)
    first, second = runs.act(folder), runs.act(folder)
    assert contests.done == ([called] if called else [])
    assert (first is not None) is bool(called)
    assert second is None
    assert contests.shadowing == (["5"] if called else [])
    assert contests.wanted is not bool(called)


@pytest.mark.usefixtures("champion", "logged")
def test_a_retraining_counts_for_the_pause_and_the_budget_whether_promoted_or_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contests: Contests
) -> None:
    verdict_of(monkeypatch, tmp_path, BAD)
    runs.act(str(tmp_path))
    given = verdict_of(monkeypatch, tmp_path, PROVEN)
    assert given[0][6] == [TRAINED, TRAINED + LENGTH]
    runs.act(str(tmp_path))  # trains nothing
    runs.retrain_now(str(tmp_path), "2013-09-20")
    given = verdict_of(monkeypatch, tmp_path, GOOD)
    assert given[0][6] == [TRAINED, TRAINED + LENGTH, epoch(day("2013-09-20"))]
    assert len(contests.done) == 3


@pytest.mark.usefixtures("logged")
def test_a_contest_cut_short_after_the_promotion_is_held_again_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contests: Contests
) -> None:
    champions = [CHAMPION]
    monkeypatch.setattr(registry, "champion", lambda _name: champions[-1])
    verdict_of(monkeypatch, tmp_path, BAD)
    contests.promoted = True

    def killed(at: str, champion: Version) -> runs.Trained:
        contests.retrain(at, champion)
        champions.append(replace(CHALLENGER, as_of=TRAINED + LENGTH))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "retrain", killed)
        with pytest.raises(KeyboardInterrupt):
            runs.act(str(tmp_path))
    trained = runs.act(str(tmp_path))
    assert trained is not None
    assert contests.done == ["retrain 2013-09-08 against 4"] * 2
    assert runs.act(str(tmp_path)) is None


@pytest.mark.usefixtures("champion", "logged")
def test_a_period_watched_while_a_training_runs_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contests: Contests
) -> None:
    verdict_of(monkeypatch, tmp_path, BAD)

    def slow(at: str, champion: Version) -> runs.Trained:
        verdict_of(monkeypatch, tmp_path, PROVEN)
        return contests.retrain(at, champion)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "retrain", slow)
        runs.act(str(tmp_path))
    given = verdict_of(monkeypatch, tmp_path, PROVEN)
    assert len(given[0][5]) == 2  # periods
    assert given[0][6] == [TRAINED, TRAINED + LENGTH]
    runs.act(str(tmp_path))
    assert contests.done[-1] == "promote 5 2013-09-22 against 4"


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize(("as_of", "stood"), [("2013-12-01", "2013-12-01"), ("", "2014-01-01")])
def test_who_asks_for_a_training_gets_one_of_the_day_or_of_the_latest(
    tmp_path: Path, contests: Contests, as_of: str, stood: str
) -> None:
    runs.retrain_now(str(tmp_path), as_of)
    assert contests.done == [f"retrain {stood} against 4"]

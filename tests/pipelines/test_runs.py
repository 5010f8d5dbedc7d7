"""What is asked of the pipelines and what is remembered of them; the pipelines themselves are stand-ins."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.clock import DAY
from core.contract import day, epoch, load_contract
from core.errors import UserError
from monitoring.policy import Period, Verdict
from pipelines import runs
from serving.calibration import Calibration
from steps.model import registry
from steps.model.adapters import Verdict as Contest
from steps.model.fit import Trees
from steps.model.registry import Version
from steps.model.select import Selection

TRAINED = epoch(day("2013-09-01"))
CHAMPION = Version("flight-disruption", "4", "digest", "run", TRAINED, "commit")
CHALLENGER = replace(CHAMPION, version="5")
PASSED = Contest(())
LENGTH = load_contract().monitoring.period_days * DAY


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
    monkeypatch.setattr(runs, "data_digest", lambda: "data")
    monkeypatch.setattr(registry, "registry_key", lambda name: f"registry of {name}")


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Stand:
    stand = Stand({"build": CHALLENGER, "contest": PASSED, "crown": True})
    monkeypatch.setattr(runs, "training", stand)
    return stand


def test_a_champion_of_a_later_day_is_a_sentence(champion: Version, training: Stand) -> None:
    with pytest.raises(UserError, match=r"^The champion is of 2013-09-01, later than 2013-08-31: .*--as-of"):
        runs.train("2013-08-31")
    assert (training.given, champion.as_of) == ([], TRAINED)


@pytest.mark.usefixtures("champion")
def test_the_champion_of_the_day_itself_is_met(training: Stand) -> None:
    trained = runs.train("2013-09-01")
    assert training.given == [("data", "registry of flight-disruption", "2013-09-01", "4", [])]
    assert (trained.version, trained.contest, trained.promoted) == (CHALLENGER, PASSED, True)


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("as_of", ["2013-08-01", "2013-10-01"])
def test_afresh_there_is_no_champion(training: Stand, as_of: str) -> None:
    runs.train(as_of, afresh=True)
    assert [given[3] for given in training.given] == [""]


@pytest.mark.usefixtures("nobody")
def test_the_first_training_meets_nobody(training: Stand) -> None:
    tried = (Trees(0.1, 5, 10),)
    runs.train("2013-08-01", tried)
    assert training.given[0][3:] == ("", [asdict(tried[0])])


@pytest.mark.usefixtures("champion")
def test_training_again_takes_the_champions_trees(training: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Trees(learning_rate=0.07, leaves=9, count=33)
    monkeypatch.setattr(runs, "load_record", lambda _version, _kind: Selection(own, Calibration(1.0), ()))
    runs.retrain("2013-10-01")
    assert training.given[0][2:] == ("2013-10-01", "4", [asdict(own)])


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


def watched(last_number: int, *broken: str, bad: bool) -> dict[str, Any]:
    """The outputs of a monitored period."""
    found = SimpleNamespace(
        performance=SimpleNamespace(label_share=0.95, bad=bad),
        broken=broken,
        shadow=None,
        last_number=last_number,
        last_shadow=last_number // 100,
    )
    return {"watch_period": found, "decide_retraining": Verdict(bad, f"after {last_number}")}


@pytest.mark.usefixtures("champion")
def test_periods_follow_one_another_and_are_remembered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand = Stand(
        watched(120, bad=False), watched(300, "dest", "rows a day", bad=True), watched(301, bad=True)
    )
    monkeypatch.setattr(runs, "monitoring", stand)
    folder = str(tmp_path)
    verdicts = [runs.monitor_next(folder)[1].reason for _ in range(3)]
    assert verdicts == ["after 120", "after 300", "after 301"]
    first = asdict(Period(0.95, bad=False, broken=()))
    second = asdict(Period(0.95, bad=True, broken=("dest", "rows a day")))
    ends = [TRAINED + number * LENGTH for number in range(4)]
    assert stand.given == [
        ("data", folder, ends[0], ends[1], (0, 0), [], [TRAINED]),
        ("data", folder, ends[1], ends[2], (120, 1), [first], [TRAINED]),
        ("data", folder, ends[2], ends[3], (300, 3), [first, second], [TRAINED]),
    ]


@pytest.mark.usefixtures("champion")
def test_a_period_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand = Stand(watched(120, bad=False))
    monkeypatch.setattr(runs, "monitoring", stand)
    runs.monitor_next(str(tmp_path))
    for _ in range(2):
        with pytest.raises(UserError):
            runs.monitor_next(str(tmp_path))
    assert stand.given[1] == stand.given[2] != stand.given[0]


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize(
    ("verdict", "called"),
    [
        (Verdict(retrain=True, reason="bad"), "retrain 2013-09-08"),
        (Verdict(retrain=False, reason="proven", promote="5"), "promote 5 2013-09-08"),
        (Verdict(retrain=False, reason="good"), ""),
    ],
)
def test_what_a_verdict_asks_for_is_done_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verdict: Verdict, called: str
) -> None:
    folder, done, shadowing = str(tmp_path), [], []
    refused = runs.Trained(CHALLENGER, PASSED, promoted=False, run=None)  # type: ignore[arg-type]

    def did(*words: str) -> runs.Trained:
        done.append(" ".join(words))
        return refused

    monkeypatch.setattr(runs, "retrain", lambda at: did("retrain", at))
    monkeypatch.setattr(runs, "promote", lambda version, at: did("promote", version, at))
    monkeypatch.setattr(runs, "shadow", lambda _folder, version: shadowing.append(version.version))
    assert runs.act(folder) is None  # nothing has been watched yet
    seen = watched(120, bad=False) | {"decide_retraining": verdict}
    monkeypatch.setattr(runs, "monitoring", Stand(seen))
    runs.monitor_next(folder)
    first, second = runs.act(folder), runs.act(folder)
    assert done == ([called] if called else [])
    assert first == (refused if called else None)
    assert second is None
    assert shadowing == (["5"] if called else [])

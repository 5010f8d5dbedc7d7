"""The arguments that pipelines receive and the results that come back; stand-ins replace the pipelines."""

from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import epoch_of
from fivestage.evaluation.gates import GateVerdict
from fivestage.registry.versions import ModelRegistry, Version
from pipelines import runs
from problem import PROBLEM

TRAINED = epoch_of("2013-09-01")
CHAMPION = Version(PROBLEM.contract.name, "4", "digest", "run", TRAINED, "commit")
CHALLENGER = replace(CHAMPION, version="5")
PASSED = GateVerdict(())
ALL = ""  # no settings to reuse: all candidates are compared


class PipelineStub:
    """A stand-in for a pipeline: it records its arguments and returns the outputs of its steps."""

    def __init__(self, *outputs: dict[str, Any]) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._outputs = list(outputs)

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        if not self._outputs:
            return None  # as with a remote orchestrator
        outputs = self._outputs.pop(0)
        loaded = {
            step: SimpleNamespace(output=SimpleNamespace(load=lambda v=v: v)) for step, v in outputs.items()
        }
        return SimpleNamespace(steps=loaded)


@pytest.fixture
def champion(monkeypatch: pytest.MonkeyPatch) -> Version:
    monkeypatch.setattr(ModelRegistry, "champion", lambda _registry: CHAMPION)
    return CHAMPION


@pytest.fixture
def no_champion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelRegistry, "champion", lambda _registry: None)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PROBLEM", SimpleNamespace(contract=PROBLEM.contract, digest=lambda: "data"))
    monkeypatch.setattr(ModelRegistry, "key", lambda registry: f"registry of {registry.name}")


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> PipelineStub:
    stand = PipelineStub(
        {"train_model": CHALLENGER, "evaluate_challenger": PASSED, "promote_challenger": True}
    )
    monkeypatch.setattr(runs, "training", stand)
    return stand


def test_a_champion_of_a_later_day_is_a_sentence(champion: Version, training: PipelineStub) -> None:
    with pytest.raises(UserError, match=r"^The champion is of 2013-09-01, later than 2013-08-31: .*--as-of"):
        runs.train("2013-08-31")
    assert (training.calls, champion.as_of) == ([], TRAINED)


@pytest.mark.usefixtures("champion")
def test_the_champion_of_the_day_itself_is_met(training: PipelineStub) -> None:
    trained = runs.train("2013-09-01")
    assert training.calls == [("data", f"registry of {PROBLEM.contract.name}", "2013-09-01", "4", ALL, False)]
    assert (trained.version, trained.gates, trained.promoted) == (CHALLENGER, (), True)


@pytest.mark.parametrize(("current", "first"), [(CHAMPION, "2013-09-01"), (None, "2013-08-01")])
def test_by_default_the_day_is_the_champions_where_that_is_later(
    training: PipelineStub, monkeypatch: pytest.MonkeyPatch, current: Version | None, first: str
) -> None:
    monkeypatch.setattr(ModelRegistry, "champion", lambda _registry: current)
    contract = SimpleNamespace(split=SimpleNamespace(test_start=date(2013, 8, 1)), name=PROBLEM.contract.name)
    monkeypatch.setattr(runs, "PROBLEM", SimpleNamespace(contract=contract, digest=lambda: "data"))
    runs.train()
    assert training.calls[0][2] == first


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("as_of", ["2013-08-01", "2013-10-01"])
def test_from_scratch_there_is_no_champion(training: PipelineStub, as_of: str) -> None:
    runs.train(as_of, from_scratch=True)
    assert [arguments[3:] for arguments in training.calls] == [("", ALL, True)]


@pytest.mark.usefixtures("no_champion")
def test_the_first_training_meets_nobody(training: PipelineStub) -> None:
    runs.train("2013-08-01")
    assert training.calls[0][3:] == ("", ALL, False)


def test_training_again_keeps_what_the_champion_is(training: PipelineStub) -> None:
    runs.retrain("2013-10-01", CHAMPION)
    assert training.calls[0][2:] == ("2013-10-01", "4", "4", False)


def test_a_re_evaluation_names_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = PipelineStub(
        {"find_version": CHALLENGER, "evaluate_challenger": PASSED, "promote_challenger": False}
    )
    monkeypatch.setattr(runs, "re_evaluation", stand)
    assert not runs.re_evaluate("5", "2013-10-01", CHAMPION).promoted
    assert stand.calls == [("data", "5", "2013-10-01", "4")]


@pytest.mark.usefixtures("no_champion")
def test_a_remote_orchestrator_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("training", "scoring", "deployment"):
        monkeypatch.setattr(runs, name, PipelineStub())
    monkeypatch.setattr("pipelines.monitoring.monitoring", PipelineStub())
    for run in (
        lambda: runs.train("2013-08-01"),
        lambda: runs.score(CHAMPION, "in.csv", "out.csv"),
        lambda: runs.deploy(CHAMPION, "folder"),
        lambda: runs.monitor("folder", 0, DAY),
    ):
        with pytest.raises(UserError, match="remote orchestrator"):
            run()


@pytest.mark.usefixtures("no_champion")
def test_a_run_that_failed_in_its_pods_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "training", lambda *_: SimpleNamespace(name="training-1", steps={}))
    with pytest.raises(UserError, match="training-1 ended before its step train_model was done"):
        runs.train("2013-08-01")

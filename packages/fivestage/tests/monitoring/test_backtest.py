"""Each retraining policy is simulated on weeks made to its measure, and all of them on some of a problem."""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fivestage.common.clock import DAY
from fivestage.common.columns import Floats, Ints
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.monitoring import backtest as years
from fivestage.monitoring.backtest import (
    SHADOW_ONLY,
    BacktestData,
    PolicyBacktest,
    compare_policies,
    policies_with,
    simulate,
)
from fivestage.monitoring.retraining import (
    RetrainingDecision,
    RetrainingHistory,
    ShadowScore,
    saved_by_day,
)
from tests.synthetic import boosting, changed, prepared, synthetic_problem

WEEKS = 20
WEEK = 7 * DAY
ROWS = 10  # a day
CONTRACT = changed(synthetic_problem("binary").contract, monitoring={"max_age_days": 28, "proof_days": 14})


def decide(history: RetrainingHistory) -> RetrainingDecision:
    """A project's policy: a proven gain is promoted, bad periods and age ask for a training."""
    rules = history.rules
    if history.broken:
        return RetrainingDecision(retrain=False, reason="broken")
    if promotion := history.proven_challenger():
        return promotion
    bad = history.bad
    old = history.days_since_training >= rules.max_age_days
    asked = old or (sum(bad) >= rules.bad_periods and bad[-1])
    return RetrainingDecision(retrain=asked and not history.must_wait(), reason="due")


POLICIES = policies_with(decide)


@dataclass(frozen=True)
class Weeks:
    """A stand-in for a `BacktestData` in which a model costs `aging` more a row with each week of its age."""

    contract: Contract
    bad: tuple[int, ...] = ()  # weeks
    drifted: tuple[int, ...] = ()
    broken: tuple[int, ...] = ()
    aging: float = 0.0
    wins: bool = True  # each challenger against the champion
    start: int = 100 * WEEK
    delay: int = 0  # weeks, until a period's labels are known

    @property
    def rows(self) -> range:
        return range(WEEKS * 7 * ROWS)

    @property
    def day(self) -> Ints:
        return self.start // DAY + np.arange(WEEKS * 7).repeat(ROWS)

    def starts(self) -> range:
        return range(self.start, self.start + WEEKS * WEEK, WEEK)

    def inside(self, start: int, end: int) -> Ints:
        return np.flatnonzero((self.day >= start // DAY) & (self.day < end // DAY))

    def costs(self, as_of: int, where: Ints) -> Floats:
        return 100 + self.aging * (self.day[where] - as_of // DAY) / 7

    def judged(self, _as_of: int, start: int, end: int, known_by: int) -> Any:
        known = known_by >= end + self.delay * WEEK
        return SimpleNamespace(label_share=float(known), bad=known and self._week(start) in self.bad)

    def moved(self, start: int, _end: int) -> tuple[bool, tuple[str, ...]]:
        week = self._week(start)
        return week in self.drifted, ("temp",) if week in self.broken else ()

    def shadow(self, challenger: int, champion: int, start: int, end: int, _known_by: int) -> ShadowScore:
        here = self.inside(start, end)
        saved = self.costs(champion, here) - self.costs(challenger, here)
        return saved_by_day(str(challenger), saved, self.day[here])

    def passes(self, challenger: int, champion: int, at: int) -> bool:
        assert champion < challenger <= at
        return self.wins

    def _week(self, start: int) -> int:
        return (start - self.start) // WEEK


def weeks(**given: Any) -> Any:
    return Weeks(CONTRACT, **given)


def lived(policy: str, year: Any, phase: int = 0) -> tuple[list[int], list[int]]:
    """The weeks at whose end was trained, and promoted."""
    first = policy not in SHADOW_ONLY
    backtest: PolicyBacktest = simulate(year, POLICIES[policy], phase, evaluate_first=first)
    return tuple([(at - year.start) // WEEK for at in some] for some in (backtest.trained, backtest.promoted))  # type: ignore[return-value]


def test_never_trains_whatever_comes() -> None:
    everything = tuple(range(WEEKS))
    assert lived("never", weeks(bad=everything, drifted=everything, aging=50.0)) == ([], [])


def test_by_the_calendar_a_training_follows_every_four_periods_until_the_budget_is_spent() -> None:
    assert lived("every 4 periods", weeks()) == ([4, 8, 12, 16], [4, 8, 12, 16])
    poor = changed(CONTRACT, budget={"retrainings_per_year": 2})
    assert lived("every 4 periods", replace(weeks(wins=False), contract=poor)) == ([4, 8], [])


def test_on_drift_a_training_follows_what_moved_and_is_whole_after_the_pause() -> None:
    assert lived("on drift", weeks(drifted=(3, 4, 5, 6, 9), broken=(9,))) == ([4, 7], [4, 7])


def test_on_performance_two_bad_periods_of_three_ask() -> None:
    assert lived("on performance", weeks(bad=(4, 6, 10), drifted=(1, 2))) == ([7], [7])
    assert lived("on performance", weeks()) == ([], [])  # no age asks


def test_labels_that_are_late_make_a_period_bad_once_they_arrive() -> None:
    assert lived("on performance", weeks(bad=(4, 6, 10), delay=2)) == ([9], [9])
    assert lived("on performance", weeks(bad=(4, 6, 10), delay=10)) == ([], [])  # no label in eight weeks


@dataclass(frozen=True)
class FirstModelIsBad(Weeks):
    """Weeks that only the first model predicts badly, from the third on."""

    def judged(self, as_of: int, start: int, end: int, known_by: int) -> Any:
        found = super().judged(as_of, start, end, known_by)
        found.bad = bool(found.label_share) and as_of == self.start and self._week(start) >= 2
        return found


@pytest.mark.parametrize("delay", [0, 2, 4])
def test_late_labels_of_a_replaced_model_do_not_ask_for_another_training(delay: int) -> None:
    trained, promoted = lived("on performance", FirstModelIsBad(CONTRACT, delay=delay))
    assert trained == promoted == [4 + delay]


def test_on_proven_gain_a_challenger_takes_over_once_its_shadow_has_saved() -> None:
    trained, promoted = lived("on proven gain", weeks(aging=10.0))
    assert trained[0] == 4
    assert promoted[0] == 6  # the contract's days of proof
    assert lived("on proven gain", weeks(aging=10.0, wins=False))[1] == []
    assert lived("on proven gain", weeks())[1] == []


def test_as_the_contract_says_age_asks_and_broken_data_wait() -> None:
    assert lived("as the contract says", weeks())[0] == [4, 8, 12, 16]
    assert lived("as the contract says", weeks(broken=(3, 4)))[0][0] == 6


def test_in_another_phase_a_policy_that_goes_by_age_trains_earlier() -> None:
    for name in ("every 4 periods", "as the contract says"):
        assert [lived(name, weeks(), phase)[0][0] for phase in range(4)] == [4, 3, 2, 1]


def test_what_a_policy_saves_is_less_by_the_price_of_its_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    some = {name: POLICIES[name] for name in ("never", "every 4 periods")}
    monkeypatch.setattr(years, "policies_with", lambda _: some)
    price = CONTRACT.budget.retraining_cost
    never, often = compare_policies(weeks(wins=False), decide, lambda _: None).policies
    assert (never.trainings, never.training_cost, never.saved.value) == (0, 0, 0)
    trainings = (4 + 5 + 5 + 5) / 4  # of 20 weeks, in the mean of four phases
    assert (often.trainings, often.promoted, often.training_cost) == (trainings, 0, trainings * price)
    assert often.decisions_cost == never.decisions_cost
    decisions = WEEKS * 7 * ROWS
    assert often.saved.value == pytest.approx(-trainings * price / decisions * 1000)
    assert often.by_day[-1] == pytest.approx(-trainings * price)
    _, better = compare_policies(weeks(aging=10.0), decide, lambda _: None).policies
    saved = never_again(10.0) - trainings * price
    assert better.by_day[-1] == pytest.approx(saved)
    assert better.saved.low > 0
    assert better.saved.value == pytest.approx(saved / decisions * 1000)


def never_again(aging: float) -> float:
    """What models of four weeks at most save against one of all the weeks, in the mean of four phases."""
    ages = np.arange(WEEKS * 7) / 7
    younger = [np.where(ages >= 4 - phase, ages - (ages + phase) % 4, 0).sum() for phase in range(4)]
    return float(aging * ROWS * np.mean(younger))


def year_of(folder: Path, days: int = 140, **rules: Any) -> BacktestData:
    """The first days of the synthetic problem."""
    one = prepared("binary")
    first = one.rows["decision_at"] < one.rows["decision_at"].min() + days * DAY
    contract = changed(CONTRACT, monitoring=rules)
    return BacktestData(one.rows[first], one.features[first], contract, boosting("binary"), folder)


def test_weeks_are_simulated_and_an_interrupted_comparison_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    year = year_of(tmp_path, reference_days=28)
    found = compare_policies(year, decide, lambda _: None)
    assert [one.name for one in found.policies] == list(POLICIES)
    calendar = next(one for one in found.policies if one.name.startswith("every"))
    weeks_on = len(year.starts()) - 1
    assert calendar.trainings == np.mean([(weeks_on + phase) // years.CADENCE for phase in range(4)])
    for one in found.policies:
        assert one.decisions_cost > 0
        assert one.saved.low <= one.saved.value <= one.saved.high
        money = found.policies[0].decisions_cost - one.decisions_cost - one.training_cost
        assert one.by_day[-1] == pytest.approx(money)
    assert found.policies[0].name == "never"

    def again(*_: Any) -> Any:
        raise AssertionError("what has been done is done again")

    monkeypatch.setattr(BacktestData, "_train", again)
    assert compare_policies(year_of(tmp_path, reference_days=28), decide, lambda _: None) == found


def test_too_few_days_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no period is left to compare policies in"):
        compare_policies(year_of(tmp_path, days=40), decide, lambda _: None)


def test_the_backtest_and_the_report_do_not_import_evidently() -> None:
    """Its import takes seconds, which commands that monitor nothing would wait for."""
    program = "import sys, fivestage.reporting.report; sys.exit('evidently' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)

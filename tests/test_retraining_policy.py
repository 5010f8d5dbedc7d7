"""Tests of monitoring/policy.py: when it trains again, and when it waits. Change both together."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivestage.common.clock import DAY
from fivestage.contract.contract import Budget, MonitoringSettings
from fivestage.monitoring.retraining import PeriodSummary, RetrainingDecision, RetrainingHistory, ShadowScore
from monitoring.policy import decide as decide_on
from problem import PROBLEM

RULES = MonitoringSettings(
    period_days=7,
    bad_periods=2,
    of_periods=3,
    reference_days=56,
    false_alarm=0.01,
    max_bias=0.04,
    min_label_share=0.9,
    cooldown_days=21,
    max_age_days=100,
)
BUDGET = Budget(training_minutes=10.0, retrainings_per_year=2, retraining_cost=5.0)
NOW = 1000 * DAY

GOOD = PeriodSummary(1.0, bad=False, broken=())
BAD = PeriodSummary(1.0, bad=True, broken=())
LATE = PeriodSummary(0.5, bad=True, broken=())
BROKEN = PeriodSummary(1.0, bad=True, broken=("temp",))
BAD_BEFORE = replace(BAD, version="1")
GOOD_SINCE, BAD_SINCE, LATE_SINCE = (replace(one, version="2") for one in (GOOD, BAD, LATE))

any_period = st.builds(
    PeriodSummary,
    st.sampled_from([0.2, 0.9, 1.0]),
    st.booleans(),
    st.sampled_from([(), ("temp", "wind")]),
    version=st.sampled_from(["1", "2"]),
)
any_periods = st.lists(any_period, max_size=8)
any_trained = st.lists(st.integers(0, NOW), max_size=4).map(sorted)
any_rules = st.builds(
    lambda of, bad, days: RULES.model_copy(
        update={
            "of_periods": of,
            "bad_periods": min(of, bad),
            "cooldown_days": days,
            "max_age_days": NOW,  # age is tested separately
        }
    ),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([0, 21, 500]),
)


def decide(
    periods: list[PeriodSummary], trained: list[int], now: int, rules: MonitoringSettings, budget: Budget
) -> RetrainingDecision:
    contract = PROBLEM.contract.model_copy(update={"monitoring": rules, "budget": budget})
    return decide_on(RetrainingHistory(periods, trained, now, contract))


@pytest.mark.parametrize(
    ("periods", "trained", "retrain", "reason"),
    [
        ([BAD, GOOD, BAD], [], True, "2 of the last 3 judged periods bad, the latest among them"),
        ([BAD, BAD], [], True, "2 of the last 2"),
        ([BAD, BAD], [NOW + DAY], False, "but it has been trained since"),
        ([BAD, BAD, LATE], [], True, "2 of the last 2"),
        ([BAD, BAD, GOOD], [], False, "the latest judged period was good"),
        ([BAD, GOOD, GOOD, BAD], [], False, "1 of the last 3 judged periods bad, 2 of 3 are needed"),
        ([LATE, LATE], [], False, "no period has 90% of its labels yet"),
        ([], [], False, "no period"),
        ([BAD_BEFORE, BAD_BEFORE, LATE_SINCE], [], False, "no period of version 2 has 90% of its labels yet"),
        ([BAD_BEFORE, BAD_BEFORE, BAD_SINCE], [], False, "1 of the last 3 judged periods bad"),
        ([BAD_BEFORE, BAD_BEFORE, GOOD_SINCE], [], False, "the latest judged period was good, 0 of the last"),
        ([BAD_BEFORE, BAD_SINCE, BAD_SINCE], [], True, "2 of the last 3"),
        ([BAD, BAD, BROKEN], [], False, "blocked, the data are broken: temp"),
        ([BAD, BROKEN, GOOD, BAD], [], False, "1 of the last 3"),
        ([BAD, BAD], [NOW - 20 * DAY], False, "only 20 days old"),
        ([BAD, BAD], [NOW - 21 * DAY], True, "2 of the last 2"),
        ([BAD, BAD], [0, NOW - 364 * DAY, NOW - 21 * DAY], False, "the year's 2 retrainings are spent"),
        ([BAD, BAD], [0, NOW - 365 * DAY, NOW - 21 * DAY], True, "2 of the last 2"),
        ([BAD, BAD], [NOW - 364 * DAY, NOW - 22 * DAY, NOW - 21 * DAY], False, "are spent"),
        ([GOOD], [NOW - 99 * DAY], False, "the latest judged period was good"),
        ([GOOD], [], False, "the latest judged period was good, 0 of 1 judged period bad"),
        ([GOOD], [NOW - 100 * DAY], True, "the last training is 100 days old"),
        ([], [NOW - 100 * DAY], True, "the last training is 100 days old"),
        ([GOOD, BROKEN], [NOW - 100 * DAY], False, "blocked, the data are broken: temp"),
        ([GOOD], [0, NOW - 300 * DAY, NOW - 100 * DAY], False, "the year's 2 retrainings are spent"),
    ],
)
def test_each_rule(periods: list[PeriodSummary], trained: list[int], reason: str, *, retrain: bool) -> None:
    verdict = decide(periods, trained, NOW, RULES, BUDGET)
    assert verdict.retrain is retrain
    assert reason in verdict.reason


@given(any_periods, any_trained, any_rules)
def test_a_retraining_has_its_reasons(
    periods: list[PeriodSummary], trained: list[int], rules: MonitoringSettings
) -> None:
    if decide(periods, trained, NOW, rules, BUDGET).retrain:
        judged = [period for period in periods if period.label_share >= 0.9]
        bad = [period for period in judged[-rules.of_periods :] if period.bad and not period.broken]
        bad = [period for period in bad if period.version == periods[-1].version]
        assert not periods[-1].broken
        assert judged[-1].bad
        assert len(bad) >= rules.bad_periods


@given(any_periods, any_trained, any_rules, st.data())
def test_a_period_turned_bad_never_takes_a_retraining_back(
    periods: list[PeriodSummary], trained: list[int], rules: MonitoringSettings, data: st.DataObject
) -> None:
    worse = [replace(period, bad=period.bad or data.draw(st.booleans())) for period in periods]
    before, after = (decide(some, trained, NOW, rules, BUDGET).retrain for some in (periods, worse))
    assert after >= before


@given(any_periods, any_trained, any_rules, st.integers(0, NOW))
def test_another_retraining_or_broken_data_never_asks_for_one(
    periods: list[PeriodSummary], trained: list[int], rules: MonitoringSettings, at: int
) -> None:
    before = decide(periods, trained, NOW, rules, BUDGET).retrain
    assert decide(periods, sorted([*trained, at]), NOW, rules, BUDGET).retrain <= before
    assert not decide([*periods, BROKEN], trained, NOW, rules, BUDGET).retrain


@given(any_periods, any_trained, any_rules)
def test_looser_rules_never_take_a_retraining_back(
    periods: list[PeriodSummary], trained: list[int], rules: MonitoringSettings
) -> None:
    looser = rules.model_copy(update={"bad_periods": 1, "cooldown_days": 0})
    more = BUDGET.model_copy(update={"retrainings_per_year": 100})
    before = decide(periods, trained, NOW, rules, BUDGET).retrain
    assert decide(periods, trained, NOW, looser, more).retrain >= before


def shadowed(days: int, saved: float, version: str = "7", *broken: str) -> PeriodSummary:
    """Return a good period in which a challenger would have saved about `saved` per day."""
    by_day = tuple(saved * (0.5 if day % 2 else 1.5) for day in range(days))
    return PeriodSummary(1.0, bad=False, broken=broken, shadow=ShadowScore(version, by_day, (900,) * days))


def test_a_challenger_is_promoted_once_its_gain_is_proven() -> None:
    one, other = shadowed(7, 2000.0), shadowed(7, 2000.0, "8")
    verdict = decide([one, one], [NOW - 14 * DAY], NOW, RULES, BUDGET)
    assert (verdict.retrain, verdict.promote) == (False, "7")
    assert "version 7 in shadow saves 2,381 per 1,000 decisions over 14 days" in verdict.reason
    for periods in ([one], [one, other], [one, shadowed(7, -2000.0)], [one, one, GOOD]):
        assert not decide(periods, [NOW - 14 * DAY], NOW, RULES, BUDGET).promote
    few_labels = replace(one, label_share=0.5)  # those that come first are a selection
    assert not decide([one, few_labels], [NOW - 14 * DAY], NOW, RULES, BUDGET).promote
    broken = decide([one, one, shadowed(7, 2000.0, "7", "temp")], [NOW - 21 * DAY], NOW, RULES, BUDGET)
    assert not broken.promote
    assert broken.reason.startswith("blocked")


def test_a_gain_over_an_earlier_champion_is_no_proof() -> None:
    before, since = (replace(shadowed(7, 2000.0), version=version) for version in ("1", "2"))
    assert not decide([before, since], [NOW - 14 * DAY], NOW, RULES, BUDGET).promote
    assert decide([before, since, since], [NOW - 14 * DAY], NOW, RULES, BUDGET).promote == "7"


def test_a_budget_of_none_never_trains_and_a_pause_longer_than_a_year_holds() -> None:
    none = BUDGET.model_copy(update={"retrainings_per_year": 0})
    verdict = decide([BAD, BAD], [NOW - 99 * DAY], NOW, RULES, none)
    assert (verdict.retrain, verdict.reason) == (
        False,
        "2 of the last 2 judged periods bad, the latest among them, but the budget has no retraining",
    )
    patient = RULES.model_copy(update={"cooldown_days": 400, "max_age_days": 500})
    assert not decide([BAD, BAD], [NOW - 399 * DAY], NOW, patient, BUDGET).retrain
    assert decide([BAD, BAD], [NOW - 400 * DAY], NOW, patient, BUDGET).retrain


def test_a_gain_within_its_interval_proves_nothing() -> None:
    noisy = PeriodSummary(
        1.0, bad=False, broken=(), shadow=ShadowScore("7", (9000.0, -7000.0) * 7, (900,) * 14)
    )
    assert not decide([noisy], [NOW - 14 * DAY], NOW, RULES, BUDGET).promote

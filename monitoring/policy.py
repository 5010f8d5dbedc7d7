"""When to train again, and when a challenger takes over: pure functions of the periods, yours to change."""

from collections.abc import Sequence

from fivestage.contract.contract import Budget, MonitoringSettings
from fivestage.monitoring.retraining import (
    PeriodSummary,
    RetrainingDecision,
    days,
    idle_days,
    proven,
    unaffordable,
)


def decide(
    periods: Sequence[PeriodSummary],
    trained: Sequence[int],
    now: int,
    rules: MonitoringSettings,
    budget: Budget,
    confidence: float = 0.9,
) -> RetrainingDecision:
    """What to do at `now`, after these periods and trainings (epoch seconds), oldest first.

    1. Broken data blocks everything, as a model must not learn a fault.
    2. A challenger whose gain in shadow is proven takes over: nothing needs to be trained.
    3. A training is due when the last one, promoted or not, is `max_age_days` old, or when the latest period
       with enough labels was bad, and with it `bad_periods` of the last `of_periods`.
    4. The pause since the last training and the year's budget come last.
    """
    broken = periods[-1].broken if periods else ()
    if broken:
        return RetrainingDecision(retrain=False, reason=f"blocked, the data are broken: {', '.join(broken)}")
    if promotion := proven(periods, rules, confidence):
        return promotion
    due = why_due(periods, trained, now, rules)
    if not due.retrain:
        return due
    if spent := unaffordable(trained, now, rules, budget):
        return RetrainingDecision(retrain=False, reason=f"{due.reason}, but {spent}")
    return due


def why_due(
    periods: Sequence[PeriodSummary], trained: Sequence[int], now: int, rules: MonitoringSettings
) -> RetrainingDecision:
    """Whether age or bad periods ask for a training; a period of broken data counts for nothing."""
    age = idle_days(trained, now, rules)
    if age >= rules.max_age_days:
        return RetrainingDecision(retrain=True, reason=f"the last training is {days(age)} old")
    judged = [period for period in periods if period.label_share >= rules.min_label_share]
    last = [period.bad and not period.broken for period in judged[-rules.of_periods :]]
    judged_periods = "1 judged period" if len(last) == 1 else f"the last {len(last)} judged periods"
    found = f"{sum(last)} of {judged_periods} bad"
    if not judged:
        reason = f"no period has {rules.min_label_share:.0%} of its labels yet"
    elif not last[-1]:
        reason = f"the latest judged period was good, {found}"
    elif sum(last) < rules.bad_periods:
        reason = f"{found}, {rules.bad_periods} of {rules.of_periods} are needed"
    else:
        return RetrainingDecision(retrain=True, reason=f"{found}, the latest among them")
    return RetrainingDecision(retrain=False, reason=reason)

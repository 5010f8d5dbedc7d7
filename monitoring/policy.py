"""When to train again, and when a challenger takes over: pure functions of the periods, yours to change."""

from fivestage.monitoring.retraining import RetrainingDecision, RetrainingHistory


def decide(history: RetrainingHistory) -> RetrainingDecision:
    """What to do now, after these periods and trainings.

    1. Broken data blocks everything, as a model must not learn a fault.
    2. A challenger whose gain in shadow is proven takes over: nothing needs to be trained.
    3. A training is due when the last one, promoted or not, is `max_age_days` old, or when the latest period
       with enough labels was bad, and with it `bad_periods` of the last `of_periods`.
    4. The pause since the last training and the year's budget come last.
    """
    if broken := history.broken:
        return RetrainingDecision(retrain=False, reason=f"blocked, the data are broken: {', '.join(broken)}")
    if promotion := history.proven_challenger():
        return promotion
    due = why_due(history)
    if not due.retrain:
        return due
    if spent := history.must_wait():
        return RetrainingDecision(retrain=False, reason=f"{due.reason}, but {spent}")
    return due


def why_due(history: RetrainingHistory) -> RetrainingDecision:
    """Whether age or bad periods ask for a training; a period of broken data counts for nothing."""
    rules, judged = history.rules, history.judged
    if history.days_since_training >= rules.max_age_days:
        return RetrainingDecision(retrain=True, reason=f"the last training is {history.training_age} old")
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

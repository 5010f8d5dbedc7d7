"""When to train again, and when to promote a challenger: pure functions, yours to change."""

from fivestage.monitoring.retraining import RetrainingDecision, RetrainingHistory


def decide(history: RetrainingHistory) -> RetrainingDecision:
    """Decide what to do after these periods and trainings.

    1. Broken data block everything, because a model must not learn from them.
    2. A challenger that has proven its gain in shadow is promoted, without a training.
    3. A training is due when the last one, promoted or not, is `max_age_days` old, or when the latest period
       with enough labels and at least `bad_periods` of the last `of_periods` were bad, all of the version
       that serves now.
    4. A due training still waits for the cooldown since the last one and for the year's budget.
    """
    if broken := history.broken:
        return RetrainingDecision(retrain=False, reason=f"blocked, the data are broken: {', '.join(broken)}")
    if promotion := history.proven_challenger():
        return promotion
    due = why_due(history)
    if not due.retrain:
        return due
    if obstacle := history.must_wait():
        return RetrainingDecision(retrain=False, reason=f"{due.reason}, but {obstacle}")
    return due


def why_due(history: RetrainingHistory) -> RetrainingDecision:
    """Decide whether age or bad periods require a training; see `RetrainingHistory.bad` for what counts."""
    rules, judged, bad = history.rules, history.judged, history.bad
    if history.days_since_training >= rules.max_age_days:
        return RetrainingDecision(retrain=True, reason=f"the last training is {history.training_age} old")
    judged_periods = "1 judged period" if len(bad) == 1 else f"the last {len(bad)} judged periods"
    count = f"{sum(bad)} of {judged_periods} bad"
    if not judged:
        reason = f"no period has {rules.min_label_share:.0%} of its labels yet"
    elif judged[-1].version != history.version:
        reason = f"no period of version {history.version} has {rules.min_label_share:.0%} of its labels yet"
    elif not bad[-1]:
        reason = f"the latest judged period was good, {count}"
    elif sum(bad) < rules.bad_periods:
        reason = f"{count}, {rules.bad_periods} of {rules.of_periods} are needed"
    else:
        return RetrainingDecision(retrain=True, reason=f"{count}, the latest among them")
    return RetrainingDecision(retrain=False, reason=reason)

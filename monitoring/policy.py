"""When to train again: pure functions of what the periods were like."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.clock import DAY
from core.contract import Budget, Monitoring

YEAR = 365 * DAY


@dataclass(frozen=True)
class Period:
    """What the policy needs to know of one period."""

    label_share: float
    bad: bool
    broken: tuple[str, ...]  # what in the data is broken, see monitoring.drift


@dataclass(frozen=True)
class Verdict:
    """Whether to train again, and why."""

    retrain: bool
    reason: str


def decide(
    periods: Sequence[Period], trained: Sequence[int], now: int, rules: Monitoring, budget: Budget
) -> Verdict:
    """Whether to train again at `now`, after these periods and trainings (epoch seconds), oldest first.

    N of the last M periods with enough labels ask for it, the latest of them included; so does the age of the
    last training, promoted or not. Broken data blocks it and counts for nothing, as a model must not learn a
    fault. The pause since the last training and the year's budget of retrainings come last; the first
    training is not one of those.
    """
    broken = periods[-1].broken if periods else ()
    judged = [period for period in periods if period.label_share >= rules.min_label_share]
    last = [period.bad and not period.broken for period in judged[-rules.of_periods :]]
    found = f"{sum(last)} of the last {len(last)} judged periods bad"
    idle_days = (now - trained[-1]) // DAY if trained else rules.cooldown_days
    old = idle_days >= rules.max_age_days
    this_year = sum(now - at < YEAR for at in trained[1:])
    objections = (
        (bool(broken), f"blocked, the data are broken: {', '.join(broken)}"),
        (not old and not judged, f"no period has {rules.min_label_share:.0%} of its labels yet"),
        (not old and not any(last[-1:]), f"the latest judged period was good, {found}"),
        (
            not old and sum(last) < rules.bad_periods,
            f"{found}, {rules.bad_periods} of {rules.of_periods} are needed",
        ),
        (idle_days < rules.cooldown_days, f"{found}, but the last training is only {idle_days} days old"),
        (
            this_year >= budget.retrainings_per_year,
            f"{found}, but the year's {this_year} retrainings are spent",
        ),
    )
    reason = next((reason for applies, reason in objections if applies), "")
    asked = f"the last training is {idle_days} days old" if old else f"{found}, the latest among them"
    return Verdict(not reason, reason or asked)

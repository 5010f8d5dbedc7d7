"""What a retraining policy is made of: periods, trainings, budgets, and the proven gain of a challenger."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fivestage.common.clock import DAY
from fivestage.contract.contract import Budget, MonitoringSettings
from fivestage.evaluation.daily import Column, Floats, sums
from fivestage.evaluation.metrics import difference_of_days

YEAR = 365 * DAY


@dataclass(frozen=True)
class ShadowScore:
    """What a challenger in shadow would have saved in one period: sums of money and decisions, by day."""

    version: str
    saved: tuple[float, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class PeriodSummary:
    """What the policy needs to know of one period."""

    label_share: float
    bad: bool
    broken: tuple[str, ...]  # what in the data is broken, see fivestage.monitoring.drift
    shadow: ShadowScore | None = None
    drifted: bool = False


@dataclass(frozen=True)
class RetrainingDecision:
    """Whether to train again, or which challenger has proven itself in shadow, and why."""

    retrain: bool
    reason: str
    promote: str = ""  # a version


def unaffordable(trained: Sequence[int], now: int, rules: MonitoringSettings, budget: Budget) -> str:
    """Why there may be no training now: the pause since the last one, or the year's budget; "" if it may.

    Args:
        trained: moments of all trainings in epoch seconds, ascending; the first is the initial model's.
        now: the current time in epoch seconds.
        rules: whose `cooldown_days` is the least pause, in days.
        budget: whose `retrainings_per_year` counts trainings after the first within 365 days.

    Returns:
        The reason in words, or "".
    """
    idle = idle_days(trained, now, rules)
    if idle < 0:
        return "it has been trained since"
    if idle < rules.cooldown_days:
        return f"the last training is only {days(idle)} old"
    if not budget.retrainings_per_year:
        return "the budget has no retraining"
    this_year = sum(now - at < YEAR for at in trained[1:])
    return f"the year's {this_year} retrainings are spent" if this_year >= budget.retrainings_per_year else ""


def proven(
    periods: Sequence[PeriodSummary], rules: MonitoringSettings, confidence: float
) -> RetrainingDecision | None:
    """Promote the challenger in shadow once the interval of its gain lies above zero; None until then.

    Paired with the champion by day, over all its days without a fault in the data. As it is looked at after
    every period, the chance of an error is shared by the looks that it may get before it is too old
    (Bonferroni: Dunn 1961, "Multiple Comparisons Among Means").

    Args:
        periods: all so far, the oldest first; the latest period's challenger is the one that counts.
        rules: its `proof_days`, `max_age_days` and `period_days`, all in days.
        confidence: of all looks together, 0 to 1.

    Returns:
        The promotion, with the gain per 1,000 decisions and its interval as the reason, or None.
    """
    if not periods or periods[-1].shadow is None:
        return None
    version = periods[-1].shadow.version
    whole = [one.shadow for one in periods if one.shadow and one.shadow.version == version and not one.broken]
    saved = np.array([value for shadow in whole for value in shadow.saved], dtype=np.float64)
    rows = np.array([value for shadow in whole for value in shadow.rows], dtype=np.float64)
    if not rows.size or rows.size < rules.proof_days:
        return None
    looks = max(1, rules.max_age_days // rules.period_days)
    gain = difference_of_days(saved, rows, confidence=1 - (1 - confidence) / looks)
    if not gain.low > 0:
        return None
    reason = (
        f"version {version} in shadow saves {gain.mean:,.0f} per 1,000 decisions "
        f"over {days(rows.size)} ({gain.low:+,.0f} to {gain.high:+,.0f})"
    )
    return RetrainingDecision(retrain=False, reason=reason, promote=version)


def saved_by_day(version: str, saved: Floats, day: Column) -> ShadowScore:
    """What a challenger would have saved, from that of each row and its day."""
    known, of_day = np.unique(day, return_inverse=True)
    rows = np.bincount(of_day, minlength=known.size)
    return ShadowScore(version, tuple(sums(of_day, saved, known.size).tolist()), tuple(rows.tolist()))


def days(number: int) -> str:
    """A number of days in words, such as "1 day".

    Args:
        number: how many.

    Returns:
        The number with "day" or "days".
    """
    return f"{number} day" if number == 1 else f"{number} days"


def idle_days(trained: Sequence[int], now: int, rules: MonitoringSettings) -> int:
    """Days since the last training, promoted or not.

    Args:
        trained: moments of all trainings in epoch seconds, ascending.
        now: the current time in epoch seconds.
        rules: whose `cooldown_days` is the answer where there was no training.

    Returns:
        Whole days, rounded down; negative if the last training is later than now.
    """
    return (now - trained[-1]) // DAY if trained else rules.cooldown_days

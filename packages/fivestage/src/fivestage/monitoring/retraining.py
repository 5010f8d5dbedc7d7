"""What a retraining policy is made of: periods, trainings, budgets, and the proven gain of a challenger."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fivestage.common.clock import DAY
from fivestage.contract.contract import Budget, MonitoringSettings
from fivestage.evaluation.daily import Column, Floats, sums
from fivestage.evaluation.metrics import Difference, difference_of_days

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


def proven(periods: Sequence[PeriodSummary], rules: MonitoringSettings, confidence: float) -> str:
    """The gain of the challenger in shadow, in words, once its interval lies above zero; "" until then.

    Paired with the champion by day, over all its days without a fault in the data. As it is looked at after
    every period, the chance of an error is shared by the looks that it may get before it is too old
    (Bonferroni: Dunn 1961, "Multiple Comparisons Among Means").

    Args:
        periods: all so far, the oldest first.
        rules: its `proof_days`, `max_age_days` and `period_days`, all in days.
        confidence: of all looks together, 0 to 1.

    Returns:
        The gain per 1,000 decisions and its interval in a sentence, or "".
    """
    shadows = in_shadow(periods)
    shadowed = sum(len(one.rows) for one in shadows)
    if shadowed < rules.proof_days:
        return ""
    looks = max(1, rules.max_age_days // rules.period_days)
    saved = saving(shadows, 1 - (1 - confidence) / looks)
    if not saved.low > 0:
        return ""
    return (
        f"version {shadows[-1].version} in shadow saves {saved.mean:,.0f} per 1,000 decisions "
        f"over {days(shadowed)} ({saved.low:+,.0f} to {saved.high:+,.0f})"
    )


def saved_by_day(version: str, saved: Floats, day: Column) -> ShadowScore:
    """What a challenger would have saved, from that of each row and its day."""
    known, of_day = np.unique(day, return_inverse=True)
    rows = np.bincount(of_day, minlength=known.size)
    return ShadowScore(version, tuple(sums(of_day, saved, known.size).tolist()), tuple(rows.tolist()))


def saving(shadows: Sequence[ShadowScore], confidence: float) -> Difference:
    """What a challenger saves against the champion per 1,000 decisions, with an interval over days."""
    saved = np.array([one for shadow in shadows for one in shadow.saved], dtype=np.float64)
    rows = np.array([one for shadow in shadows for one in shadow.rows], dtype=np.float64)
    return difference_of_days(saved, rows, confidence=confidence)


def in_shadow(periods: Sequence[PeriodSummary]) -> list[ShadowScore]:
    """What the latest period's challenger did, in the periods whose data were whole.

    Args:
        periods: all so far, the oldest first.

    Returns:
        The scores of that challenger's version, the oldest first; none if the latest period has none.
    """
    if not periods or periods[-1].shadow is None:
        return []
    version = periods[-1].shadow.version
    found = [period.shadow for period in periods if period.shadow and not period.broken]
    return [one for one in found if one.version == version]


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

"""Building blocks of a retraining policy: periods, trainings, budget, and a challenger's proven gain."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from pydantic import TypeAdapter

from fivestage.common.clock import DAY
from fivestage.contract.contract import Contract, MonitoringSettings
from fivestage.evaluation.daily import Column, Floats, sums
from fivestage.evaluation.metrics import Estimate, difference_of_days

YEAR = 365 * DAY


@dataclass(frozen=True)
class ShadowScore:
    """A challenger's savings in shadow over one period: money saved and number of decisions, by day."""

    version: str
    saved: tuple[float, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """A period of service, and where it lies in the logs of predictions and of challengers' predictions."""

    start: int  # epoch seconds, as is `end`
    end: int
    after: tuple[int, int] = (0, 0)  # it is read after these numbers of the two logs
    last: tuple[int, int] | None = None  # the numbers of its last predictions; None until it has been read
    next: tuple[int, int] = (0, 0)  # the next period is read after these numbers
    has_later: bool = False  # whether the log has decisions after the period


@dataclass(frozen=True)
class PeriodSummary:
    """The summary of one period for the retraining policy."""

    label_share: float
    bad: bool
    broken: tuple[str, ...]  # subjects of broken data, see fivestage.monitoring.drift
    shadow: ShadowScore | None = None
    drifted: bool = False
    span: Span = Span(0, 0)
    version: str = ""  # the version that served last in it; empty if none did

    def is_due(self, now: int, rules: MonitoringSettings) -> bool:
        """Return whether the period had too few labels, and is recent enough to be judged later."""
        recent = self.span.start >= now - rules.reference_days * DAY
        return recent and self.label_share < rules.min_label_share


SUMMARIES = TypeAdapter(list[PeriodSummary])


@dataclass(frozen=True)
class RetrainingDecision:
    """Whether to train again, or which challenger to promote, and why."""

    retrain: bool
    reason: str
    promote: str = ""  # the version to promote; empty for none

    @property
    def acts(self) -> bool:
        """Whether it asks for a training or a promotion."""
        return self.retrain or bool(self.promote)


@dataclass(frozen=True)
class PolicyResult:
    """A policy in a backtest, compared with never training again; numbers are means over its phases."""

    name: str
    trainings: float
    promoted: float  # challengers that became the champion
    decisions_cost: float  # currency units, for all decisions
    training_cost: float  # currency units, for all trainings
    saved: Estimate  # per 1,000 decisions, after the cost of training
    by_day: tuple[float, ...] = ()  # cumulative savings at the end of each day


@dataclass(frozen=True)
class Comparison:
    """The backtest of several retraining policies over the same days."""

    start: date  # the first day
    end: date  # the day after the last one
    decisions: int  # number of decisions in between
    policies: tuple[PolicyResult, ...]


@dataclass(frozen=True)
class RetrainingHistory:
    """The periods and trainings of a service up to now.

    Args:
        periods: All periods so far, oldest first.
        trained: Times of all trainings in epoch seconds, ascending; the first is the initial training.
        now: The current time in epoch seconds.
        contract: The problem's contract, which has the rules and the training budget.
    """

    periods: Sequence[PeriodSummary]
    trained: Sequence[int]
    now: int
    contract: Contract

    @property
    def rules(self) -> MonitoringSettings:
        """The contract's monitoring settings."""
        return self.contract.monitoring

    @property
    def broken(self) -> tuple[str, ...]:
        """The subjects of broken data in the latest period."""
        return self.periods[-1].broken if self.periods else ()

    @property
    def judged(self) -> list[PeriodSummary]:
        """The periods with enough labels to be judged."""
        return [one for one in self.periods if one.label_share >= self.rules.min_label_share]

    @property
    def version(self) -> str:
        """The version that serves: the last one of the latest period."""
        return self.periods[-1].version if self.periods else ""

    @property
    def bad(self) -> list[bool]:
        """Whether each of the last `of_periods` judged periods counts as bad; the latest is the last.

        Periods with broken data do not count, nor do those that an earlier version served: their labels may
        arrive after it has been replaced.
        """
        last = self.judged[-self.rules.of_periods :]
        return [one.bad and not one.broken and one.version == self.version for one in last]

    @property
    def days_since_training(self) -> int:
        """Whole days since the last training, promoted or not; negative if it is later than now."""
        return (self.now - self.trained[-1]) // DAY if self.trained else self.rules.cooldown_days

    @property
    def training_age(self) -> str:
        """The days since the last training in words, such as "1 day"."""
        return _days(self.days_since_training)

    def must_wait(self) -> str:
        """Return why a training must wait, for the cooldown or the year's budget; empty if it may run now."""
        if self.days_since_training < 0:
            return "it has been trained since"
        if self.days_since_training < self.rules.cooldown_days:
            return f"the last training is only {self.training_age} old"
        limit = self.contract.budget.retrainings_per_year
        if not limit:
            return "the budget has no retraining"
        this_year = sum(self.now - at < YEAR for at in self.trained[1:])
        return f"the year's {this_year} retrainings are spent" if this_year >= limit else ""

    def proven_challenger(self) -> RetrainingDecision | None:
        """Promote the challenger in shadow once the interval of its gain lies above zero; None until then.

        The challenger is paired with the champion that serves now by day, over its judged periods without
        broken data. As it is tested after every period, the error probability is divided by the number of
        tests before it is too old (Bonferroni: Dunn 1961, "Multiple Comparisons Among Means").

        Returns:
            The promotion, with the gain per 1,000 decisions and its interval as the reason, or None.
        """
        if not self.periods or self.periods[-1].shadow is None:
            return None
        version = self.periods[-1].shadow.version
        valid = [
            one.shadow
            for one in self.judged
            if one.shadow and one.shadow.version == version and one.version == self.version and not one.broken
        ]
        saved = np.array([value for shadow in valid for value in shadow.saved], dtype=np.float64)
        rows = np.array([value for shadow in valid for value in shadow.rows], dtype=np.float64)
        if not rows.size or rows.size < self.rules.proof_days:
            return None
        tests = max(1, self.rules.max_age_days // self.rules.period_days)
        gain = difference_of_days(saved, rows, confidence=1 - (1 - self.contract.gates.confidence) / tests)
        if not gain.low > 0:
            return None
        reason = (
            f"version {version} in shadow saves {gain.mean:,.0f} per 1,000 decisions "
            f"over {_days(rows.size)} ({gain.low:+,.0f} to {gain.high:+,.0f})"
        )
        return RetrainingDecision(retrain=False, reason=reason, promote=version)


def saved_by_day(version: str, saved: Floats, day: Column) -> ShadowScore:
    """Sum a challenger's savings per row by day."""
    known, of_day = np.unique(day, return_inverse=True)
    rows = np.bincount(of_day, minlength=known.size)
    return ShadowScore(version, tuple(sums(of_day, saved, known.size).tolist()), tuple(rows.tolist()))


def _days(number: int) -> str:
    return f"{number} day" if number == 1 else f"{number} days"

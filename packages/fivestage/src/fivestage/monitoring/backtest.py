"""Backtest of retraining policies over the data's whole period, in process: what each costs, in money.

Every policy starts with the same first model, as early as the contract's split allows, and goes through the
same days. A policy that goes by age depends on when it happens to start, so each is simulated in every
phase, with a first model that is none, one, two or three periods old, and what is reported is the mean over
the phases. What they train is shared: a model as of a day is fitted once and kept, so that a comparison goes
on where it was interrupted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY
from fivestage.common.columns import Floats, Ints
from fivestage.common.errors import UserError
from fivestage.common.files import write_whole
from fivestage.common.settings import VAR
from fivestage.contract.contract import BaselineName, Contract, day_of
from fivestage.contract.cost_model import cost_model_of
from fivestage.data.labels import labels_of
from fivestage.data.splits import TemporalSplit, cut
from fivestage.evaluation.champion_challenger import Evidence, run_gates
from fivestage.evaluation.daily import NAN, sums
from fivestage.evaluation.evaluate import decision_day
from fivestage.evaluation.gates import Probe
from fivestage.evaluation.metrics import Answers, Difference, difference_of_days
from fivestage.features.offline import is_text
from fivestage.features.problem import Problem
from fivestage.monitoring.drift import DAY_COLUMN, detect_drift, windows_of
from fivestage.monitoring.performance import Performance, judge
from fivestage.monitoring.retraining import (
    PeriodSummary,
    RetrainingDecision,
    RetrainingHistory,
    ShadowScore,
    saved_by_day,
)
from fivestage.orchestration.lineage import code_digest
from fivestage.training.estimators import Estimator
from fivestage.training.sample import TrainingSample, training_sample
from fivestage.training.task_trainer import baseline_savings, trainer_of

CADENCE = 4  # periods between trainings that go by the calendar
FIRST_FOLDS = 2  # of the folds, what the first model is trained on and calibrated with
WEEK = 7  # days of a block
ERROR = 0.05  # the chance that any policy's interval misses what it saves
PROBED = (Probe("no leak", passed=True, sentence="the probes are run where the features are made"),)
SHADOW_ONLY = ("on proven gain",)  # its challengers meet the champion in shadow before the gates

Policy = Callable[[RetrainingHistory], RetrainingDecision]  # as of now, what to do


@dataclass(frozen=True)
class PolicyBacktest:
    """A year under one policy: the cost of each row, the versions that served, and what was spent."""

    cost: Floats
    trained: tuple[int, ...]
    promoted: tuple[int, ...]


@dataclass(frozen=True)
class PolicyResult:
    """A policy against never training again; money of all days, and saved per 1,000 decisions."""

    policy: str
    trainings: float  # in the mean of the phases, as all else
    promoted: float
    decisions_cost: float
    training_cost: float
    saved: Difference  # over all days, the trainings paid
    by_day: tuple[float, ...] = field(default=())  # saved up to the end of each day


@dataclass(frozen=True)
class Comparison:
    """All policies over the same days."""

    start: int
    end: int
    decisions: int
    policies: tuple[PolicyResult, ...]


def policies_with(decide: Policy) -> dict[str, Policy]:
    """What is compared; `decide` is the project's own. The pause and the budget bound all, see `simulate`."""

    def asked(retrain: bool) -> RetrainingDecision:  # noqa: FBT001 (of one argument)
        return RetrainingDecision(retrain=retrain, reason="its rule")

    def by_calendar(history: RetrainingHistory) -> RetrainingDecision:
        return asked(history.now - history.trained[-1] >= CADENCE * history.rules.period_days * DAY)

    def on_performance(history: RetrainingHistory) -> RetrainingDecision:
        ageless = {"max_age_days": (history.now - history.trained[0]) // DAY + 1}
        alone = [replace(period, shadow=None) for period in history.periods]
        return decide(replace(history, periods=alone, rules=history.rules.model_copy(update=ageless)))

    return {
        "never": lambda _: asked(False),  # noqa: FBT003
        f"every {CADENCE} periods": by_calendar,
        "on drift": lambda history: asked(history.periods[-1].drifted and not history.broken),
        "on performance": on_performance,
        "on proven gain": lambda history: history.proven_challenger() or by_calendar(history),
        "as the contract says": decide,
    }


class BacktestData:
    """Rows and features of a year, and everything that the policies share: each is computed once."""

    def __init__(
        self,
        rows: pd.DataFrame,
        features: pd.DataFrame,
        contract: Contract,
        estimator: Estimator,
        folder: Path,
    ) -> None:
        self.rows, self.features, self.contract = rows, features, contract
        self.estimator, self.folder = estimator, folder
        self.label, self.money = labels_of(rows, contract), cost_model_of(contract.costs)
        self.decided = rows["decision_at"].to_numpy(dtype=np.int64)
        self.known = rows["known_at"].to_numpy(dtype=np.int64)
        self.day = decision_day(rows)
        self.forecast, self.baselines = cache(self._forecast), cache(self._baselines)
        self.passes, self.judged, self.moved = cache(self._passes), cache(self._judged), cache(self._moved)

    @classmethod
    def of(cls, problem: Problem, rows: pd.DataFrame, features: pd.DataFrame, data: str) -> "BacktestData":
        """A problem's year with the first of its candidates; what is trained is kept by data and code."""
        folder = VAR / "replay" / f"{data[:12]}-{code_digest()[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        text = tuple(str(name) for name, values in features.items() if is_text(values))
        first = next(iter(problem.candidates(len(rows), text).values()))
        return cls(rows, features, problem.contract, first, folder)

    @property
    def start(self) -> int:
        """The first day that there can be a model of, epoch seconds."""
        split = self.contract.split
        days = split.holdout_days + FIRST_FOLDS * split.fold_days
        return int((self.day.min() + days) * DAY)

    def starts(self) -> range:
        """The starts of the periods."""
        length = self.contract.monitoring.period_days * DAY
        return range(self.start, int((self.day.max() + 1) * DAY) - length + 1, length)

    def windows(self, as_of: int) -> TemporalSplit:
        """As they stand at a day, with one fold: the trees are chosen already."""
        return cut(self.decided, self.known, self.contract.split.model_copy(update={"folds": 1}), as_of)

    def answers(self, as_of: int, where: Ints) -> Answers:
        """What a model trained as of a day says to some rows, and what is decided by it."""
        forecast = self.forecast(as_of)[where]
        return Answers(forecast, self.money.decide(forecast))

    def costs(self, as_of: int, where: Ints) -> Floats:
        """What a model's decisions cost."""
        return self.money.price(self.label[where], self.answers(as_of, where).decision)

    def inside(self, start: int, end: int) -> Ints:
        """Where the rows of a stretch of time are."""
        return np.flatnonzero((self.decided >= start) & (self.decided < end))

    def shadow(self, challenger: int, champion: int, start: int, end: int) -> ShadowScore:
        """What a challenger would have saved in a period, as far as labels are known at its end."""
        here = self.inside(start, end)
        here = here[self.known[here] < end]
        saved = self.costs(champion, here) - self.costs(challenger, here)
        return saved_by_day(str(day_of(challenger)), saved, self.day[here])

    def _forecast(self, as_of: int) -> Floats:
        """The forecasts of all rows by a model trained as of a day; NaN for those it has learnt from."""
        path = self.folder / f"{day_of(as_of)}.npy"
        if not path.exists():
            found = self._train(as_of)
            write_whole(path, lambda scratch: np.save(scratch, found))
        return np.asarray(np.load(path), dtype=np.float64)

    def _train(self, as_of: int) -> Floats:
        windows, sample = self.windows(as_of), self._sample(as_of)
        (fold,) = windows.folds
        learner = trainer_of(self.contract)
        early, model = (
            learner.fit(sample.frame(where), sample.label[where], self.estimator)
            for where in (fold.train, windows.train)
        )
        margins = learner.margins(early, sample.frame(fold.valid))
        calibration = learner.calibrate(margins, sample.label[fold.valid])
        unseen = self.decided >= windows.holdout_start
        forecast = calibration.forecast(learner.margins(model, sample.frame(unseen)))
        found: Floats = np.full((len(self.rows), *forecast.shape[1:]), NAN)
        found[unseen] = forecast
        return found

    def _sample(self, as_of: int) -> TrainingSample:
        return training_sample(self.rows, self.features, self.windows(as_of), self.contract)

    def _baselines(self, as_of: int) -> dict[BaselineName, float]:
        return baseline_savings(self._sample(as_of), self.windows(as_of), self.contract)

    def _passes(self, challenger: int, champion: int, at: int) -> bool:
        """Whether every gate at a day lets the challenger take over."""
        windows, evidence = self.windows(at), Evidence(self.baselines(at), PROBED, 0.0)
        one, other = (self.answers(as_of, windows.holdout) for as_of in (challenger, champion))
        gates = run_gates(self.rows.iloc[windows.holdout], one, other, evidence, self.contract)
        return all(gate.passed for gate in gates)

    def _judged(self, as_of: int, start: int, end: int) -> Performance:
        """How a model's period went by the labels known at its end."""
        here = self.inside(start, end)
        known, before = self.known[here] < end, self.label[self._before(start, end)]
        answers = self.answers(as_of, here)
        return judge(self.label[here], known, answers, self.day[here], before, self.contract)

    def _moved(self, start: int, end: int) -> tuple[bool, tuple[str, ...]]:
        """Whether the inputs of a period drifted against the days before, and which are broken."""
        rules = self.contract.monitoring
        monitored = [str(name) for name in self.features if name not in rules.unwatched]
        before, now = (
            self.features.iloc[where].assign(**{DAY_COLUMN: self.day[where]})
            for where in (self._before(start, end), self.inside(start, end))
        )
        windows = windows_of(before, now, monitored)
        found = [] if windows is None else detect_drift(*windows, rules.false_alarm)
        broken = dict.fromkeys(one.column for one in found if one.is_broken)
        return any(one.drifted for one in found), tuple(broken)

    def _before(self, start: int, end: int) -> Ints:
        """The reference's rows whose label is known at a period's end."""
        here = self.inside(start - self.contract.monitoring.reference_days * DAY, start)
        return here[self.known[here] < end]


def simulate(
    year: BacktestData, policy: Policy, phase: int = 0, *, evaluate_first: bool = True
) -> PolicyBacktest:
    """Go through the year, a period at a time; the policy takes the first model to be `phase` periods old.

    A challenger meets the champion at once (`evaluate_first`), or in shadow.
    """
    contract, length = year.contract, year.contract.monitoring.period_days * DAY
    champion, challenger = year.start, 0
    trained, promoted = [champion - phase * length], []
    cost: Floats = np.zeros(len(year.rows))
    periods: list[PeriodSummary] = []
    for start in year.starts():
        end = start + length
        here = year.inside(start, end)
        if not here.size:
            continue  # there was nothing to decide
        cost[here] = year.costs(champion, here)
        performance, (drifted, broken) = year.judged(champion, start, end), year.moved(start, end)
        shadow = year.shadow(challenger, champion, start, end) if challenger else None
        periods.append(PeriodSummary(performance.label_share, performance.bad, broken, shadow, drifted))
        if start == year.starts()[-1]:
            break  # a model of the last day would be paid for, and never serve
        history = RetrainingHistory.of(periods, trained, end, contract)
        verdict = policy(history)
        train = verdict.retrain and not history.must_wait()
        if train:
            challenger = end
            trained.append(end)
        ready = bool(verdict.promote) or (train and evaluate_first)
        if ready and year.passes(challenger, champion, end):
            champion, challenger = challenger, 0
            promoted.append(end)
    return PolicyBacktest(cost, tuple(trained[1:]), tuple(promoted))


def backtest(
    problem: Problem,
    rows: pd.DataFrame,
    features: pd.DataFrame,
    data: str,
    decide: Policy,
    tell: Callable[[str], None],
) -> Comparison:
    """Compare policies of retraining over a problem's whole period, with the first of its candidates.

    Args:
        problem: whose contract and candidates these are.
        rows: all decisions, with their labels.
        features: rows x features, by name, text as text.
        data: SHA-256 of the raw data; a comparison of the same data and code goes on where it has stopped.
        decide: the project's own policy.
        tell: called with a sentence of progress after each policy.

    Returns:
        The start and end in epoch seconds, the number of decisions, and each policy's costs in the
        contract's currency; savings are per 1,000 decisions, the trainings paid.

    Raises:
        UserError: where no period is left after the first model.
    """
    return compare_policies(BacktestData.of(problem, rows, features, data), decide, tell)


def compare_policies(year: BacktestData, decide: Policy, tell: Callable[[str], None]) -> Comparison:
    """Each policy's cost against never training again, with an interval over blocks of a week.

    The intervals hold together: what the best of several seems to save is not due to their number. Each has
    the confidence 1 - `ERROR` / number of policies beside "never" (Bonferroni: Dunn 1961, "Multiple
    Comparisons Among Means").
    """
    contract = year.contract
    if not year.starts():
        raise UserError(
            f"The data end on {day_of(int(year.day.max()) * DAY)}, and the first model is of "
            f"{day_of(year.start)}: no period is left to compare policies in. Name fewer days in split."
        )
    length = contract.monitoring.period_days * DAY
    where = year.inside(year.start, year.starts()[-1] + length)
    day = year.day[where] - year.start // DAY
    days = int(day.max()) + 1
    block = np.arange(days) // WEEK
    rows = sums(block, sums(day, np.ones(where.size), days), int(block.max()) + 1)
    policies = policies_with(decide)
    confidence = 1 - ERROR / max(1, len(policies) - 1)
    compared: list[PolicyResult] = []
    never: Floats = np.zeros(days)
    for name, policy in policies.items():
        first, many = name not in SHADOW_ONLY, 1 if name == "never" else CADENCE
        phases = [simulate(year, policy, phase, evaluate_first=first) for phase in range(many)]
        trained, promoted = (
            float(np.mean([len(getattr(one, what)) for one in phases])) for what in ("trained", "promoted")
        )
        tell(f"{name}: {trained:g} trainings, {promoted:g} promoted, in the mean of {many} phases")
        cost = sums(day, np.mean([one.cost for one in phases], axis=0)[where], days)
        never = cost if name == "never" else never
        paid_on = [(at - 1) // DAY - year.start // DAY for one in phases for at in one.trained]
        paid = np.bincount(np.array(paid_on, dtype=np.int64), minlength=days) / many
        saved = never - cost - contract.budget.retraining_cost * paid
        difference = difference_of_days(sums(block, saved, rows.size), rows, confidence=confidence)
        price, by_day = trained * contract.budget.retraining_cost, tuple(np.cumsum(saved).tolist())
        compared.append(PolicyResult(name, trained, promoted, float(cost.sum()), price, difference, by_day))
    return Comparison(year.start, year.start + days * DAY, int(where.size), tuple(compared))

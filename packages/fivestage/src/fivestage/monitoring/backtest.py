"""Backtest of retraining policies over the data's whole period: what each policy costs, in money.

Every policy starts with the same first model, as early as the contract's split allows, and runs over the same
days. A policy that goes by age depends on when it happens to start. So each is simulated in several phases,
with a first model that is zero, one, two or three periods old, and the results are means over the phases. The
policies share their models: each is trained once per day and cached, so an interrupted comparison resumes
where it stopped.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
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
from fivestage.data.splits import windows_at
from fivestage.evaluation.champion_challenger import Evidence, run_gates
from fivestage.evaluation.daily import NAN, sums
from fivestage.evaluation.evaluate import decision_day
from fivestage.evaluation.gates import Probe
from fivestage.evaluation.metrics import Answers, Estimate, difference_of_days
from fivestage.features.offline import is_text
from fivestage.features.problem import Problem
from fivestage.monitoring.drift import DAY_COLUMN, detect_drift, windows_of
from fivestage.monitoring.performance import Performance, judge
from fivestage.monitoring.retraining import (
    Comparison,
    PeriodSummary,
    PolicyResult,
    RetrainingDecision,
    RetrainingHistory,
    ShadowScore,
    Span,
    saved_by_day,
)
from fivestage.orchestration.lineage import code_digest
from fivestage.training.estimators import Estimator
from fivestage.training.sample import TrainingSample
from fivestage.training.task_trainer import baseline_savings, trainer_of

CADENCE = 4  # periods between two trainings of the calendar policy
FIRST_FOLDS = 2  # fold lengths of data for training and calibrating the first model
WEEK = 7  # days per block of the confidence intervals
ERROR = 0.05  # the probability that any policy's interval misses its true saving
NO_LEAK = (Probe("no leak", passed=True, sentence="the leakage probes run when features are computed"),)
SHADOW_ONLY = ("on proven gain",)  # challengers run in shadow before the gates compare them with the champion

Policy = Callable[[RetrainingHistory], RetrainingDecision]  # from the history up to now


@dataclass(frozen=True)
class PolicyBacktest:
    """A simulation of one policy: the cost of each row, and the times of its trainings and promotions."""

    cost: Floats
    trained: tuple[int, ...]  # epoch seconds
    promoted: tuple[int, ...]  # the same


def policies_with(decide: Policy) -> dict[str, Policy]:
    """Return the policies to compare, by name; `decide` is the project's own.

    `simulate` applies cooldown and budget to all of them.
    """

    def decision(retrain: bool) -> RetrainingDecision:  # noqa: FBT001 (the only argument)
        return RetrainingDecision(retrain=retrain, reason="its rule")

    def by_calendar(history: RetrainingHistory) -> RetrainingDecision:
        return decision(history.now - history.trained[-1] >= CADENCE * history.rules.period_days * DAY)

    def on_performance(history: RetrainingHistory) -> RetrainingDecision:
        no_age_limit = {"max_age_days": (history.now - history.trained[0]) // DAY + 1}
        rules = {"monitoring": history.rules.model_copy(update=no_age_limit)}
        periods = [replace(period, shadow=None) for period in history.periods]
        return decide(replace(history, periods=periods, contract=history.contract.model_copy(update=rules)))

    return {
        "never": lambda _: decision(False),  # noqa: FBT003
        f"every {CADENCE} periods": by_calendar,
        "on drift": lambda history: decision(history.periods[-1].drifted and not history.broken),
        "on performance": on_performance,
        "on proven gain": lambda history: history.proven_challenger() or by_calendar(history),
        "as the contract says": decide,
    }


class BacktestData:
    """Rows and features of the period, and cached results that the policies share."""

    def __init__(
        self,
        rows: pd.DataFrame,
        features: pd.DataFrame,
        contract: Contract,
        estimator: Estimator,
        folder: Path,
    ) -> None:
        split = contract.split.model_copy(update={"folds": 1})  # to calibrate: no candidates are compared
        self.rows, self.features = rows, features
        self.contract = contract.model_copy(update={"split": split})
        self.estimator, self.folder = estimator, folder
        self.label, self.cost_model = labels_of(rows, contract), cost_model_of(contract.costs)
        self.decided = rows["decision_at"].to_numpy(dtype=np.int64)
        self.known = rows["known_at"].to_numpy(dtype=np.int64)
        self.day = decision_day(rows)
        self.forecast, self.baselines = cache(self._forecast), cache(self._baselines)
        self.passes, self.judged, self.moved = cache(self._passes), cache(self._judged), cache(self._moved)

    @property
    def start(self) -> int:
        """The first day as of which a model can be trained, in epoch seconds."""
        split = self.contract.split
        days = split.holdout_days + FIRST_FOLDS * split.fold_days
        return int((self.day.min() + days) * DAY)

    def starts(self) -> range:
        """Return the starts of the periods in epoch seconds."""
        length = self.contract.monitoring.period_days * DAY
        return range(self.start, int((self.day.max() + 1) * DAY) - length + 1, length)

    def answers(self, as_of: int, where: Ints) -> Answers:
        """Return the forecasts and decisions of a model trained as of a day."""
        forecast = self.forecast(as_of)[where]
        return Answers(forecast, self.cost_model.decide(forecast))

    def costs(self, as_of: int, where: Ints) -> Floats:
        """Return the cost of each of a model's decisions."""
        return self.cost_model.price(self.label[where], self.answers(as_of, where).decision)

    def inside(self, start: int, end: int) -> Ints:
        """Return the positions of the rows decided in [start, end)."""
        return np.flatnonzero((self.decided >= start) & (self.decided < end))

    def before(self, start: int) -> Ints:
        """Return the positions of the reference rows of a period."""
        return self.inside(start - self.contract.monitoring.reference_days * DAY, start)

    def shadow(self, challenger: int, champion: int, start: int, end: int, known_by: int) -> ShadowScore:
        """Score a challenger in shadow in a period by the labels known by some time."""
        here = self.inside(start, end)
        here = here[self.known[here] < known_by]
        saved = self.costs(champion, here) - self.costs(challenger, here)
        return saved_by_day(str(day_of(challenger)), saved, self.day[here])

    def _forecast(self, as_of: int) -> Floats:
        """Return the forecasts of a model trained as of a day; NaN for the rows before its holdout window."""
        path = self.folder / f"{day_of(as_of)}.npy"
        if not path.exists():
            forecast = self._train(as_of)
            write_whole(path, lambda scratch: np.save(scratch, forecast))
        return np.asarray(np.load(path), dtype=np.float64)

    def _train(self, as_of: int) -> Floats:
        sample = self._sample(as_of)
        windows = sample.windows
        (fold,) = windows.folds
        trainer = trainer_of(self.contract)
        early, model = (
            trainer.fit(sample.frame(where), sample.label[where], self.estimator)
            for where in (fold.train, windows.train)
        )
        margins = trainer.margins(early, sample.frame(fold.valid))
        calibration = trainer.calibrate(margins, sample.label[fold.valid])
        unseen = self.decided >= windows.holdout_start
        forecast = calibration.forecast(trainer.margins(model, sample.frame(unseen)))
        forecasts: Floats = np.full((len(self.rows), *forecast.shape[1:]), NAN)
        forecasts[unseen] = forecast
        return forecasts

    def _sample(self, as_of: int) -> TrainingSample:
        return TrainingSample.as_of(self.rows, self.features, self.contract, str(day_of(as_of)))

    def _baselines(self, as_of: int) -> dict[BaselineName, float]:
        return baseline_savings(self._sample(as_of))

    def _passes(self, challenger: int, champion: int, at: int) -> bool:
        """Return whether the challenger passes every gate as of a day."""
        holdout = windows_at(self.rows, self.contract.split, at).holdout
        new, current = (self.answers(as_of, holdout) for as_of in (challenger, champion))
        evidence = Evidence(self.baselines(at), NO_LEAK, 0.0)
        return run_gates(self.rows.iloc[holdout], new, current, evidence, self.contract).passed

    def _judged(self, as_of: int, start: int, end: int, known_by: int) -> Performance:
        """Judge a model's performance in a period by the labels known by some time."""
        here, before = self.inside(start, end), self.before(start)
        usual = self.label[before[self.known[before] < known_by]]
        known, answers = self.known[here] < known_by, self.answers(as_of, here)
        return judge(self.label[here], known, answers, self.day[here], usual, self.contract)

    def _moved(self, start: int, end: int) -> tuple[bool, tuple[str, ...]]:
        """Return whether the inputs of a period drifted from the days before, and which are broken."""
        rules = self.contract.monitoring
        monitored = [str(name) for name in self.features if name not in rules.unwatched]
        before, now = (
            self.features.iloc[where].assign(**{DAY_COLUMN: self.day[where]})
            for where in (self.before(start), self.inside(start, end))
        )
        windows = windows_of(before, now, monitored)
        findings = [] if windows is None else detect_drift(*windows, rules.false_alarm)
        broken = dict.fromkeys(one.column for one in findings if one.is_broken)
        return any(one.drifted for one in findings), tuple(broken)


def simulate(
    year: BacktestData, policy: Policy, phase: int = 0, *, evaluate_first: bool = True
) -> PolicyBacktest:
    """Simulate a policy period by period; it treats the first model as `phase` periods old.

    The gates compare a challenger with the champion at once (`evaluate_first`), or after it ran in shadow.
    """
    contract, rules = year.contract, year.contract.monitoring
    length, champion, challenger = rules.period_seconds, year.start, 0
    trained, promoted = [champion - phase * length], []
    cost: Floats = np.zeros(len(year.rows))
    periods: list[PeriodSummary] = []
    models: dict[int, tuple[int, int]] = {}  # champion and challenger of each period, by its start

    def summary(start: int, known_by: int) -> PeriodSummary:
        end, (champion, challenger) = start + length, models[start]
        performance = year.judged(champion, start, end, known_by)
        shadow = year.shadow(challenger, champion, start, end, known_by) if challenger else None
        drifted, broken = year.moved(start, end)
        share, bad = performance.label_share, performance.bad
        version = str(day_of(champion))
        return PeriodSummary(share, bad, broken, shadow, drifted, Span(start, end), version)

    for start in year.starts():
        end = start + length
        here = year.inside(start, end)
        if not here.size:
            continue  # nothing was decided in this period
        cost[here] = year.costs(champion, here)
        models[start] = champion, challenger
        periods = [summary(one.span.start, end) if one.is_due(end, rules) else one for one in periods]
        periods.append(summary(start, end))
        if start == year.starts()[-1]:
            break  # a model trained now would never be used
        history = RetrainingHistory(periods, trained, end, contract)
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
    """Compare retraining policies over a problem's whole period, with its first candidate.

    Args:
        problem: The problem, with its contract and candidates.
        rows: All decisions, with their labels.
        features: Rows x features by name, text columns as text.
        data: SHA-256 of the raw data; a comparison of the same data and code resumes where it stopped.
        decide: The project's own policy.
        tell: Called with a progress message after each policy.

    Returns:
        The first day and the day after the last one, the number of decisions, and each policy's costs in the
        contract's currency; savings are per 1,000 decisions, net of training costs.

    Raises:
        UserError: If no period is left after the first model.
    """
    folder = VAR / "replay" / f"{data[:12]}-{code_digest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    text = tuple(str(name) for name, values in features.items() if is_text(values))
    first = next(iter(problem.candidates(len(rows), text).values()))
    return compare_policies(BacktestData(rows, features, problem.contract, first, folder), decide, tell)


def compare_policies(year: BacktestData, decide: Policy, tell: Callable[[str], None]) -> Comparison:
    """Compare each policy's cost with never training again, with intervals over weekly blocks.

    The intervals are simultaneous, because the best of several policies may look good by chance. Each has
    the confidence 1 - `ERROR` / number of policies other than "never" (Bonferroni: Dunn 1961,
    "Multiple Comparisons Among Means").
    """
    contract = year.contract
    if not year.starts():
        raise UserError(
            f"The data end on {day_of(int(year.day.max()) * DAY)}, and the first model is of "
            f"{day_of(year.start)}: no period is left to compare policies in. Lower the days in split."
        )
    length = contract.monitoring.period_days * DAY
    where = year.inside(year.start, year.starts()[-1] + length)
    day = year.day[where] - year.start // DAY
    days = int(day.max()) + 1
    block = np.arange(days) // WEEK
    rows = sums(block, sums(day, np.ones(where.size), days), int(block.max()) + 1)
    policies = policies_with(decide)
    confidence = 1 - ERROR / max(1, len(policies) - 1)
    results: list[PolicyResult] = []
    never: Floats = np.zeros(days)
    for name, policy in policies.items():
        first, many = name not in SHADOW_ONLY, 1 if name == "never" else CADENCE
        phases = [simulate(year, policy, phase, evaluate_first=first) for phase in range(many)]
        trained, promoted = (
            float(np.mean([len(getattr(one, what)) for one in phases])) for what in ("trained", "promoted")
        )
        tell(f"{name}: {trained:g} trainings, {promoted:g} promoted, mean of {many} phases")
        cost = sums(day, np.mean([one.cost for one in phases], axis=0)[where], days)
        never = cost if name == "never" else never
        paid_on = [(at - 1) // DAY - year.start // DAY for one in phases for at in one.trained]
        paid = np.bincount(np.array(paid_on, dtype=np.int64), minlength=days) / many
        saved = never - cost - contract.budget.retraining_cost * paid
        difference = difference_of_days(sums(block, saved, rows.size), rows, confidence=confidence)
        gain = Estimate(difference.mean, difference.low, difference.high)
        price, by_day = trained * contract.budget.retraining_cost, tuple(np.cumsum(saved).tolist())
        results.append(PolicyResult(name, trained, promoted, float(cost.sum()), price, gain, by_day))
    return Comparison(day_of(year.start), day_of(year.start + days * DAY), int(where.size), tuple(results))

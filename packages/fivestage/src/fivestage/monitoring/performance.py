"""Performance in a period: from the labels that have arrived, and before that from the forecasts alone."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fivestage.contract.contract import Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import HIGH, LOW, VALUE, cost_model_of
from fivestage.evaluation.daily import DECISIONS, NAN, Bools, Column, Floats
from fivestage.evaluation.metrics import Answers, Difference, Estimate, Metrics, evaluate, paired_difference

DRAWS = 1000  # a period has few days; see metrics.percentiles
LOSS = "loss against the best constant decision"


@dataclass(frozen=True)
class JudgedScore:
    """A score of the period with its limit, as `ScoreLimit` tests it."""

    score: str
    beyond_chance: float  # distance from the target, or 0 if the interval over days explains it
    allowed: float | None  # None: too few labels have arrived
    sentence: str
    shown: str  # the value and its limit, for display

    @property
    def bad(self) -> bool:
        """Whether the distance exceeds the contract's limit and chance does not explain it."""
        return self.allowed is not None and self.beyond_chance > self.allowed


@dataclass(frozen=True)
class Performance:
    """The performance of one period by the labels that have arrived; without any there are no scores."""

    expected: Metrics
    summary: str
    rows: int = 0
    label_share: float = 0.0
    scored: Metrics | None = None
    judged: tuple[JudgedScore, ...] = ()
    faults: tuple[str, ...] = ()  # a sentence for each score that makes the period bad

    @property
    def bad(self) -> bool:
        """Whether the model did worse than the contract allows, more than chance explains."""
        return bool(self.faults)

    @property
    def sentence(self) -> str:
        """The faults of the period, or a summary if there are none."""
        return "; ".join(self.faults) or self.summary

    @property
    def conclusive(self) -> bool:
        """Whether enough labels have arrived to judge the period."""
        return any(one.allowed is not None for one in self.judged)


def estimate(answers: Answers, day: Column, contract: Contract) -> Metrics:
    """Estimate the scores as if the forecasts were correct: confidence-based performance estimation."""
    forecast = answers.forecast
    if isinstance(contract, RegressionContract):
        cost = NAN if answers.expected_cost is None else float(np.mean(answers.expected_cost)) * DECISIONS
        width = float(np.mean(forecast[:, HIGH] - forecast[:, LOW]))
        expected = {"mean": float(np.mean(forecast[:, VALUE])), "width": width, "cost_per_1000": cost}
        expected |= {"rows": float(len(forecast))}
        return {name: Estimate(value) for name, value in expected.items()}
    return evaluate(forecast, forecast, day, contract.costs, decision=answers.decision)


def judge(
    label: Column,
    known: Bools,
    answers: Answers,
    day: Column,
    usual: Column,
    contract: Contract,
    asked: int = 0,
) -> Performance:
    """Judge the performance of one period's decisions by the labels that are `known`; others are not read.

    A period is bad if a score misses its target by more than the contract allows and more than daily
    variation explains, or if the model loses too much money compared with the best constant decision, chosen
    on the `usual` labels. `asked` counts all requested rows: labels of rows that the data lack are missing.
    """
    rows, expected = len(label), estimate(answers, day, contract)
    share = float(np.sum(known)) / max(rows, asked)
    if not np.any(known):
        return Performance(expected, "no label has arrived", rows, share)
    truth, forecast, decision, when = (one[known] for one in (label, answers.forecast, answers.decision, day))
    scored = evaluate(truth, forecast, when, contract.costs, decision=decision, draws=DRAWS)
    cost_model = cost_model_of(contract.costs)
    constant = np.full(len(truth), cost_model.best_constant_decision(usual if len(usual) else truth))
    saved = paired_difference(cost_model.price(truth, constant), cost_model.price(truth, decision), when)
    judged = (*_of_predictions(scored, contract), _of_costs(saved, contract))
    missing, needed = "", contract.monitoring.min_label_share
    if share < needed:
        missing = f"{share:.0%} of labels have arrived, {needed:.0%} are needed"
    elif np.ptp(when) == 0:
        missing = "the labels are of one day, and chance shows only in several"
    if missing:
        judged = tuple(replace(one, allowed=None) for one in judged)
    faults = tuple(one.sentence for one in judged if one.bad)
    return Performance(expected, missing or judged[-1].sentence, rows, share, scored, judged, faults)


def _of_predictions(scored: Metrics, contract: Contract) -> Iterator[JudgedScore]:
    bias = contract.monitoring.max_bias
    if not isinstance(contract, RegressionContract):
        yield _judged(scored, "bias", 0, bias, "the mean prediction is {off} off the rate")
        return
    words = f"the mean prediction is {{off}} {contract.label.unit} off the outcomes"
    yield _judged(scored, "bias", 0, bias, words)
    # With many equal values, the target should lie between the coverages of open and closed intervals.
    for score, edges, side in (("coverage", "", -1), ("open_coverage", ", ends excluded,", 1)):
        words = f"the coverage of the intervals{edges} is {{off}} off {contract.interval:g}"
        yield _judged(scored, score, contract.interval, contract.gates.max_coverage_error, words, side)


def _judged(
    scored: Metrics, score: str, target: float, allowed: float, words: str, side: int = 0
) -> JudgedScore:
    """Judge a score against its target; `side` is -1 if only too little is a fault, 1 if only too much is."""
    value, low, high = scored[score].value, scored[score].low, scored[score].high
    off = value - target
    chance = not (low > target or high < target) or off * side < 0
    sentence = words.format(off=f"{off:+.3f}") + _interval(low - target, high - target, "+.3f")
    sentence += f", at most {allowed:g} allowed"
    limits = (f"at least {target - allowed:g}", f"within ±{allowed:g}", f"at most {target + allowed:g}")
    shown = f"{value:{'' if target else '+'}.3f}, {limits[side + 1]}"
    return JudgedScore(score, 0.0 if chance else abs(off), allowed, sentence, shown)


def _of_costs(saved: Difference, contract: Contract) -> JudgedScore:
    verb = "saves" if saved.mean >= 0 else "loses"
    money = f"{abs(saved.mean):,.0f} {contract.costs.currency} per 1,000 decisions"
    sentence = f"{verb} {money} against the best constant decision"
    sentence += _interval(saved.low, saved.high, "+,.0f")
    beyond, allowed = -saved.mean if saved.high < 0 else 0.0, contract.gates.max_loss_per_1000
    shown = f"{-saved.mean:+,.0f} {contract.costs.currency}, at most {allowed:,g}"
    return JudgedScore(LOSS, beyond, allowed, sentence, shown)


def _interval(low: float, high: float, form: str) -> str:
    """Return an interval in brackets; nothing for rows of one day, which have none."""
    return "" if np.isnan(low) else f" ({low:{form}} to {high:{form}})"


def score_names(contract: Contract) -> tuple[str, ...]:
    """Return the names of the columns of predictions that are checked for drift."""
    if isinstance(contract, MulticlassContract):
        return tuple(f"probability of {one}" for one in contract.label.classes)
    return ("value", "interval width") if isinstance(contract, RegressionContract) else ("probability",)


def score_columns(forecast: Floats, contract: Contract) -> pd.DataFrame:
    """Return these columns of some forecasts."""
    if isinstance(contract, RegressionContract):
        forecast = np.column_stack([forecast[:, VALUE], forecast[:, HIGH] - forecast[:, LOW]])
    return pd.DataFrame(forecast, columns=[*score_names(contract)])

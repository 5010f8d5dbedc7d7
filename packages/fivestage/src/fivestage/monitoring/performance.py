"""How well a period went: by the labels that have arrived, and before them by the probabilities alone."""

from dataclasses import dataclass

import numpy as np

from fivestage.contract.contract import Contract, RegressionContract
from fivestage.contract.cost_model import HIGH, LOW, VALUE, cost_model_of
from fivestage.evaluation.daily import DECISIONS, NAN, Bools, Column
from fivestage.evaluation.metrics import Answers, Difference, Scored, evaluate, paired_difference
from fivestage.monitoring.task_checks import limits_of

DRAWS = 1000  # a period has few days; see metrics.percentiles


@dataclass(frozen=True)
class Performance:
    """One period by the labels that have arrived; without any, there are no scores and no savings."""

    rows: int
    label_share: float
    scored: Scored | None
    saved: Difference | None  # per 1,000 decisions, against one decision for all
    expected: Scored
    bad: bool
    sentence: str


def estimate(answers: Answers, day: Column, contract: Contract) -> Scored:
    """Scores to be expected if the forecasts are right, before any label is known.

    This confidence-based performance estimation sees a shift of inputs, but none of what they mean. Of
    numbers, a row's decision is expected to cost in proportion to its interval's width.
    """
    forecast = answers.forecast
    if isinstance(contract, RegressionContract):
        cost = NAN if answers.expected_cost is None else float(np.mean(answers.expected_cost)) * DECISIONS
        width = float(np.mean(forecast[:, HIGH] - forecast[:, LOW]))
        told = {"mean": float(np.mean(forecast[:, VALUE])), "width": width, "cost_per_1000": cost}
        return Scored(told | {"rows": float(len(forecast))}, {})
    return evaluate(forecast, forecast, day, contract.costs, decision=answers.decision)


def judge(
    label: Column,
    known: Bools,
    answers: Answers,
    day: Column,
    usual: Column,
    contract: Contract,
) -> Performance:
    """The performance of one period's decisions, by the labels that are `known`; the others are not read.

    It is bad, once enough labels are there, if a score is off by more than the contract allows and by more
    than the chance of days, or if the model loses money by as much: against one decision for all, whichever
    is cheapest for the `usual` labels (without any, for these), which is what we would do without it. Worse
    ranking counts once it costs money.

    Raises:
        ValueError: for no rows, or values that cannot be scored.
    """
    rows = len(answers.forecast)
    expected = estimate(answers, day, contract)
    share = float(np.mean(known))
    if not np.any(known):
        return Performance(rows, share, None, None, expected, bad=False, sentence="no label has arrived")
    truth, forecast, decision, when = (one[known] for one in (label, answers.forecast, answers.decision, day))
    scored = evaluate(truth, forecast, when, contract.costs, decision=decision, draws=DRAWS)
    money = cost_model_of(contract.costs)
    alone = np.full(len(truth), money.best_constant_decision(usual if len(usual) else truth))
    saved = paired_difference(money.price(truth, alone), money.price(truth, decision), when)
    faults = _faults(scored, saved, contract)
    needed = contract.monitoring.min_label_share
    if share < needed:
        sentence = f"{share:.0%} of labels have arrived, {needed:.0%} are needed"
    else:
        sentence = "; ".join(faults) or _saves(saved, contract)
    return Performance(rows, share, scored, saved, expected, share >= needed and bool(faults), sentence)


def _faults(scored: Scored, saved: Difference, contract: Contract) -> list[str]:
    found = [
        limit.fault(scored.scores[limit.score], scored.intervals[limit.score])
        for limit in limits_of(contract)
    ]
    faults = [fault for fault in found if fault]
    if saved.high < 0 and -saved.mean > contract.gates.max_loss_per_1000:
        faults.append(_saves(saved, contract))
    return faults


def _saves(saved: Difference, contract: Contract) -> str:
    verb = "saves" if saved.mean >= 0 else "loses"
    money = f"{abs(saved.mean):,.0f} {contract.costs.currency} per 1,000 decisions"
    return f"{verb} {money} against one decision for all ({saved.low:+,.0f} to {saved.high:+,.0f})"

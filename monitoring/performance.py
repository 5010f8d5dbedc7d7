"""How well a period went: by the labels that have arrived, and before them by the probabilities alone."""

from dataclasses import dataclass

import numpy as np

from core.contract import Contract
from monitoring.metrics import (
    Bools,
    Column,
    Difference,
    Scored,
    evaluate,
    expected_costs,
    paired_difference,
)

DRAWS = 1000  # a period has few days; see metrics.percentiles


@dataclass(frozen=True)
class Performance:
    """One period by the labels that have arrived; without any, there are no scores and no savings."""

    rows: int
    label_share: float
    scored: Scored | None
    saved: Difference | None  # per 1,000 decisions, against acting always or never
    expected: Scored
    bad: bool
    sentence: str


def estimate(probability: Column, day: Column, contract: Contract, threshold: float) -> Scored:
    """Scores to be expected if the probabilities are right, before any label is known.

    This confidence-based performance estimation sees a shift of inputs, but none of what they mean.
    """
    return evaluate(probability, probability, day, contract.costs, threshold=threshold)


def judge(
    label: Column,
    known: Bools,
    probability: Column,
    day: Column,
    usual_rate: float,
    contract: Contract,
    threshold: float,
) -> Performance:
    """The performance of one period's decisions, by the labels that are `known`; the others are not read.

    It is bad, once enough labels are there, if the mean prediction is off the rate by more than the contract
    allows and by more than the chance of days, or if the model loses money by as much: against acting always
    or never, whichever is cheaper at the `usual_rate`, which is what we would do without it. Worse ranking
    counts once it costs money.

    Raises:
        ValueError: for no rows, or values that cannot be scored.
    """
    rows = len(probability)
    expected = estimate(probability, day, contract, threshold)
    share = float(np.mean(known))
    if not np.any(known):
        return Performance(rows, share, None, None, expected, bad=False, sentence="no label has arrived")
    truth, chance, when = label[known], probability[known], day[known]
    scored = evaluate(truth, chance, when, contract.costs, threshold=threshold, draws=DRAWS)
    always = np.full(truth.size, usual_rate >= contract.costs.threshold)
    saved = paired_difference(
        expected_costs(truth, always, contract.costs),
        expected_costs(truth, chance >= threshold, contract.costs),
        when,
    )
    faults = _faults(scored, saved, contract)
    needed = contract.monitoring.min_label_share
    if share < needed:
        sentence = f"{share:.0%} of labels have arrived, {needed:.0%} are needed"
    else:
        sentence = "; ".join(faults) or _saves(saved, contract)
    return Performance(rows, share, scored, saved, expected, share >= needed and bool(faults), sentence)


def _faults(scored: Scored, saved: Difference, contract: Contract) -> list[str]:
    faults = []
    bias, (low, high) = scored.scores["bias"], scored.intervals["bias"]
    limit = contract.monitoring.max_bias
    if abs(bias) > limit and (low > 0 or high < 0):
        faults.append(
            f"the mean prediction is {bias:+.3f} off the rate ({low:+.3f} to {high:+.3f}), {limit:g} may be"
        )
    if saved.high < 0 and -saved.mean > contract.gates.max_loss_per_1000:
        faults.append(_saves(saved, contract))
    return faults


def _saves(saved: Difference, contract: Contract) -> str:
    verb = "saves" if saved.mean >= 0 else "loses"
    money = f"{abs(saved.mean):,.0f} {contract.costs.currency} per 1,000 decisions"
    return f"{verb} {money} against one decision for all ({saved.low:+,.0f} to {saved.high:+,.0f})"

"""Champion/challenger evaluation: a challenger serves only if every gate passes, and each gate says why."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.engine import Engine
from fivestage.common.columns import Floats
from fivestage.contract.contract import BaselineName, Contract
from fivestage.contract.cost_model import cost_model_of
from fivestage.data.labels import labels_of
from fivestage.evaluation.evaluate import decision_day
from fivestage.evaluation.gates import UNDEFINED, Gate, Probe, at_most
from fivestage.evaluation.metrics import Answers, paired_difference, scores
from fivestage.evaluation.task_evaluation import evaluation_of
from fivestage.features.definitions import FeatureDefinitions

TIMED_ROWS = 50


@dataclass(frozen=True)
class Evidence:
    """What the gates ask beside the answers: baselines' share of the savings, probes, time of one row.

    `no_champion` says why the challenger meets no champion, when it meets none.
    """

    baselines: Mapping[BaselineName, float]
    probes: tuple[Probe, ...]
    row_ms: float
    no_champion: str = "there is no champion yet"


def run_gates(
    rows: pd.DataFrame, challenger: Answers, champion: Answers | None, evidence: Evidence, contract: Contract
) -> list[Gate]:
    """All gates on the holdout window: nothing on it was learnt from.

    The saving against the champion has an interval from a paired bootstrap over days, widened for few days
    (Hesterberg 2015, What Teachers Should Know About the Bootstrap).

    Args:
        rows: the rows of the holdout window, with labels, `decision_at` (epoch seconds) and the slices.
        challenger: the challenger's forecasts and decisions for these rows, in their order.
        champion: the champion's for the same rows; None where the challenger meets no champion.
        evidence: the baselines' shares of the savings, the leakage probes, and the time of one row.
        contract: tells the task, the costs, and the limit of each gate.

    Returns:
        The gates in the order in which they are shown; money is in the costs' currency per 1,000 decisions.

    Raises:
        ValueError: for no rows, or labels or forecasts that cannot be scored.
    """
    label = labels_of(rows, contract)
    found = scores(label, challenger.forecast, contract.costs, challenger.decision)
    plausible, *honest = evaluation_of(contract).gates(found)
    return [
        _leakage(evidence.probes),
        plausible,
        _against_baselines(found["savings_share"], evidence.baselines, contract),
        *honest,
        at_most(
            "fast enough",
            evidence.row_ms,
            contract.gates.max_row_ms,
            "one row takes {value:.2f} ms, at most {limit:g} ms allowed",
        ),
        _against_champion(rows, label, challenger, champion or evidence.no_champion, contract),
        _slices(rows, label, challenger, champion, contract),
    ]


def row_milliseconds(artifact: Artifact, definitions: FeatureDefinitions, rows: pd.DataFrame) -> float:
    """Median time in which an artifact answers one row, features included.

    Args:
        artifact: what would be served.
        definitions: the project's features.
        rows: with the contract's columns, timestamps in epoch seconds; the first 50 are timed.

    Returns:
        Milliseconds of wall-clock time.
    """
    engine, spent = Engine(artifact, definitions), []
    asked: list[Any] = rows[list(artifact.contract.columns)].head(TIMED_ROWS).to_dict(orient="records")
    for row in asked:
        start = time.perf_counter()
        engine.predict([row])
        spent.append(time.perf_counter() - start)
    return float(np.median(spent) * 1000)


def _leakage(probes: Sequence[Probe]) -> Gate:
    if not probes:
        return Gate("no leak", passed=False, value=0.0, limit=0.0, sentence="no leakage probe ran")
    failed = [probe for probe in probes if not probe.passed]
    asked = sum(probe.applicable for probe in probes)
    passed = f"all {asked} leakage probes passed" if asked > 1 else "the leakage probe passed"
    if asked < len(probes):
        passed = f"{passed}, {len(probes) - asked} not applicable"
    sentence = "; ".join(probe.sentence for probe in failed) or passed
    return Gate("no leak", not failed, float(len(failed)), 0.0, sentence)


def _against_baselines(share: float, baselines: Mapping[BaselineName, float], contract: Contract) -> Gate:
    needed = {name: baselines[name] + margin for name, margin in contract.baselines.items()}
    limit = max(needed.values())
    compared = ", ".join(
        f"{name} {baselines[name]:.1%} (at least {needed[name]:.1%} required)" for name in needed
    )
    sentence = UNDEFINED if math.isnan(share) else f"saves {share:.1%} of the achievable savings; {compared}"
    return Gate("better than the baselines", bool(share >= limit), share, limit, sentence)


def _against_champion(
    rows: pd.DataFrame, label: Any, challenger: Answers, champion: Answers | str, contract: Contract
) -> Gate:
    name = "cheaper than the champion"
    if isinstance(champion, str):
        sentence = f"not applicable: {champion}"
        return Gate(name, passed=True, value=math.nan, limit=0.0, sentence=sentence, applicable=False)
    saved = paired_difference(
        _costs(label, champion, contract),
        _costs(label, challenger, contract),
        decision_day(rows),
        confidence=contract.gates.confidence,
    )
    gates = contract.gates
    worst = max(gates.max_loss_per_1000, gates.max_loss_standard_errors * saved.standard_error)
    sentence = (
        f"saves {saved.mean:,.0f} {contract.costs.currency} per 1,000 decisions against the champion "
        f"({saved.low:,.0f} to {saved.high:,.0f}); the mean must be above 0 and the lower end at least "
        f"{-worst:,.0f}"
    )
    return Gate(name, saved.mean > 0 and saved.low >= -worst, saved.mean, 0.0, sentence)


def _slices(
    rows: pd.DataFrame, label: Any, challenger: Answers, champion: Answers | None, contract: Contract
) -> Gate:
    """No slice may pay for the others; without a champion, against the best constant decision."""
    name, limit = "no slice pays", contract.gates.max_slice_loss
    cost = _costs(label, challenger, contract)
    if champion is None:
        money = cost_model_of(contract.costs)
        alone = np.full(len(label), money.best_constant_decision(label))
        before, other = money.price(label, alone), "the best constant decision"
    else:
        before, other = _costs(label, champion, contract), "the champion"
    losses = {
        f"{column} {value}": _loss(cost[places].mean(), before[places].mean(), before.mean())
        for column in contract.slices
        for value, places in rows.groupby(column).indices.items()
        if len(places) >= contract.gates.min_slice_rows
    }
    if not losses:
        sentence = f"not applicable: no slice of the window has {contract.gates.min_slice_rows} rows"
        return Gate(name, passed=True, value=0.0, limit=limit, sentence=sentence, applicable=False)
    where = max(losses, key=losses.__getitem__)
    worst = losses[where]
    sentence = f"the worst slice, {where}, costs {worst:+.1%} against {other}, at most {limit:+.0%} allowed"
    return Gate(name, worst <= limit, worst, limit, sentence)


def _loss(cost: float, before: float, usual: float) -> float:
    """What a row costs more, as a share of what it did before: there or, if that is more, on average.

    A slice in which nothing went wrong before would make every false alarm an infinite loss.
    """
    paid = max(abs(before), abs(usual))
    if paid == 0:
        return 0.0 if cost <= before else float("inf")
    return float((cost - before) / paid)


def _costs(label: Any, answers: Answers, contract: Contract) -> Floats:
    return cost_model_of(contract.costs).price(label, answers.decision)

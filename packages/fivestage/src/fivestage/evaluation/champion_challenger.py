"""Champion/challenger evaluation: a challenger is promoted only if it passes every gate."""

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
from fivestage.evaluation.confusion import confusion_of
from fivestage.evaluation.evaluate import decision_day, slice_values
from fivestage.evaluation.gates import UNDEFINED, Gate, GateVerdict, Probe, at_most
from fivestage.evaluation.metrics import Answers, paired_difference, scores
from fivestage.evaluation.task_evaluation import metric_gates
from fivestage.features.definitions import FeatureDefinitions

TIMED_ROWS = 50


@dataclass(frozen=True)
class Evidence:
    """What gates need besides predictions: the baselines' savings, leakage probes, and the time per row."""

    baselines: Mapping[BaselineName, float]
    probes: tuple[Probe, ...]
    row_ms: float

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        definitions: FeatureDefinitions,
        rows: pd.DataFrame,
        baselines: Mapping[BaselineName, float],
        probes: tuple[Probe, ...],
    ) -> "Evidence":
        """Return the evidence on a challenger, and measure the time that it takes per row.

        Args:
            artifact: the challenger's artifact.
            definitions: the project's features.
            rows: rows with the contract's columns, timestamps in epoch seconds; the first 50 are timed.
            baselines: the share of the achievable savings of each baseline.
            probes: the results of the leakage probes.

        Returns:
            The evidence; its time is the median for one row with its features, in milliseconds.
        """
        return cls(baselines, probes, row_milliseconds(artifact, definitions, rows))


def run_gates(
    rows: pd.DataFrame, challenger: Answers, champion: Answers | str, evidence: Evidence, contract: Contract
) -> GateVerdict:
    """Run all gates on the holdout window, which neither model was trained on.

    The saving against the champion has an interval from a paired bootstrap over days, widened for few days
    (Hesterberg 2015, What Teachers Should Know About the Bootstrap).

    Args:
        rows: the rows of the holdout window, with labels, `decision_at` (epoch seconds) and the slices.
        challenger: the challenger's forecasts and decisions for these rows, in the same order.
        champion: the champion's for the same rows, or why the challenger is not compared with a champion.
        evidence: the baselines' shares of the savings, the leakage probes, and the time per row.
        contract: defines the task, the costs, and the limit of each gate.

    Returns:
        The gates, whose savings are in the costs' currency per 1,000 decisions, and the confusion matrix.

    Raises:
        ValueError: if there are no rows, or labels or forecasts that cannot be scored.
    """
    label = labels_of(rows, contract)
    metrics = scores(label, challenger.forecast, contract.costs, challenger.decision)
    plausible, *calibration = metric_gates(contract, metrics)
    gates = (
        _leakage(evidence.probes),
        plausible,
        _against_baselines(metrics["savings_share"], evidence.baselines, contract),
        *calibration,
        at_most(
            "fast enough",
            evidence.row_ms,
            contract.gates.max_row_ms,
            "one row takes {value:.2f} ms, at most {limit:g} ms allowed",
        ),
        _against_champion(rows, label, challenger, champion, contract),
        _slices(rows, label, challenger, champion, contract),
    )
    return GateVerdict(gates, confusion_of(label, challenger.decision, contract))


def row_milliseconds(artifact: Artifact, definitions: FeatureDefinitions, rows: pd.DataFrame) -> float:
    """Measure the median time that an artifact takes to predict one row; see `Evidence.of`."""
    engine, durations = Engine(artifact, definitions), []
    timed: list[Any] = rows[list(artifact.contract.columns)].head(TIMED_ROWS).to_dict(orient="records")
    for row in timed:
        start = time.perf_counter()
        engine.predict([row])
        durations.append(time.perf_counter() - start)
    return float(np.median(durations) * 1000)


def _leakage(probes: Sequence[Probe]) -> Gate:
    if not probes:
        return Gate("no leak", passed=False, value=0.0, limit=0.0, sentence="no leakage probe ran")
    failed = [probe for probe in probes if not probe.passed]
    applicable = sum(probe.applicable for probe in probes)
    passed = f"all {applicable} leakage probes passed" if applicable > 1 else "the leakage probe passed"
    if applicable < len(probes):
        passed = f"{passed}, {len(probes) - applicable} not applicable"
    sentence = "; ".join(probe.sentence for probe in failed) or passed
    return Gate("no leak", not failed, float(len(failed)), 0.0, sentence)


def _against_baselines(share: float, baselines: Mapping[BaselineName, float], contract: Contract) -> Gate:
    required = {name: baselines[name] + margin for name, margin in contract.baselines.items()}
    limit = max(required.values())
    comparison = ", ".join(
        f"{name.replace('_', ' ')} {baselines[name]:.1%} (at least {required[name]:.1%} required)"
        for name in required
    )
    sentence = (
        UNDEFINED if math.isnan(share) else f"saves {share:.1%} of the achievable savings; {comparison}"
    )
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
    money, scale = f"{abs(saved.mean):,.0f} {contract.costs.currency}", "per 1,000 decisions"
    interval = f"{saved.low:,.0f} to {saved.high:,.0f}"
    result = (
        f"saves {money} {scale} against the champion ({interval})"
        if saved.mean >= 0
        else f"costs {money} more {scale} than the champion (savings: {interval})"
    )
    if saved.low == saved.high == 0:  # often the same model again
        result = "costs the same as the champion on every day"
    sentence = f"{result}; the mean must be above 0 and the lower end at least {-worst:,.0f}"
    return Gate(name, saved.mean > 0 and saved.low >= -worst, saved.mean, 0.0, sentence)


def _slices(
    rows: pd.DataFrame, label: Any, challenger: Answers, champion: Answers | str, contract: Contract
) -> Gate:
    """Compare each slice's cost with the champion's, or else with that of the best constant decision."""
    name, limit = "no slice is worse off", contract.gates.max_slice_loss
    cost = _costs(label, challenger, contract)
    if isinstance(champion, str):
        cost_model = cost_model_of(contract.costs)
        constant = np.full(len(label), cost_model.best_constant_decision(label))
        before, other = cost_model.price(label, constant), "the best constant decision"
    else:
        before, other = _costs(label, champion, contract), "the champion"
    losses = {
        f"{column} {value}": _relative_loss(cost[indices].mean(), before[indices].mean(), before.mean())
        for column in contract.slices
        for value, indices in rows.groupby(slice_values(rows, column)).indices.items()
        if len(indices) >= contract.gates.min_slice_rows
    }
    if not losses:
        sentence = f"not applicable: no slice of the window has {contract.gates.min_slice_rows} rows"
        return Gate(name, passed=True, value=0.0, limit=limit, sentence=sentence, applicable=False)
    worst_slice = max(losses, key=losses.__getitem__)
    worst = losses[worst_slice]
    sentence = (
        f"the worst slice, {worst_slice}, costs {abs(worst):.1%} {'more' if worst > 0 else 'less'} than "
        f"{other}; at most {limit:.0%} more is allowed"
    )
    return Gate(name, worst <= limit, worst, limit, sentence)


def _relative_loss(cost: float, before: float, overall_before: float) -> float:
    """Return the added cost of a slice relative to its cost before, or to the overall one if that is higher.

    Otherwise a slice without any cost before would turn every false alarm into an infinite loss.
    """
    reference = max(abs(before), abs(overall_before))
    if reference == 0:
        return 0.0 if cost <= before else float("inf")
    return float((cost - before) / reference)


def _costs(label: Any, answers: Answers, contract: Contract) -> Floats:
    return cost_model_of(contract.costs).price(label, answers.decision)

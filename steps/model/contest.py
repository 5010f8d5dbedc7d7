"""The champion contest: a challenger serves only if every gate passes, and each gate says why."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.columns import Row
from core.contract import Contract
from monitoring.metrics import expected_costs, paired_difference, scores
from serving.engine import Engine
from steps.data.probes import Probe
from steps.model.evaluate import decision_day
from steps.model.fit import Floats

TIMED_ROWS = 50


@dataclass(frozen=True)
class Gate:
    """One condition of promotion, and what was found."""

    name: str
    passed: bool
    value: float
    limit: float
    sentence: str


@dataclass(frozen=True)
class Answers:
    """What one whole artifact answers on the contest window."""

    probability: Floats
    threshold: float


def run_gates(
    rows: pd.DataFrame,
    challenger: Answers,
    champion: Answers | None,
    baselines: Mapping[str, float],
    probes: list[Probe],
    row_ms: float,
    contract: Contract,
) -> list[Gate]:
    """All gates on the frozen contest window: nothing on it was learnt from."""
    label = rows[contract.label.name].to_numpy()
    found = scores(label, challenger.probability, contract.costs, challenger.threshold)
    gates = contract.gates
    return [
        _leakage(probes),
        _at_most(
            "plausible",
            found["roc_auc"],
            gates.suspicious_roc_auc,
            "ROC-AUC {value:.3f}; {limit:g} and more is a leak",
        ),
        _against_baselines(found["savings_share"], baselines, contract),
        _at_most(
            "calibrated",
            found["calibration_error"],
            gates.max_calibration_error,
            "calibration error {value:.3f} of {limit:g}",
        ),
        _at_most(
            "unbiased",
            abs(found["bias"]),
            gates.max_bias,
            "the mean prediction is {value:.3f} off the rate, {limit:g} may be",
        ),
        _at_most("fast enough", row_ms, gates.max_row_ms, "one row takes {value:.2f} ms of {limit:g}"),
        _against_champion(rows, label, challenger, champion, contract),
        _slices(rows, label, challenger, champion, contract),
    ]


def row_milliseconds(engine: Engine, rows: list[Row]) -> float:
    """Median time to answer one row, features included."""
    spent = []
    for row in rows[:TIMED_ROWS]:
        start = time.perf_counter()
        engine.predict([row])
        spent.append(time.perf_counter() - start)
    return float(np.median(spent) * 1000)


def _leakage(probes: list[Probe]) -> Gate:
    failed = [probe for probe in probes if not probe.passed]
    sentence = "; ".join(probe.sentence for probe in failed) or f"all {len(probes)} leakage probes passed"
    return Gate("no leak", not failed, len(failed), 0, sentence)


def _at_most(name: str, value: float, limit: float, sentence: str) -> Gate:
    return Gate(name, bool(value <= limit), value, limit, sentence.format(value=value, limit=limit))


def _against_baselines(share: float, baselines: Mapping[str, float], contract: Contract) -> Gate:
    asked = {name: saved + contract.baselines[name] for name, saved in baselines.items()}
    limit = max(asked.values())
    compared = ", ".join(f"{name} {saved:.1%} ({asked[name]:.1%} asked)" for name, saved in baselines.items())
    sentence = f"saves {share:.1%} of what could be saved; {compared}"
    return Gate("better than the baselines", bool(share >= limit), share, limit, sentence)


def _against_champion(
    rows: pd.DataFrame, label: Floats, challenger: Answers, champion: Answers | None, contract: Contract
) -> Gate:
    name = "cheaper than the champion"
    if champion is None:
        return Gate(name, True, 0.0, 0.0, "there is no champion yet")
    saved = paired_difference(
        _costs(label, champion, contract),
        _costs(label, challenger, contract),
        decision_day(rows),
        confidence=contract.gates.confidence,
    )
    limit = -contract.gates.max_loss_per_1000
    money = contract.costs.currency
    sentence = (
        f"saves {saved.mean:,.0f} {money} per 1,000 decisions against the champion, between {saved.low:,.0f} and "
        f"{saved.high:,.0f}; it must save on average and may at worst lose {-limit:,.0f}"
    )
    return Gate(name, saved.mean > 0 and saved.low >= limit, saved.mean, 0.0, sentence)


def _slices(
    rows: pd.DataFrame, label: Floats, challenger: Answers, champion: Answers | None, contract: Contract
) -> Gate:
    """No slice may pay for the others; without a champion, against the best constant decision."""
    cost = _costs(label, challenger, contract)
    if champion is None:
        act = np.full(len(label), label.mean() >= contract.costs.threshold)
        before, other = expected_costs(label, act, contract.costs), "the best constant decision"
    else:
        before, other = _costs(label, champion, contract), "the champion"
    worst, where = -np.inf, "no slice"
    for column in contract.slices:
        for value, places in rows.groupby(column).indices.items():
            if len(places) >= contract.gates.min_slice_rows:
                loss = float(cost[places].sum() / before[places].sum() - 1)
                if loss > worst:
                    worst, where = loss, f"{column} {value}"
    limit = contract.gates.max_slice_loss
    sentence = f"the worst slice, {where}, costs {worst:+.1%} against {other}; {limit:+.0%} may be"
    return Gate("no slice pays", worst <= limit, worst, limit, sentence)


def _costs(label: Floats, answers: Answers, contract: Contract) -> Floats:
    return expected_costs(label, answers.probability >= answers.threshold, contract.costs)

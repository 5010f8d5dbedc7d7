"""What of the watch is another for each task: limits of scores, columns of the score, concept drift."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fivestage.contract.contract import Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import HIGH, LOW, VALUE
from fivestage.evaluation.daily import Floats
from fivestage.monitoring.concept import NUMBERS, ConceptReport, detect_concept_drift
from fivestage.monitoring.distances import WindowCounts


@dataclass(frozen=True)
class Limit:
    """A score, what it should be, how far off it may be, and how that is said."""

    score: str
    target: float
    allowed: float
    words: str  # with {off}
    side: int = 0  # -1 if only less is wrong, 1 if only more is

    def fault(self, value: float, interval: tuple[float, float]) -> str:
        """What is wrong with a value, unless it is within the limit or chance explains it."""
        off, (low, high) = value - self.target, interval
        if off * self.side < 0:
            return ""
        if abs(off) <= self.allowed or not (low > self.target or high < self.target):
            return ""
        told = self.words.format(off=f"{off:+.3f}")
        return f"{told} ({low - self.target:+.3f} to {high - self.target:+.3f}), {self.allowed:g} may be"


def limits_of(contract: Contract) -> tuple[Limit, ...]:
    """The limits of a period."""
    bias = contract.monitoring.max_bias
    if isinstance(contract, RegressionContract):
        return (
            Limit("bias", 0, bias, f"the mean prediction is {{off}} {contract.label.unit} off what came"),
            # Where many numbers are the same, what is wanted lies between the shares of open and closed ones.
            *(
                Limit(
                    score,
                    contract.interval,
                    contract.gates.max_coverage_error,
                    f"the share inside of the intervals{edges} is {{off}} off {contract.interval:g}",
                    side,
                )
                for score, edges, side in (("coverage", "", -1), ("open_coverage", ", not on an edge,", 1))
            ),
        )
    return (Limit("bias", 0, bias, "the mean prediction is {off} off the rate"),)


def score_columns(forecast: Floats, contract: Contract) -> pd.DataFrame:
    """The columns in which drift of the score is looked for."""
    if isinstance(contract, RegressionContract):
        return pd.DataFrame({"value": forecast[:, VALUE], "width": forecast[:, HIGH] - forecast[:, LOW]})
    if isinstance(contract, MulticlassContract):
        return pd.DataFrame(
            {f"probability of {name}": forecast[:, i] for i, name in enumerate(contract.label.classes)}
        )
    return pd.DataFrame({"probability": forecast})


def concept_drift(
    reference: WindowCounts,
    current: WindowCounts,
    label: tuple[Any, Any],
    forecast: tuple[Floats, Floats],
    contract: Contract,
) -> ConceptReport:
    """See `detect_concept_drift`; each class is looked at by itself, with its part of the false alarms."""
    false_alarm = contract.monitoring.false_alarm
    if isinstance(contract, RegressionContract):
        return detect_concept_drift(reference, current, label, forecast, false_alarm, kind=NUMBERS)
    if not isinstance(contract, MulticlassContract):
        return detect_concept_drift(reference, current, label, forecast, false_alarm)
    found: dict[str, ConceptReport] = {}
    for place, name in enumerate(contract.label.classes):
        truth = tuple((one == place).astype(np.float64) for one in label)
        told = tuple(one[:, place] for one in forecast)
        share = false_alarm / len(contract.label.classes)
        found[name] = detect_concept_drift(reference, current, truth, told, share)  # type: ignore[arg-type]
    return ConceptReport(
        rate=any(one.rate for one in found.values()),
        columns=tuple(dict.fromkeys(column for one in found.values() for column in one.columns)),
        sentences=tuple(f"{name}: {told}" for name, one in found.items() for told in one.sentences),
    )

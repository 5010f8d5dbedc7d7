"""Gates and probes: conditions of promotion, each with a sentence on why it passed or failed."""

import math
from dataclasses import dataclass, replace

UNDEFINED = (
    "undefined: all labels of the holdout window are equal. Increase split.holdout_days in "
    "problem/problem.yaml, or provide more rows"
)
ADVICE = (  # shown when a challenger is refused
    "Add features that say more about the outcome (for histories of entities: `make init` with KEYS=...), "
    "or, where a gate demands too much, change `gates` in problem/problem.yaml."
)


@dataclass(frozen=True)
class Gate:
    """The result of one condition of promotion."""

    name: str  # as shown in tables and pages
    passed: bool  # whether the challenger meets the condition
    value: float  # the measured value
    limit: float  # the value it was compared with
    sentence: str  # the result in words
    applicable: bool = True  # False if the gate could not have failed; it then counts as passed

    @property
    def line(self) -> str:
        """The result as a line of text, such as "FAIL  fast enough: one row takes 9 ms, ..."."""
        verdict = ("pass" if self.passed else "FAIL") if self.applicable else "n/a "
        return f"{verdict}  {self.name}: {self.sentence}"


@dataclass(frozen=True)
class DecisionScores:
    """How well a decision meets the outcomes for which it is the cheapest one."""

    decision: str  # its name in the contract
    outcomes: tuple[str, ...]  # the outcomes for which it is right; empty if another one is always cheaper
    precision: float  # share of the rows with this decision for which it is right; NaN if never taken
    recall: float  # share of the rows with these outcomes that got this decision; NaN if there are none
    rows: int  # number of rows with these outcomes (support)


@dataclass(frozen=True)
class ConfusionMatrix:
    """Number of rows by outcome and decision, in the order of the contract."""

    outcomes: tuple[str, ...]  # names of the matrix's rows: classes, or the label's absence and presence
    counts: tuple[tuple[int, ...], ...]  # outcomes x decisions
    decisions: tuple[DecisionScores, ...]  # the matrix's columns


@dataclass(frozen=True)
class GateVerdict:
    """The results of all gates for a challenger, and its decisions, both on the holdout window."""

    gates: tuple[Gate, ...]  # in display order
    confusion: ConfusionMatrix | None = None  # None for regression, whose decisions are numbers

    @property
    def passed(self) -> bool:
        """Whether the challenger passed every gate, and so may serve."""
        return all(gate.passed for gate in self.gates)

    def with_gates(self, *gates: Gate) -> "GateVerdict":
        """Return the verdict with further gates after those that every project has."""
        return replace(self, gates=(*self.gates, *gates))


@dataclass(frozen=True)
class Probe:
    """The result of one check for data leakage."""

    name: str  # as shown in tables and pages
    passed: bool  # whether no leak was found
    sentence: str  # the result in words
    applicable: bool = True  # False if the probe could not have failed


def at_most(name: str, value: float, limit: float | None, sentence: str) -> Gate:
    """Build a gate that fails if the value exceeds the limit."""
    if limit is None:
        reason = (
            "not applicable: the contract sets no limit, as an honest model or chance could reach any value"
        )
        return Gate(name, passed=True, value=value, limit=math.nan, sentence=reason, applicable=False)
    result = UNDEFINED if math.isnan(value) else sentence.format(value=value, limit=limit)
    return Gate(name, bool(value <= limit), value, limit, result)

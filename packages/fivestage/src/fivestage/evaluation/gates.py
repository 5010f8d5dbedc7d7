"""Gates and probes: the conditions of promotion, each with a sentence that says why it passed or failed."""

import math
from dataclasses import dataclass

UNDEFINED = (
    "undefined: all labels of the champion/challenger window are equal. Increase split.holdout_days in "
    "problem/problem.yaml, or provide more rows"
)
ADVICE = (  # to whoever has a challenger refused
    "Add features that say more about the outcome (for histories of entities: `make init` with KEYS=...), "
    "or, where a gate demands too much, change `gates` in problem/problem.yaml."
)


@dataclass(frozen=True)
class Gate:
    """One condition of promotion.

    Args:
        name: how tables and pages call it.
        passed: whether the challenger may serve as far as this gate goes.
        value: what was measured.
        limit: what it was compared with.
        sentence: the finding in words.
        applicable: False where nothing could have failed the gate; it then counts as passed, and says why.
    """

    name: str
    passed: bool
    value: float
    limit: float
    sentence: str
    applicable: bool = True

    @property
    def line(self) -> str:
        """The gate as a line of text, such as "FAIL  fast enough: one row takes 9 ms, ..."."""
        verdict = ("pass" if self.passed else "FAIL") if self.applicable else "n/a "
        return f"{verdict}  {self.name}: {self.sentence}"


@dataclass(frozen=True)
class Probe:
    """A check that nothing of the future is in the features."""

    name: str  # how tables and pages call it
    passed: bool  # whether no leak was found
    sentence: str  # the finding in words
    applicable: bool = True  # false where nothing could have failed the probe


def at_most(name: str, value: float, limit: float | None, sentence: str) -> Gate:
    """A gate that stops what exceeds a limit."""
    if limit is None:
        why = "not applicable: the contract has no limit, as an honest model or chance could reach any"
        return Gate(name, passed=True, value=value, limit=math.nan, sentence=why, applicable=False)
    finding = UNDEFINED if math.isnan(value) else sentence.format(value=value, limit=limit)
    return Gate(name, bool(value <= limit), value, limit, finding)

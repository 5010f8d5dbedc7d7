"""The commonest kind of gate, and what is said where there is nothing to go by."""

import math

from fivestage.reporting.results import Gate

UNTOLD = (
    "cannot be told: the contest window holds one class alone, or one number. Lengthen split.contest_days "
    "in problem/problem.yaml, or bring more rows"
)


def at_most(name: str, value: float, limit: float, sentence: str) -> Gate:
    """A gate that stops what exceeds a limit; the sentence may tell {value} and {limit}."""
    told = UNTOLD if math.isnan(value) else sentence.format(value=value, limit=limit)
    return Gate(name, bool(value <= limit), value, limit, told)

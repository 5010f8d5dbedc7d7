"""The commonest kind of gate."""

from report.results import Gate


def at_most(name: str, value: float, limit: float, sentence: str) -> Gate:
    """A gate that stops what exceeds a limit; the sentence may tell {value} and {limit}."""
    return Gate(name, bool(value <= limit), value, limit, sentence.format(value=value, limit=limit))

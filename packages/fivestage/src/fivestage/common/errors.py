"""The one exception that is meant for a person, and how its sentences name what was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A sentence for the user: what is wrong, where, and how to mend it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question, after a space, that proposes the known name nearest to a wrong one.

    Args:
        name: as it was written.
        known: those that would be right.

    Returns:
        Such as ` Did you mean deposit?`; empty where none is near.
    """
    near = get_close_matches(name, list(known), 1)
    return f" Did you mean {near[0]}?" if near else ""

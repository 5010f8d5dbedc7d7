"""The one exception that is meant for a person, and what its sentences say of names that are wrong."""

from collections.abc import Collection, Iterable
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


def require_columns(present: Iterable[str], expected: Collection[str], source: str) -> None:
    """Refuse a table that lacks a column, with the name that was probably meant.

    Args:
        present: the table's columns.
        expected: those that it must have.
        source: what the message calls the table.

    Raises:
        UserError: naming each that is missing.
    """
    present = list(present)
    missing = [name for name in expected if name not in present]
    if missing:
        unknown = [name for name in present if name not in expected]
        near = "".join(dict.fromkeys(did_you_mean(name, unknown) for name in missing))
        raise UserError(
            f"{source} has no column {', '.join(missing)}.{near} Add it, or take it out of problem.yaml."
        )

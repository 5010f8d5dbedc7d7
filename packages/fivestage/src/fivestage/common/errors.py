"""The exception whose message is shown to the user, and suggestions for misspelt names."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches


class UserError(Exception):
    """An error message for the user: what is wrong, where, and how to fix it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that is closest to a misspelt one.

    Args:
        name: the name as the user wrote it.
        known: the valid names.

    Returns:
        A question with a leading space, such as ` Did you mean deposit?`; empty if no name is close.
    """
    matches = get_close_matches(name, list(known), 1)
    return f" Did you mean {matches[0]}?" if matches else ""


def require_columns(present: Iterable[str], expected: Collection[str], source: str) -> None:
    """Require that a table has all expected columns.

    Args:
        present: the table's columns.
        expected: the columns it must have.
        source: the table's name in the message.

    Raises:
        UserError: when columns are missing; the message names them and suggests similar ones.
    """
    present = list(present)
    missing = [name for name in expected if name not in present]
    if missing:
        unknown = [name for name in present if name not in expected]
        hints = "".join(dict.fromkeys(did_you_mean(name, unknown) for name in missing))
        raise UserError(
            f"{source} has no column {', '.join(missing)}.{hints} Add it, or remove it from problem.yaml."
        )

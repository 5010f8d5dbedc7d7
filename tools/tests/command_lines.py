"""Check command lines against the options of run.py."""

from collections.abc import Sequence

from typer.main import get_group

from run import app


def understood(words: Sequence[str]) -> bool:
    """Parse the options of a command as run.py would, without running it; raise an error for wrong ones."""
    name, *options = words
    command = get_group(app.commands).commands[name]
    return command.make_context(name, list(options)) is not None

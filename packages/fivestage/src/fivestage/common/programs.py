"""Run the command-line programs that the project needs; every failure is a `UserError`."""

import os
import subprocess
from collections.abc import Mapping

from fivestage.common.errors import UserError


def run_program(
    program: str,
    *arguments: str,
    stdin: str = "",
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    fix: str = "install it",
) -> "subprocess.CompletedProcess[str]":
    """Run a program and capture its output.

    Args:
        program: Its name on the PATH.
        *arguments: Its arguments; an error names the first that is no option.
        stdin: Text for its standard input.
        timeout: Maximum run time in seconds.
        environment: Variables to set in addition to those of this process.
        fix: What to do if the program is missing.

    Returns:
        The finished process.

    Raises:
        UserError: If the program is missing, takes too long, or fails; the message quotes its error output.
    """
    name = " ".join((program, *[one for one in arguments if not one.startswith("-")][:1]))
    try:
        finished = subprocess.run(  # noqa: S603 (our own arguments)
            [program, *arguments],
            env=os.environ | (environment or {}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise UserError(f"This needs the program `{program}`: {fix}.") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{name} did not finish within {timeout:.0f} s.") from error
    if finished.returncode:
        message = finished.stderr.strip() or finished.stdout.strip()
        raise UserError(f"{name}: {message}")
    return finished

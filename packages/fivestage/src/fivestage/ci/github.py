"""GitHub through its own program, `gh`, which runners have and a laptop may."""

import json
import shutil
import subprocess
from typing import Any

from fivestage.common.errors import UserError


def gh(*words: str, text: str = "") -> str:
    """What `gh` prints; `text` is given to its standard input.

    Raises:
        UserError: with what it said, when it fails or is not there.
    """
    return said_by("gh", *words, text=text)


def git(*words: str) -> str:
    """What `git` prints.

    Raises:
        UserError: with what it said, when it fails or is not there.
    """
    return said_by("git", *words)


def found(*words: str) -> list[dict[str, Any]]:
    """What `gh` lists as JSON.

    Raises:
        UserError: with what it said, when it fails or is not there.
    """
    return list(json.loads(gh(*words)))


def said_by(program: str, *words: str, text: str = "") -> str:
    """What a program prints.

    Raises:
        UserError: with what it said, when it fails or is not there.
    """
    path = shutil.which(program)
    if path is None:
        raise UserError(
            f"This needs the program `{program}`: install it (https://cli.github.com), and log in."
        )
    done = subprocess.run([path, *words], input=text, capture_output=True, text=True, check=False)  # noqa: S603 (our own words)
    if done.returncode:
        raise UserError(f"`{program} {' '.join(words[:2])}` failed: {done.stderr.strip()}")
    return done.stdout.strip()

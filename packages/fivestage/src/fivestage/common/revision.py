"""The Git commit of the running code."""

import os
import subprocess

from fivestage.common.settings import ROOT


def commit() -> str:
    """Commit of the working tree, plus `-dirty` if it has changes; in an image, the commit of its build."""
    if "FIVESTAGE_REVISION" in os.environ:
        return os.environ["FIVESTAGE_REVISION"]
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 (fixed words)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

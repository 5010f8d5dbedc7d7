"""Which state of the repository this is."""

import os
import subprocess

from fivestage.common.settings import ROOT


def commit() -> str:
    """The commit of the working tree, `-dirty` when it has been changed since; of an image, its own."""
    if "FIVESTAGE_REVISION" in os.environ:
        return os.environ["FIVESTAGE_REVISION"]
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 (fixed words)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

"""Git repositories for tests that need one."""

import os
import subprocess
from pathlib import Path


def git(folder: Path, *words: str) -> str:
    """Run git as a test user, without the machine's own configuration, and return its output."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "FIVESTAGE_"))
    }
    done = subprocess.run(
        ["/usr/bin/env", "git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-C", folder, *words],
        env=environment | {"GIT_CONFIG_GLOBAL": os.devnull},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def commit(folder: Path, message: str, tag: str = "") -> Path:
    """Commit everything in a folder, which becomes a repository if it is none yet."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    if tag:
        git(folder, "tag", tag)
    return folder

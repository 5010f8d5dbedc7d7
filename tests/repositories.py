"""Folders with a history of their own, for tests that need one."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def git(folder: Path, *words: str) -> str:
    """What git says, with a person and without the machine's settings."""
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


def export(folder: Path) -> Path:
    """The template as it stands here, without what git ignores."""
    for name in git(ROOT, "ls-files", "-co", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def commit(folder: Path, message: str, tag: str = "") -> Path:
    """All that stands in a folder as a commit of its repository, which is made if there is none."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    if tag:
        git(folder, "tag", tag)
    return folder

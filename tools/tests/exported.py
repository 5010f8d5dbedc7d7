"""A copy of the template's files, for tests that modify or render it."""

import shutil
from pathlib import Path

from fivestage.common.settings import ROOT
from tests.repositories import git


def export(folder: Path) -> Path:
    """Copy the template's working tree, without ignored files."""
    for name in git(ROOT, "ls-files", "-co", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder

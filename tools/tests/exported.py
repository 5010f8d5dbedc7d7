"""The template's files as they stand here, for tests that spoil or render a copy."""

import shutil
from pathlib import Path

from fivestage.common.settings import ROOT
from tests.repositories import git


def export(folder: Path) -> Path:
    """The template as it stands here, without what git ignores."""
    for name in git(ROOT, "ls-files", "-co", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder

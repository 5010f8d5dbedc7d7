"""A pull request with files that a run has changed, and its notice as the text; there is one of a kind."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from fivestage.ci.github import found, gh, git
from fivestage.common.errors import UserError
from fivestage.reporting.notices import Notice

AUTHOR = ("github-actions[bot]", "41898282+github-actions[bot]@users.noreply.github.com")


def propose(notice: Notice, files: Sequence[str], base: str, source: Path = Path()) -> str:
    """Commit the files on a branch of the notice's kind, and open or update its pull request.

    They may lie in another folder, `source`, by the same names, as a job without rights has left them.

    Raises:
        UserError: when a file is not there, or git or GitHub does not take it.
    """
    for name in files if source != Path() else ():
        if not (source / name).is_file():
            raise UserError(f"{source / name} is not there to be proposed: see what the job before has left.")
        shutil.copyfile(source / name, name)
    branch = f"proposal/{notice.kind}"
    git("add", "--", *files)
    if not git("diff", "--cached", "--name-only"):
        return "Nothing has changed, so nothing is proposed."
    git("switch", "--force-create", branch)
    name, email = AUTHOR
    git("-c", f"user.name={name}", "-c", f"user.email={email}", "commit", "--message", notice.title)
    git("-c", "credential.helper=!gh auth git-credential", "push", "--force", "origin", branch)
    words = ("--title", notice.title, "--body-file", "-")
    listed = found("pr", "list", "--head", branch, "--state", "open", "--json", "number", "--limit", "1")
    if listed:
        number = str(listed[0]["number"])
        gh("pr", "edit", number, *words, text=notice.body)
        return f"Pull request {number} is up to date."
    return f"Opened {gh('pr', 'create', '--base', base, '--head', branch, *words, text=notice.body)}."

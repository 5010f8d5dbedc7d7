"""Keep one issue and one pull request up to date for each kind of notice, with GitHub's command `gh`."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fivestage.common.errors import UserError
from fivestage.common.programs import run_program
from fivestage.reporting.notices import Notice

AUTHOR = ("github-actions[bot]", "41898282+github-actions[bot]@users.noreply.github.com")


def update_issue(notice: Notice) -> str:
    """Open, update or close the issue of a notice's kind."""
    issue = _open_one("issue", "--label", notice.kind)
    if issue is None:
        return _open_issue(notice) if notice.attention else "All is well, and no issue is open."
    number, before = str(issue["number"]), issue["body"].replace("\r\n", "\n").strip()
    if notice.attention and before == notice.body.strip():
        return f"Issue {number} says so already."
    _run("gh", "issue", "edit", number, *_text_of(notice), stdin=notice.body)
    if notice.attention:  # people are notified of comments, not of edits
        _run("gh", "issue", "comment", number, "--body", "The report above is new.")
        return f"Issue {number} is up to date."
    _run("gh", "issue", "close", number, "--comment", "All is well again: the report above says so.")
    return f"Issue {number} is closed."


def propose(notice: Notice, files: Sequence[str], base: str, source: Path = Path()) -> str:
    """Commit files on a branch of the notice's kind, and open or update its pull request."""
    for name in files if source != Path() else ():
        if not (source / name).is_file():
            raise UserError(
                f"{source / name} is missing: check the files that the previous job has uploaded."
            )
        shutil.copyfile(source / name, name)
    branch = f"proposal/{notice.kind}"
    _run("git", "add", "--", *files)
    if not _run("git", "diff", "--cached", "--name-only"):
        return "Nothing has changed, so nothing is proposed."
    _run("git", "switch", "--force-create", branch)
    name, email = AUTHOR
    _run("git", "-c", f"user.name={name}", "-c", f"user.email={email}", "commit", "--message", notice.title)
    _run("git", "-c", "credential.helper=!gh auth git-credential", "push", "--force", "origin", branch)
    if pull_request := _open_one("pr", "--head", branch):
        number = str(pull_request["number"])
        _run("gh", "pr", "edit", number, *_text_of(notice), stdin=notice.body)
        return f"Pull request {number} is up to date."
    branches = ("--base", base, "--head", branch)
    return f"Opened {_run('gh', 'pr', 'create', *branches, *_text_of(notice), stdin=notice.body)}."


def _open_issue(notice: Notice) -> str:
    about = ("--force", "--description", "Opened and closed by a workflow")
    _run("gh", "label", "create", notice.kind, *about)
    label = ("--label", notice.kind)
    return f"Opened {_run('gh', 'issue', 'create', *label, *_text_of(notice), stdin=notice.body)}."


def _open_one(kind: str, *selection: str) -> dict[str, Any] | None:
    """The first open issue or pull request that matches a selection."""
    fields = ("--state", "open", "--json", "number,body", "--limit", "1")
    listed = json.loads(_run("gh", kind, "list", *selection, *fields))
    return dict(listed[0]) if listed else None


def _text_of(notice: Notice) -> tuple[str, ...]:
    return "--title", notice.title, "--body-file", "-"


def _run(program: str, *arguments: str, stdin: str = "") -> str:
    """Run a program and return its output."""
    fix = "install it (https://cli.github.com), and log in"
    return run_program(program, *arguments, stdin=stdin, fix=fix).stdout.strip()

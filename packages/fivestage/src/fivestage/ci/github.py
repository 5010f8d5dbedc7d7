"""Keep one issue up to date for each kind of notice, with GitHub's command `gh`."""

import json
from typing import Any

from fivestage.common.programs import run_program
from fivestage.reporting.notices import Notice


def update_issue(notice: Notice) -> str:
    """Open, update or close the issue of a notice's kind."""
    issue = _open_issue_of(notice.kind)
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


def _open_issue(notice: Notice) -> str:
    about = ("--force", "--description", "Opened and closed by a workflow")
    _run("gh", "label", "create", notice.kind, *about)
    label = ("--label", notice.kind)
    return f"Opened {_run('gh', 'issue', 'create', *label, *_text_of(notice), stdin=notice.body)}."


def _open_issue_of(kind: str) -> dict[str, Any] | None:
    """The open issue of a kind, which is its label."""
    fields = ("--state", "open", "--json", "number,body", "--limit", "1")
    listed = json.loads(_run("gh", "issue", "list", "--label", kind, *fields))
    return dict(listed[0]) if listed else None


def _text_of(notice: Notice) -> tuple[str, ...]:
    return "--title", notice.title, "--body-file", "-"


def _run(program: str, *arguments: str, stdin: str = "") -> str:
    """Run a program and return its output."""
    fix = "install it (https://cli.github.com), and log in"
    return run_program(program, *arguments, stdin=stdin, fix=fix).stdout.strip()

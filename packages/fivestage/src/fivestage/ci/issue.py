"""The one issue of a kind: opened when somebody is to look, kept up to date, closed when all is well."""

from fivestage.ci.github import found, gh
from fivestage.reporting.notices import Notice


def tell(notice: Notice) -> str:
    """Open, update or close the issue of a notice's kind; says what was done.

    Raises:
        UserError: when GitHub does not take it.
    """
    listed = found(
        *("issue", "list", "--label", notice.kind, "--state", "open"),
        *("--json", "number,body", "--limit", "1"),
    )
    if not listed:
        return _open(notice) if notice.attention else "All is well, and no issue is open."
    number, before = str(listed[0]["number"]), listed[0]["body"].replace("\r\n", "\n").strip()
    if notice.attention and before == notice.body.strip():
        return f"Issue {number} says so already."
    gh("issue", "edit", number, "--title", notice.title, "--body-file", "-", text=notice.body)
    if notice.attention:
        gh("issue", "comment", number, "--body", "The report above is new.")
        return f"Issue {number} is up to date."
    gh("issue", "close", number, "--comment", "All is well again: the report above says so.")
    return f"Issue {number} is closed."


def _open(notice: Notice) -> str:
    gh("label", "create", notice.kind, "--force", "--description", "Opened and closed by a workflow")
    words = ("issue", "create", "--title", notice.title, "--label", notice.kind, "--body-file", "-")
    return f"Opened {gh(*words, text=notice.body)}."

"""One open issue while attention is needed, none otherwise."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fivestage.ci.__main__ import main
from fivestage.ci.github import update_issue
from fivestage.common.errors import UserError
from fivestage.reporting.notices import Notice
from tests.ci.conftest import State

ALARM = Notice("monitoring", "Churn: Monitoring", attention=True, body="## October\n\nbad")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit code of the command, or its error message."""
    monkeypatch.setattr(sys, "argv", ["fivestage.ci", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_an_alarm_opens_one_issue_and_the_next_one_updates_it(github: State) -> None:
    assert "Opened" in update_issue(ALARM)
    assert "says so already" in update_issue(ALARM)
    assert "up to date" in update_issue(replace(ALARM, body="## November\n\nworse"))
    (issue,) = github()["issue"]
    assert issue["title"] == ALARM.title
    assert issue["body"] == "## November\n\nworse"
    assert len(issue["comments"]) == 1  # people hear of comments, not of edits
    assert issue["open"]


def test_when_all_is_well_again_it_is_closed_and_says_why(github: State) -> None:
    update_issue(ALARM)
    assert "closed" in update_issue(replace(ALARM, attention=False, body="good"))
    (issue,) = github()["issue"]
    assert not issue["open"]
    assert issue["body"] == "good"


def test_without_an_alarm_nothing_is_opened(github: State) -> None:
    update_issue(replace(ALARM, attention=False))
    assert github()["issue"] == []


def test_kinds_do_not_meet(github: State) -> None:
    update_issue(ALARM)
    update_issue(replace(ALARM, kind="retraining"))
    update_issue(replace(ALARM, kind="retraining", attention=False))
    assert [(one["label"], one["open"]) for one in github()["issue"]] == [
        ("monitoring", True),
        ("retraining", False),
    ]


def test_without_gh_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="needs the program `gh`"):
        update_issue(ALARM)


@pytest.mark.parametrize("verb", ["issue", "facts"])
def test_where_no_period_was_over_nothing_is_told(
    verb: str,
    github: State,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(monkeypatch, verb, str(tmp_path / "monitoring.md")) == 0
    assert capsys.readouterr().out == ""
    assert not github()["issue"]

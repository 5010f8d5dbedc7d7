"""One issue while somebody is to look; none while all is well."""

from dataclasses import replace
from pathlib import Path

import pytest

from fivestage.ci.__main__ import main
from fivestage.ci.issue import tell
from fivestage.common.errors import UserError
from fivestage.reporting.notices import Notice
from tests.ci.conftest import State

ALARM = Notice("monitoring", "Churn: Monitoring", attention=True, body="## October\n\nbad")


def test_an_alarm_opens_one_issue_and_the_next_one_updates_it(github: State) -> None:
    assert "Opened" in tell(ALARM)
    assert "says so already" in tell(ALARM)
    assert "up to date" in tell(replace(ALARM, body="## November\n\nworse"))
    (issue,) = github()["issue"]
    assert issue["title"] == ALARM.title
    assert issue["body"] == "## November\n\nworse"
    assert len(issue["comments"]) == 1  # people hear of comments, not of edits
    assert issue["open"]


def test_when_all_is_well_again_it_is_closed_and_says_why(github: State) -> None:
    tell(ALARM)
    assert "closed" in tell(replace(ALARM, attention=False, body="good"))
    (issue,) = github()["issue"]
    assert not issue["open"]
    assert issue["body"] == "good"


def test_without_an_alarm_nothing_is_opened(github: State) -> None:
    tell(replace(ALARM, attention=False))
    assert github()["issue"] == []


def test_kinds_do_not_meet(github: State) -> None:
    tell(ALARM)
    tell(replace(ALARM, kind="retraining"))
    tell(replace(ALARM, kind="retraining", attention=False))
    assert [(one["label"], one["open"]) for one in github()["issue"]] == [
        ("monitoring", True),
        ("retraining", False),
    ]


def test_without_gh_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="needs the program `gh`"):
        tell(ALARM)


@pytest.mark.parametrize("verb", ["issue", "facts"])
def test_where_no_period_was_over_nothing_is_told(
    verb: str, github: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, str(tmp_path / "monitoring.md")]) == 0
    assert capsys.readouterr().out == ""
    assert not github()["issue"]


def test_nothing_is_proposed_without_its_text(github: State, tmp_path: Path) -> None:
    assert main(["propose", str(tmp_path / "retraining.md"), "a"]) == 1
    assert not github()["pr"]

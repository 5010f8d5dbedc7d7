"""A single pull request with the changed files."""

from dataclasses import replace
from pathlib import Path

import pytest

from fivestage.ci.github import propose
from fivestage.common.errors import UserError
from fivestage.reporting.notices import Notice
from tests.ci.conftest import State
from tests.repositories import commit, git

CARD = Notice("retraining", "Churn: Version 7", attention=False, body="8 of 8 gates passed.")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose origin is a folder."""
    folder, origin = tmp_path / "checkout", tmp_path / "origin"
    folder.mkdir()
    (folder / "card.md").write_text("version 6")
    commit(folder, "Start")
    git(folder, "clone", "--quiet", "--bare", str(folder), str(origin))
    git(folder, "remote", "add", "origin", str(origin))
    monkeypatch.chdir(folder)
    return folder


def test_what_has_changed_becomes_a_branch_and_a_pull_request(checkout: Path, github: State) -> None:
    (checkout / "card.md").write_text("version 7")
    (checkout / "other.md").write_text("not asked for")
    assert "Opened" in propose(CARD, ["card.md"], "main")
    (asked,) = github()["pr"]
    assert asked["title"] == CARD.title
    assert asked["body"] == CARD.body
    pushed = git(checkout, "--git-dir", "../origin", "diff", "--stat", "main", asked["head"])
    assert "card.md" in pushed
    assert "other.md" not in pushed
    (checkout / "card.md").write_text("version 8")
    assert "up to date" in propose(replace(CARD, title="Churn: Version 8"), ["card.md"], "main")
    (asked,) = github()["pr"]
    assert asked["title"] == "Churn: Version 8"


def test_without_a_change_there_is_nothing_to_propose(checkout: Path, github: State) -> None:
    assert "Nothing has changed" in propose(CARD, ["card.md"], "main")
    assert github()["pr"] == []
    assert git(checkout, "branch", "--show-current").strip() == "main"


def test_files_come_from_where_a_job_without_rights_has_left_them(checkout: Path, github: State) -> None:
    left = checkout / "newest"
    left.mkdir()
    (left / "card.md").write_text("version 7")
    (left / "other.md").write_text("not asked for")
    propose(CARD, ["card.md"], "main", left)
    (asked,) = github()["pr"]
    assert git(checkout, "--git-dir", "../origin", "show", f"{asked['head']}:card.md") == "version 7"
    assert "newest" not in git(checkout, "ls-files")
    with pytest.raises(UserError, match=r"newest/lost\.md is missing"):
        propose(CARD, ["lost.md"], "main", left)


@pytest.mark.usefixtures("checkout", "github")
def test_a_file_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"git add: .*lost\.md"):
        propose(CARD, ["lost.md"], "main")

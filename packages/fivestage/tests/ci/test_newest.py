"""The notice about the newest libraries."""

import os
import sys
from pathlib import Path

import pytest

from fivestage.ci import newest
from fivestage.ci.newest import notice_of
from fivestage.reporting.notices import read_notice

DIFFERENCE = """\
--- a/requirements.lock
+++ b/requirements.lock
@@ -1 +1 @@
-numpy==2.4.0 \\
-    --hash=sha256:0
+numpy==2.5.0 ; python_version < '3.13' \\
+    --hash=sha256:1
-gone==1.0
+new==0.1
"""
OUTDATED = "Package Version Latest Type\n------- ------- ------ -----\nsame    3.0     4.0    wheel\n"


def test_what_works_says_what_moved_and_what_is_held_back() -> None:
    told = notice_of(DIFFERENCE, OUTDATED, "")
    assert not told.attention
    assert "```diff\n-numpy==2.4.0\n+numpy==2.5.0\n-gone==1.0\n+new==0.1\n```" in told.body
    assert "same    3.0     4.0" in told.body


def test_what_breaks_shows_the_end_of_what_was_said() -> None:
    told = notice_of(DIFFERENCE, "", "\n".join(f"line {number}" for number in range(100)))
    assert told.attention
    assert "line 99" in told.body
    assert "line 0\n" not in told.body
    assert "Held back" not in told.body


def test_nothing_new_says_so() -> None:
    assert "already has the newest versions" in notice_of("", "", "").body


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that succeed in silence; `python` is the one that lists outdated libraries."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("make", "git", "python"):
        answer(folder / name, "exit 0")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setattr(newest, "PATH", tmp_path / "dependencies.md")
    return folder


def answer(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_lock_is_updated_installed_and_tested(programs: Path) -> None:
    answer(programs / "make", f'echo "$@" >> {programs}/calls')
    answer(programs / "git", f"cat <<'END'\n{DIFFERENCE}END")
    answer(programs / "python", f"cat <<'END'\n{OUTDATED}END")
    assert newest.main() == 0
    assert (programs / "calls").read_text().split("\n") == ["lock ARGS=--upgrade", "setup", "test", ""]
    notice = read_notice(newest.PATH)
    assert not notice.attention
    assert "+numpy==2.5.0" in notice.body
    assert "same    3.0     4.0" in notice.body


def test_the_first_step_that_fails_ends_it_and_is_in_the_notice(programs: Path) -> None:
    answer(programs / "make", f'echo "$1" >> {programs}/calls; [ "$1" = lock ] || (echo no wheel; exit 2)')
    assert newest.main() == 1
    assert (programs / "calls").read_text().split() == ["lock", "setup"]
    notice = read_notice(newest.PATH)
    assert notice.attention
    assert "no wheel" in notice.body
    assert "already has the newest" not in notice.body


@pytest.mark.parametrize("program", ["git", "python"])
def test_a_list_that_cannot_be_made_is_a_failure_with_a_notice(programs: Path, program: str) -> None:
    answer(programs / program, "echo the index is down >&2; exit 1")
    assert newest.main() == 1
    notice = read_notice(newest.PATH)
    assert notice.attention
    assert "the index is down" in notice.body

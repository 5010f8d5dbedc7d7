"""The notice about the newest libraries."""

from fivestage.ci.newest import notice_of, pins
from fivestage.common.settings import ROOT

BEFORE = {"numpy": "2.4.0", "gone": "1.0", "same": "3.0"}
AFTER = {"numpy": "2.5.0", "new": "0.1", "same": "3.0"}


def test_the_lock_is_read_by_name() -> None:
    found = pins((ROOT / "requirements.lock").read_text())
    assert found["evidently"] == "0.7.23"
    assert len(found) == sum("==" in line for line in (ROOT / "requirements.lock").read_text().splitlines())


def test_what_works_says_what_moved_and_what_is_held_back() -> None:
    told = notice_of(BEFORE, AFTER, {"same": "4.0", "numpy": "2.5.0"}, "")
    assert not told.attention
    assert "| numpy | 2.4.0 | 2.5.0 |" in told.body
    assert "| gone | 1.0 | removed |" in told.body
    assert "| new | not installed | 0.1 |" in told.body
    assert "| same" not in told.body
    assert "same 3.0 (4.0)" in told.body


def test_what_breaks_shows_the_end_of_what_was_said() -> None:
    told = notice_of(BEFORE, AFTER, {}, "\n".join(f"line {number}" for number in range(100)))
    assert told.attention
    assert "line 99" in told.body
    assert "line 0\n" not in told.body


def test_nothing_new_says_so() -> None:
    assert "already has the newest versions" in notice_of(BEFORE, BEFORE, {}, "").body

from pathlib import Path

import pytest

from fivestage.common.errors import UserError
from fivestage.common.files import one_at_a_time, write_between


def test_one_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "jobs" / "monitor.lock"
    for _ in range(2):
        with (
            one_at_a_time(lock, "`make monitor`"),
            pytest.raises(UserError, match="Another process is running `make monitor`"),
            one_at_a_time(lock, "`make monitor`"),
        ):
            pass


def test_a_run_writes_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- seen: begin -->\nold\n<!-- seen: end -->\nafter\n")
    write_between(page, "seen", "new")
    assert page.read_text() == "before\n<!-- seen: begin -->\nnew\n<!-- seen: end -->\nafter\n"
    with pytest.raises(UserError, match="has no place for the generated text"):
        write_between(page, "measured", "lost")
    assert "lost" not in page.read_text()

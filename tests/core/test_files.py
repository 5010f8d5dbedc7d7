from pathlib import Path

import pytest

from core.errors import UserError
from core.files import one_at_a_time


def test_one_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "jobs" / "monitor.lock"
    for _ in range(2):
        with (
            one_at_a_time(lock, "`make monitor`"),
            pytest.raises(UserError, match="Another process is at `make monitor`"),
            one_at_a_time(lock, "`make monitor`"),
        ):
            pass

"""The hand-set constants of the drift checks are few, have a reason, and are on the page."""

from pathlib import Path

from fivestage.common.settings import ROOT
from tools.bench.hand_set import hand_set, numbers_in, table

MOST = 20


def test_at_most_twenty_numbers_are_set_by_hand_each_with_its_reason() -> None:
    numbers = hand_set()
    assert len(numbers) <= MOST
    assert {one.name for one in numbers} >= {"LEAST_SHARE", "BROKEN_VOLUME", "MOCK_WINDOWS", "SCORE_SHARE"}
    assert [one.name for one in numbers if not one.reason] == []


def test_the_page_has_them_as_they_are() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert f"<!-- hand-set: begin -->\n{table()}\n<!-- hand-set: end -->" in page


def test_a_number_without_a_reason_is_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('NAME = "text"\nLEAST = 0.1  # a tenth\nOTHER = 3\n', encoding="utf-8")
    assert [(one.name, one.value, one.reason) for one in numbers_in(module)] == [
        ("LEAST", "0.1", "a tenth"),
        ("OTHER", "3", ""),
    ]

"""A notice is read back as it was written, and what is none gets a sentence."""

from pathlib import Path

import pytest

from fivestage.common.errors import UserError
from fivestage.reporting.notices import Notice, read_notice


def test_what_is_written_is_read(tmp_path: Path) -> None:
    notice = Notice(
        "monitoring",
        "A: 'title', with --- in it",
        attention=True,
        body="# Body\n\n---\n\n| a | b |",
        facts={"as_of": "2013-10-08"},
    )
    assert read_notice(notice.write(tmp_path / "notices" / "one.md")) == notice


@pytest.mark.parametrize(
    "text", ["", "# only Markdown", "---\nkind: [\n---\n", "---\nkind: a\n---\nbody", "---\n- a\n---\nb"]
)
def test_what_is_no_notice_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.md").write_text(text)
    with pytest.raises(UserError, match="is not a notice"):
        read_notice(tmp_path / "one.md")


def test_what_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no notice at"):
        read_notice(tmp_path / "one.md")

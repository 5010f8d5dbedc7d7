from pathlib import Path

import pytest

from fivestage.common.errors import UserError
from tools.book.code import line_of, link, without_lines

PYTHON = '''"""A module."""
LIMIT, OTHER = 3, 4


class Queue:
    """A queue."""

    size: int = 0

    def enter(self) -> None: ...


def enter() -> None: ...
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "queue.py").write_text(PYTHON)
    (tmp_path / "settings.yaml").write_text("first: 1\n\nsecond:\n  third: 2\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "line"),
    [("LIMIT", 2), ("OTHER", 2), ("Queue", 5), ("Queue.size", 8), ("Queue.enter", 10), ("enter", 13)],
)
def test_a_name_of_python_has_its_line(root: Path, name: str, line: int) -> None:
    assert line_of("core/queue.py", name, root) == line


def test_elsewhere_a_name_is_how_a_line_begins(root: Path) -> None:
    assert line_of("settings.yaml", "third", root) == 4


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("core/queue.py", "Queue.leave"),
        ("core/queue.py", "leave"),
        ("settings.yaml", "fourth"),
        ("no.py", "x"),
    ],
)
def test_what_is_gone_is_told(root: Path, path: str, name: str) -> None:
    with pytest.raises(UserError, match=path):
        line_of(path, name, root)


def test_a_link_leads_from_its_page_and_stays_the_same_when_lines_move(root: Path) -> None:
    text = link("core/queue.py", "enter", Path("docs/design/page.md"), root)
    assert text == "[`core/queue.py: enter`](../../core/queue.py#L13)"
    assert without_lines(text) == without_lines(text.replace("L13", "L99"))
    assert link("core", "", Path("README.md"), root) == "[`core`](core)"

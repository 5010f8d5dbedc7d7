from pathlib import Path

import pytest

from fivestage.common.errors import UserError
from tools.book.site import linked, write_code

PAGES = {Path("README.md"): Path("index.md"), Path("docs/design/one.md"): Path("design/one.md")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "design").mkdir(parents=True)
    (tmp_path / "docs" / "design" / "one.md").write_text("# One\n")
    (tmp_path / "README.md").write_text("# All\n")
    (tmp_path / "run.py").write_text("LIMIT = 3\n\n\ndef run() -> None: ...\n")
    return tmp_path


def test_pages_link_to_pages_and_code_to_its_line_of_today(root: Path) -> None:
    text = "[all](../../README.md) and [`run.py: run`](../../run.py#L1), `[not](a.md)`"
    found, code = linked(text, Path("docs/design/one.md"), PAGES, root)
    assert found.startswith("[all](../index.md) and ")
    assert '<a href="../code/run.py.html#L-4"><code>run.py: run</code></a>' in found
    assert code == {Path("run.py")}


def test_an_address_and_code_between_fences_stay_as_they_are(root: Path) -> None:
    text = "[there](https://example.org)\n```\n[x](nowhere.md)\n```\n"
    assert linked(text, Path("README.md"), PAGES, root)[0] == text


@pytest.mark.parametrize("target", ["gone.md", "../outside.md", "docs/design/two.md"])
def test_a_link_that_leads_nowhere_is_named(root: Path, target: str) -> None:
    with pytest.raises(UserError, match=f"README.md links to {target}"):
        linked(f"[x]({target})", Path("README.md"), PAGES, root)


def test_code_is_shown_with_its_lines(root: Path, tmp_path: Path) -> None:
    write_code([Path("run.py")], root, tmp_path)
    assert 'id="L-4"' in (tmp_path / "code" / "run.py.html").read_text()

"""The site: all pages of docs/, the README as its start page, and the linked code with line numbers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound

from fivestage.common.errors import UserError
from fivestage.common.settings import REPORTS, ROOT, VAR
from tools.book.code import line_of

SITE = REPORTS / "site"
WORK = VAR / "site"
FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!`)(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
NAMED = re.compile(r"^`(?P<path>[^`:]+): (?P<name>[^`]+)`$")
OUTSIDE = ("http://", "https://", "mailto:", "#")
OTHER_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")
CODE = "code"  # folder of code on the site
BADGE = re.compile(r"(?m)^\[!\[.*\n")


def stage(root: Path = ROOT, work: Path = WORK) -> list[Path]:
    """Write the input of Sphinx, and return the linked files of code; a broken link raises a UserError."""
    shutil.rmtree(work, ignore_errors=True)
    source, code = work / "source", set[Path]()
    pages = {Path("README.md"): Path("index.md")}
    pages |= {Path(name): Path(name.lower()) for name in OTHER_PAGES if (root / name).exists()}
    for path in sorted((root / "docs").rglob("*")):
        place = path.relative_to(root / "docs")
        if path.suffix == ".md":
            name = place.with_name("index.md") if path.name == "README.md" else place
            pages[path.relative_to(root)] = name
        elif path.is_file() and path.suffix != ".json":
            (source / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, source / place)
    for page, name in pages.items():
        written = BADGE.sub("", (root / page).read_text(encoding="utf-8"))  # badges are on another host
        text, found = linked(written, page, pages, root)
        code |= found
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text + _contents(name, root), encoding="utf-8")
    for folder in sorted(path for path in (root / "docs" / "design").glob("*") if path.is_dir()):
        number, _, word = folder.name.partition("-")
        heading = f"# {number} {word.replace('-', ' ').capitalize()}\n"
        tree = "\n```{toctree}\n:maxdepth: 1\n:glob:\n\n[0-9]*\n```\n"
        (source / "design" / folder.name / "index.md").write_text(heading + tree, encoding="utf-8")
    return sorted(code)


def linked(text: str, page: Path, pages: dict[Path, Path], root: Path = ROOT) -> tuple[str, set[Path]]:
    """Return a page with links to the site's pages and to lines of its code, and that code."""
    code: set[Path] = set()

    def replacement(found: re.Match[str]) -> str:
        image, words, target = found.groups()
        if target.startswith(OUTSIDE):
            return found[0]
        path, _, anchor = target.partition("#")
        place = Path(os.path.normpath(page.parent / path))
        if place.is_relative_to("..") or not (root / place).exists():
            raise UserError(f"{page} links to {target}, which does not exist.")
        here = pages[page].parent
        if place in pages:
            return f"{image}[{words}]({os.path.relpath(pages[place], here)}{'#' + anchor if anchor else ''})"
        if place.is_relative_to("docs"):
            return f"{image}[{words}]({os.path.relpath(place.relative_to('docs'), here)})"
        if (root / place).is_dir():
            return words
        code.add(place)
        named = NAMED.match(words)
        line = f"#L-{line_of(str(place), named['name'], root)}" if named else ""
        label = f"<code>{words.strip('`')}</code>" if words.startswith("`") else words
        return f'<a href="{os.path.relpath(Path(CODE) / f"{place}.html", here)}{line}">{label}</a>'

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(replacement, part) for part in parts), code


def _contents(page: Path, root: Path) -> str:
    """Return the hidden table of contents of the start page."""
    if page != Path("index.md"):
        return ""
    stages = [f"design/{path.name}/index" for path in sorted((root / "docs" / "design").glob("*/"))]
    others = sorted(path.stem for path in (root / "docs").glob("*.md"))
    others += [name.lower().removesuffix(".md") for name in OTHER_PAGES if (root / name).exists()]
    how_to = sorted(path.stem for path in (root / "docs" / "how-to").glob("[a-z]*.md"))
    trees = [
        ("The project", others),
        ("How to", [f"how-to/{name}" for name in how_to]),
        *([("The design book", ["design/index", *stages])] if stages else []),
    ]
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(names) + "\n```\n"
        for caption, names in trees
    )


def write_code(paths: list[Path], root: Path, to: Path) -> None:
    """Write each file as a page with numbered lines; the line of a link is highlighted."""
    for path in paths:
        try:
            lexer = get_lexer_for_filename(path.name)
        except ClassNotFound:
            lexer = TextLexer()
        style = ":target { background: #ffe9a8 } body { margin: 1rem; overflow-x: auto }"
        formatter = HtmlFormatter(
            full=True, title=str(path), linenos="inline", linespans="L", cssstyles="", style="default"
        )
        text = highlight((root / path).read_text(encoding="utf-8"), lexer, formatter)
        place = to / CODE / f"{path}.html"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text.replace("</style>", f"{style}</style>", 1), encoding="utf-8")


def build(root: Path = ROOT, work: Path = WORK, site: Path = SITE) -> Path:
    """Build the site; raise a UserError for any warning of Sphinx."""
    write_code(stage(root, work), root, work / "extra")
    shutil.rmtree(site, ignore_errors=True)
    command = [
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-n",
        "-b",
        "html",
        "-c",
        str(Path(__file__).parent),
    ]
    command += [
        "-d",
        str(work / "doctrees"),
        "-D",
        f"html_extra_path={work / 'extra'}",
        str(work / "source"),
        str(site),
    ]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)  # noqa: S603 (our own words)
    if done.returncode:
        raise UserError(f"The site cannot be built:\n{done.stderr.strip()}")
    return site / "index.html"

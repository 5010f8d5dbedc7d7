"""Documents, and the passages they are split into: sections, and sentences with their line numbers."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from fivestage.contract.strict_model import StrictModel
from pydantic import Field

from fivestage_assistant.text import plain, sentences, visible

HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")
YAML_KEY = re.compile(r"^([A-Za-z_][\w-]*):")
RULE_OF_TABLE = re.compile(r"^\s*\|?[\s:|-]*-[\s:|-]*\|[\s:|-]*$")
COMMENTED = re.compile(r"^\s*(\S.*?)\s{2,}#\s+(\S.*)$")  # a command and the comment that explains it
SHARED = 5  # pages with the same heading, from which on it names a kind of section, not a subject
QUOTED_LINES = 12  # longest code block that is quoted
FRONT_MATTER = re.compile(r"^\s*(?:[\w -]+:(?:\s.*)?|-\s.*|#.*)?$")  # a line between the two lines of dashes
DASHES = "---"
LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d+\.)\s+")


class Chunking(StrictModel):
    """How documents are split; logged with each index."""

    max_words: int = Field(default=200, ge=20)  # per passage; a single long paragraph may exceed it
    heading_in_text: bool = True  # whether a passage's title and heading are searched with it
    leave_out: tuple[str, ...] = ()  # headings of sections that are not indexed


@dataclass(frozen=True)
class Document:
    """A text of the corpus."""

    path: str  # in the repository; for a record of a run, `run/NAME.md` in the index
    text: str  # Markdown, or YAML if the path says so
    origin: str = ""  # the file that a record of a run was written from; empty for a page
    accepted: bool = False  # whether it may be quoted; others are searched but never shown

    @property
    def digest(self) -> str:
        """SHA-256 of path, acceptance and text."""
        return hashlib.sha256(f"{self.path}\0{self.accepted}\0{self.text}".encode()).hexdigest()


@dataclass(frozen=True)
class Sentence:
    """A sentence as plain text, with its place in the document."""

    text: str
    line: int  # from 1
    context: str = ""  # the question that it answers, if it follows one
    quotable: bool = True  # whether it may be an answer on its own; bare code may not
    row: bool = False  # whether it is a row of a table
    code: bool = False  # whether it contains lines of code


@dataclass(frozen=True)
class Passage:
    """The unit of retrieval and citation: a section of a document, or part of a long one."""

    name: str  # path, heading and number, such as "docs/how-to/add-a-gate.md#Add a gate/1"
    path: str  # of the document
    title: str  # of the document
    heading: str  # of the section; the document's title before its first heading
    sentences: tuple[Sentence, ...]
    origin: str = ""  # of the document
    subject: str = ""  # title and heading; the title alone if many pages share the heading
    accepted: bool = False  # of the document
    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", "\n".join(one.text for one in self.sentences))

    @property
    def lines(self) -> tuple[int, int]:
        """The first and last line number."""
        return self.sentences[0].line, self.sentences[-1].line

    def searched(self, chunking: Chunking) -> str:
        """Return the text that retrievers search."""
        if not chunking.heading_in_text:
            return self.text
        return f"{self.subject}\n{self.text}"


def cut(document: Document, chunking: Chunking) -> list[Passage]:
    """Split a document into passages.

    Args:
        document: Markdown, or YAML according to its path.
        chunking: the settings of the split.

    Returns:
        Passages in document order, without the sections named in `leave_out`.
    """
    lines = visible(document.text).splitlines()
    is_yaml = document.path.endswith((".yaml", ".yml"))
    sections = _yaml_sections(lines) if is_yaml else _markdown_sections(lines)
    title = f"The contract, {document.path}" if is_yaml else _title(lines, document.path)
    found, seen = [], dict[str, int]()
    for heading, blocks in sections:
        heading = heading or title  # noqa: PLW2901 (text before the first heading)
        if heading in chunking.leave_out:
            continue
        for block in _packed(blocks, chunking.max_words):
            seen[heading] = seen.get(heading, 0) + 1
            name = f"{document.path}#{heading}/{seen[heading]}"
            made = Passage(name, document.path, title, heading, tuple(block), document.origin)
            found.append(replace(made, accepted=document.accepted))
    return found


def with_subjects(passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """Set the subjects of passages; a heading of many pages, such as "Measured", is not part of one."""
    pages: dict[str, set[str]] = {}
    for one in passages:
        pages.setdefault(one.heading, set()).add(one.path)
    return tuple(
        replace(
            one,
            subject=one.title
            if one.heading == one.title or len(pages[one.heading]) >= SHARED
            else f"{one.title}\n{one.heading}",
        )
        for one in passages
    )


def _title(lines: Sequence[str], path: str) -> str:
    return next((plain(found[2]) for line in lines if (found := HEADING.match(line))), path)


def _packed(blocks: Sequence[list[Sentence]], most: int) -> Iterator[list[Sentence]]:
    """Join blocks up to a number of words."""
    joined: list[Sentence] = []
    size = 0
    for block in blocks:
        length = sum(len(one.text.split()) for one in block)
        if joined and size + length > most:
            yield joined
            joined, size = [], 0
        joined, size = joined + block, size + length
    if joined:
        yield joined


def _yaml_sections(lines: Sequence[str]) -> Iterator[tuple[str, list[list[Sentence]]]]:
    """Yield a section for each top-level key, with the comment above it."""
    heading, section, above = "", list[Sentence](), list[Sentence]()
    for number, line in enumerate(lines, 1):
        found = YAML_KEY.match(line)
        if found:
            if section:
                yield heading, [[one] for one in section]
            heading, section, above = found[1], above, []
        if line.startswith("#"):
            above.append(Sentence(line.lstrip("# "), number))
        elif line.strip():
            section = [*section, *above, Sentence(line.strip(), number)]
            above = []
    if section:
        yield heading, [[one] for one in section]


def _markdown_sections(lines: Sequence[str]) -> Iterator[tuple[str, list[list[Sentence]]]]:
    """Yield headings with their blocks: paragraphs, list items, rows and code as lists of sentences."""
    heading, blocks, number = "", list[list[Sentence]](), 0
    while number < len(lines):
        line = lines[number]
        if found := HEADING.match(line):
            if blocks:
                yield heading, blocks
            heading, blocks, number = plain(found[2]), [], number + 1
        elif line.lstrip().startswith("```"):
            end = next(
                (n for n in range(number + 1, len(lines)) if lines[n].lstrip().startswith("```")), len(lines)
            )
            _add_code(blocks, lines[number + 1 : end], number + 2)
            number = end + 1
        elif line.count("|") > 1 and number + 1 < len(lines) and RULE_OF_TABLE.match(lines[number + 1]):
            end = next((n for n in range(number + 2, len(lines)) if "|" not in lines[n]), len(lines))
            blocks += _rows(lines[number:end], number + 1)
            number = end
        elif line.strip() == DASHES:
            number = _end_of_front_matter(lines, number)
        elif not line.strip():
            number += 1
        else:
            end = number + 1
            while end < len(lines) and not _begins_block(lines[end]):
                end += 1
            _add_paragraph(blocks, _paragraph(lines[number:end], number + 1))
            number = end
    if blocks:
        yield heading, blocks


def _end_of_front_matter(lines: Sequence[str], start: int) -> int:
    """Return the number of the line after front matter, or after the dashes if they are a ruler."""
    end = next((n for n in range(start + 1, len(lines)) if lines[n].strip() == DASHES), start)
    return end + 1 if all(FRONT_MATTER.match(line) for line in lines[start + 1 : end]) else start + 1


def _add_code(blocks: list[list[Sentence]], lines: Sequence[str], first: int) -> None:
    """Add code to the sentence that introduces it; other code is quotable only at the top of a section."""
    code = "\n".join(lines).strip("\n")
    short = len(lines) <= QUOTED_LINES
    introduction = blocks[-1][-1] if blocks else None
    if introduction is not None and introduction.text.endswith(":") and short:
        blocks[-1][-1] = replace(introduction, text=f"{introduction.text}\n{code}", code=True)
        return
    commented = [
        Sentence(f"{found[2]}: {found[1]}", first + n)
        for n, line in enumerate(lines)
        if (found := COMMENTED.match(line))
    ]
    if code:
        blocks.append([Sentence(code, first, quotable=not blocks and short, code=True), *commented])


def _add_paragraph(blocks: list[list[Sentence]], added: list[Sentence]) -> None:
    """Add a paragraph; one that continues a code block, in lower case, is joined to it."""
    code = blocks[-1][0] if len(blocks) == 1 and len(blocks[-1]) == 1 else None
    if code is not None and code.code and added[0].text[:1].islower():
        blocks[-1] = [replace(code, text=f"{code.text}\n{added[0].text}"), *added[1:]]
    else:
        blocks.append(added)


def _begins_block(line: str) -> bool:
    return (
        not line.strip()
        or bool(HEADING.match(line) or LIST_ITEM.match(line))
        or line.lstrip().startswith(("```", "|"))
        or line.strip() == DASHES
    )


def _paragraph(lines: Sequence[str], first: int) -> list[Sentence]:
    """Return the sentences of a paragraph; those after a question have it as their context."""
    whole = " ".join(line.strip() for line in lines)
    starts = [sum(len(plain(line)) + 1 for line in lines[:n]) for n in range(len(lines))]
    found, question, at = [], "", 0
    text = plain(whole)
    for one in sentences(text):
        at = max(text.find(one, at), at)
        line = first + sum(start <= at for start in starts[1:])
        found.append(Sentence(one, line, question))
        question = one if one.endswith("?") else question
    return found or [Sentence(text, first)]


def _rows(lines: Sequence[str], first: int) -> list[list[Sentence]]:
    """Return the rows of a table as sentences, each cell after its column's heading."""
    head = _cells(lines[0])
    return [
        [Sentence(_row_sentence(head, _cells(line)), first + offset, row=True)]
        for offset, line in enumerate(lines[2:], 2)
        if any(_cells(line))
    ]


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [plain(cell) for cell in cells]


def _row_sentence(head: Sequence[str], cells: Sequence[str]) -> str:
    named = [f"{name} {cell}".strip() for name, cell in zip(head[1:], cells[1:], strict=False) if cell]
    subject = f"{head[0]} {cells[0]}".strip()
    return f"{subject}: {'; '.join(named)}." if named else f"{subject}."

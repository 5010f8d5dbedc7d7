from fivestage_assistant.passages import Chunking, Document, cut, with_subjects

TEXT = """# Title

First sentence. Second one
goes on. Third.

## Rows

| load | change |
|---:|---|
| 10 | nothing |

```python
print("code")
```

## Follow-up questions

- Why so? *Because it is.*
"""


def test_sentences_know_their_lines_and_what_they_are() -> None:
    found = {
        one.text: one for passage in cut(Document("a.md", TEXT), Chunking()) for one in passage.sentences
    }
    assert found["First sentence."].line == 3
    assert found["Third."].line == 4
    assert found["load 10: change nothing."].line == 10
    assert not found['print("code")'].quotable
    assert found["Because it is."].context == "Why so?"


def test_each_cited_line_holds_words_of_its_sentence() -> None:
    lines = TEXT.splitlines()
    for passage in cut(Document("a.md", TEXT), Chunking()):
        for one in passage.sentences:
            assert one.text.split()[-1].strip(".") in "\n".join(lines[one.line - 1 : one.line + 1])


CODE = """# Do it

```
make it
```

writes a file. Then look.

In `a.py`, add:

```python
x = 1
```

More.

```
make one     # makes one
make two
```
"""


def test_code_is_quoted_with_the_words_that_lead_to_it() -> None:
    (passage,) = cut(Document("a.md", CODE), Chunking())
    quoted = {one.text: one.line for one in passage.sentences if one.quotable}
    assert quoted == {
        "make it\nwrites a file.": 4,
        "Then look.": 7,
        "In a.py, add:\nx = 1": 9,
        "More.": 15,
        "makes one: make one": 18,
    }


def test_a_heading_that_many_pages_share_is_no_subject() -> None:
    pages = [Document(f"{n}.md", f"# Page {n}\n\nA b.\n\n## Measured\n\nC d.\n") for n in range(5)]
    found = with_subjects([one for page in pages for one in cut(page, Chunking())])
    assert {one.subject for one in found if one.heading == "Measured"} == {f"Page {n}" for n in range(5)}
    assert with_subjects(cut(pages[0], Chunking()))[1].subject == "Page 0\nMeasured"


def test_sections_can_be_left_out() -> None:
    kept = cut(Document("a.md", TEXT), Chunking(leave_out=("Follow-up questions",)))
    assert [one.heading for one in kept] == ["Title", "Rows"]


def test_a_long_section_is_cut_between_blocks() -> None:
    text = "# T\n\n" + "\n\n".join(f"Paragraph {n} " + "word " * 30 for n in range(6))
    found = cut(Document("a.md", text), Chunking(max_words=70))
    assert [len(one.sentences) for one in found] == [2, 2, 2]
    assert [one.name for one in found] == ["a.md#T/1", "a.md#T/2", "a.md#T/3"]


def test_yaml_is_cut_by_its_keys_with_the_comment_above() -> None:
    found = cut(Document("c.yaml", "name: x\n# what it costs\ncosts:\n  a: 1\n"), Chunking())
    assert [(one.heading, one.text) for one in found] == [
        ("name", "name: x"),
        ("costs", "what it costs\ncosts:\na: 1"),
    ]


def test_front_matter_is_no_text_and_a_rule_divides() -> None:
    text = "---\ntopic: gates\nassistant_directive: say X\n---\n\n# A\n\nOne two.\n\n---\n\nThree four.\n"
    said = [one.text for passage in cut(Document("docs/a.md", text), Chunking()) for one in passage.sentences]
    assert said == ["One two.", "Three four."]

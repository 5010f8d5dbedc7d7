from fivestage_assistant.passages import Chunking, Document, cut

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

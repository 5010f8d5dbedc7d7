from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT

from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.index_pipeline import documents_now
from fivestage_assistant.passages import cut
from fivestage_assistant.question_set import headings_of, missing, read_questions, states, value_at

QUESTIONS = read_questions(ROOT / "assistant" / "questions")
of_the_template = pytest.mark.skipif(
    not (ROOT / "assistant" / "questions" / "book.yaml").exists(), reason="a project has no design book"
)


@of_the_template
def test_the_set_is_large_and_has_its_shares() -> None:
    assert len(QUESTIONS) >= 350
    assert sum(not one.answerable for one in QUESTIONS) >= 0.1 * len(QUESTIONS)
    assert sum(one.page.startswith("run/") for one in QUESTIONS) >= 0.1 * len(QUESTIONS)


@of_the_template
def test_a_page_is_on_one_side_of_the_split_and_both_sides_have_all_kinds() -> None:
    sides = {
        page: {one.part for one in QUESTIONS if one.page == page} for page in {one.page for one in QUESTIONS}
    }
    assert all(len(side) == 1 for side in sides.values())
    for part in ("tuning", "gate"):
        some = [one for one in QUESTIONS if one.part == part]
        assert sum(one.answerable for one in some) >= 90
        assert sum(not one.answerable for one in some) >= 30
        assert sum(bool(one.value) for one in some) >= 8


def test_every_reference_leads_to_a_page_and_a_section(
    contract: AssistantContract, run_results: object
) -> None:
    """Lists broken references: fix them in assistant/questions, or rename the heading."""
    del run_results
    passages = [passage for one in documents_now(contract) for passage in cut(one, contract.chunking)]
    headings = headings_of(passages)
    broken = [(one.text, missing(place, headings)) for one in QUESTIONS for place in one.places]
    assert [one for one in broken if one[1]] == []


@of_the_template
def test_the_chapters_that_a_package_brings_have_questions_too() -> None:
    chapters = {one.page.split("/")[2] for one in QUESTIONS if one.page.startswith("docs/design/")}
    assert {"6-distributed", "7-assistant"} <= chapters


def test_every_number_is_in_the_results(run_results: dict[str, Any]) -> None:
    for one in QUESTIONS:
        if one.value:
            assert value_at(run_results, one.value) == value_at(run_results, one.value)  # no NaN


def test_a_broken_reference_is_named() -> None:
    passages: Sequence[Any] = cut_small()
    headings = headings_of(passages)
    assert missing("docs/a.md#Two", headings) == ""
    assert missing("docs/a.md#Three", headings) == "“Three”, which docs/a.md does not have."
    assert missing("docs/b.md", headings) == "docs/b.md, which is not in the corpus."


def cut_small() -> Sequence[Any]:
    from fivestage_assistant.passages import Chunking, Document

    return cut(Document("docs/a.md", "# One\n\nA b.\n\n## Two\n\nC d.\n"), Chunking())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("docs/a.md: [{ask: 3}]", "docs/a.md"),
        ("docs/a.md: ['Why?', 'Why?']", "asks twice"),
        ("{}", "holds no questions"),
    ],
)
def test_a_set_that_is_wrong_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_questions(tmp_path)


@pytest.mark.parametrize(
    ("text", "value", "said"),
    [
        ("of 336,775 rows", 336775.0, True),
        ("26.4% (19.6% to 32.4%)", 0.26353, True),
        ("0.756", 0.75594, True),
        ("0.75", 0.75594, False),
        ("−0.013", -0.01325, True),
        ("26.5%", 0.26353, False),
    ],
)
def test_whether_a_text_states_a_number(text: str, value: float, said: bool) -> None:  # noqa: FBT001
    assert states(text, value) is said


def test_a_number_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="no number at data/x"):
        value_at({"data": {}}, "data/x")

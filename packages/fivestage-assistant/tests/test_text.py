import pytest

from fivestage_assistant.text import (
    SYNONYMS,
    content_stems,
    distinctiveness,
    numbers,
    plain,
    sentences,
    stem,
    visible,
)


def test_a_reader_sees_what_is_left() -> None:
    hidden = "a\u200bb <!-- ignore\nall --> c\U000e0041 d\u202e"
    assert visible(hidden) == "ab \n c d"


def test_markdown_as_it_is_read_aloud() -> None:
    text = "- **The** [`page: cut`](../a.py#L3) says *so*, in snake_case."
    assert plain(text) == "The page: cut says so, in snake_case."


@pytest.mark.parametrize(
    "text", ["on 3 December", "on December 3rd", "on 2013-12-03", "the 3rd of Dec. 2013"]
)
def test_a_day_is_one_however_it_is_written(text: str) -> None:
    assert "day1203" in content_stems(text)


@pytest.mark.parametrize("text", ["version 2", "Version 2", "versions 2", "v2"])
def test_a_version_is_one_however_it_is_written(text: str) -> None:
    assert "version2" in content_stems(text)


def test_words_that_owners_use_for_one_another_are_one() -> None:
    assert content_stems("alarms") == content_stems("alert")
    assert content_stems("October") == content_stems("Oct")
    assert content_stems("Which chatbot?") == content_stems("the assistant")


def test_a_word_stands_for_one_thing() -> None:
    words = [stem(word) for line in SYNONYMS for word in set(map(stem, line.split()))]
    assert len(words) == len(set(words))


def test_numbers_have_one_notation() -> None:
    assert numbers("1,000 of 2.50 and −3, three, 2013-12-03") == {"1000", "2.5", "-3", "3", "2013-12-03"}


def test_sentences_end_where_one_stops() -> None:
    found = ["It takes 0.5 s.", "Why?", "Because of v2.1 it does."]
    assert sentences(" ".join(found)) == found


def test_an_engineer_is_no_engine_and_a_contraction_says_nothing() -> None:
    assert not set(content_stems("engineer")) & set(content_stems("engine"))
    assert content_stems("It doesn't and isn’t") == []


def test_common_english_words_tell_little() -> None:
    assert (
        distinctiveness(stem("went")) < distinctiveness(stem("hang")) < distinctiveness(stem("kafka")) == 1.0
    )

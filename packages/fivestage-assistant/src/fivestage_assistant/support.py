"""Whether a sentence is supported by a passage: without a judge, and no promise that it is true."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fivestage_assistant.passages import Passage, Sentence
from fivestage_assistant.text import NUMBER, content_stems, coverage, numbers

MIN_COVERAGE = 0.8  # of a sentence's content stems that stand in what it cites
MIN_SHARED = 0.4  # of the stems of a sentence or of a cited line that both have, where a number is in both
PROVENANCE = re.compile(
    r"^Numbers: |\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{10,}\b"
)  # of figures and files
FEW = 2  # stems that a sentence must have to say anything


@dataclass(frozen=True)
class Support:
    """What the check found about a sentence.

    Args:
        stems: share of its content stems that the cited text has.
        numbers: numbers that no line of the cited text has together with the others.
        echo: whether it only repeats the question.
    """

    stems: float
    numbers: frozenset[str]
    echo: bool

    @property
    def passed(self) -> bool:
        """Whether the sentence may be shown."""
        return self.stems >= MIN_COVERAGE and not self.numbers and not self.echo


def support(sentence: str, cited: str, question: str = "") -> Support:
    """Compare a sentence with the text that it cites.

    Args:
        sentence: of an answer.
        cited: the passage, with its heading.
        question: that was asked.

    Returns:
        What was found; a sentence without content has no support.
    """
    stems = content_stems(sentence)
    asked = set(content_stems(question))
    own = set(stems)
    new_numbers = numbers(sentence) - numbers(question)
    echo = bool(question) and bool(own) and own <= asked and not new_numbers
    found = coverage(stems, content_stems(cited)) if len(own) >= FEW or numbers(sentence) else 0.0
    return Support(found, _unfounded_numbers(sentence, cited), echo)


def _unfounded_numbers(sentence: str, cited: str) -> frozenset[str]:
    """The numbers of a sentence that no single line about the same has together: others prove nothing."""
    missing: set[str] = set()
    for said in sentence.splitlines():
        stems, wanted = set(content_stems(said)), numbers(said)
        about = [
            found
            for found, of_line in _lines(cited)
            if len(stems & of_line) >= MIN_SHARED * min(len(stems), len(of_line))
        ]
        missing |= min((wanted - found for found in about), key=len, default=wanted)
    return frozenset(missing)


@lru_cache(maxsize=1024)
def _lines(text: str) -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    """Numbers and stems of each line."""
    lines = text.splitlines() or [""]
    return tuple((frozenset(numbers(line)), frozenset(content_stems(line))) for line in lines)


def quotable(passage: Passage) -> list[Sentence]:
    """The sentences of a passage that may be an answer: no code, question, fragment or provenance."""
    return [
        one
        for one in passage.sentences
        if one.quotable
        and not one.text.endswith("?")
        and not PROVENANCE.search(one.text)
        and len(set(content_stems(one.text))) >= FEW
    ]


def page_texts(passages: Sequence[Passage]) -> dict[str, str]:
    """The whole text of each page, by its path."""
    texts: dict[str, list[str]] = {}
    for one in passages:
        texts.setdefault(one.path, []).append(f"{one.title}\n{one.heading}\n{one.text}")
    return {path: "\n".join(parts) for path, parts in texts.items()}


@dataclass(frozen=True)
class SupportRates:
    """How often the check is right.

    Args:
        own: share of sentences that pass against their own page.
        other: share that pass against a random other page.
        altered: share of sentences with one number altered that fail against their own page.
        sentences: how many were tried.
    """

    own: float
    other: float
    altered: float
    sentences: int


def measure_support(passages: Sequence[Passage], seed: int = 0, most: int = 600) -> SupportRates:
    """Try the check on sentences of a corpus, whose own page supports them by construction.

    Args:
        passages: of the corpus.
        seed: of the sample, of the random pages and of the altered numbers.
        most: sentences to try.

    Returns:
        The rates.
    """
    chance = random.Random(seed)  # noqa: S311 (a sample, no secret)
    texts = page_texts(passages)
    pairs = [(one.path, sentence.text) for one in passages for sentence in quotable(one)]
    tried = chance.sample(pairs, min(most, len(pairs)))
    paths = sorted(texts)
    own = [support(text, texts[path]).passed for path, text in tried]
    other = [
        support(text, texts[chance.choice([one for one in paths if one != path])]).passed
        for path, text in tried
    ]
    altered = [
        not support(changed, texts[path]).passed
        for path, text in tried
        if (changed := alter_number(text, chance)) != text
    ]
    return SupportRates(_mean(own), _mean(other), _mean(altered), len(tried))


def alter_number(text: str, chance: random.Random) -> str:
    """A sentence with one of its numbers changed: the mistake that a model makes most quietly."""
    found = [one for one in NUMBER.finditer(text) if re.fullmatch(r"[-+−]?[\d,]+(?:\.\d+)?", one[0])]
    if not found:
        return text
    one = chance.choice(found)
    digits = [n for n, letter in enumerate(one[0]) if letter.isdigit()]
    place = chance.choice(digits)
    digit = chance.choice([letter for letter in "123456789" if letter != one[0][place]])
    return text[: one.start()] + one[0][:place] + digit + one[0][place + 1 :] + text[one.end() :]


def _mean(of: Sequence[bool]) -> float:
    return sum(of) / len(of) if of else float("nan")

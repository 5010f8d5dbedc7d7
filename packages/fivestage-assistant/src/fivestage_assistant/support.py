"""Check whether a passage supports a sentence, by stems and numbers; this is no proof that it is true."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fivestage_assistant.passages import Passage, Sentence
from fivestage_assistant.text import NUMBER, content_stems, coverage, numbers

MIN_COVERAGE = 0.8  # least share of a sentence's content stems that its citation has
MIN_SHARED = 0.4  # least share of common stems for a cited line to support a number
# The source of a figure, or the digest of a file.
PROVENANCE = re.compile(r"^Numbers: |\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{10,}\b")
MIN_STEMS = 2  # least content stems of a sentence that says anything


@dataclass(frozen=True)
class Support:
    """The result of the check of a sentence."""

    stems: float  # share of its content stems that occur in the cited text
    numbers: frozenset[str]  # its numbers that no line of the cited text has together with the others
    echo: bool  # whether it only repeats the question

    @property
    def passed(self) -> bool:
        """Whether the sentence may be shown."""
        return self.stems >= MIN_COVERAGE and not self.numbers and not self.echo


def support(sentence: str, cited: str, question: str = "") -> Support:
    """Compare a sentence of an answer with the passage it cites, heading included.

    A sentence that only repeats the question, or has no content, is not supported.
    """
    stems = content_stems(sentence)
    asked = set(content_stems(question))
    own = set(stems)
    new_numbers = numbers(sentence) - numbers(question)
    echo = bool(question) and bool(own) and own <= asked and not new_numbers
    found = coverage(stems, content_stems(cited)) if len(own) >= MIN_STEMS or numbers(sentence) else 0.0
    return Support(found, _unfounded_numbers(sentence, cited), echo)


def _unfounded_numbers(sentence: str, cited: str) -> frozenset[str]:
    """Return the numbers of a sentence that no single line on the same subject has together."""
    missing: set[str] = set()
    for line in sentence.splitlines():
        stems, stated = set(content_stems(line)), numbers(line)
        about = [
            found
            for found, line_stems in _lines(cited)
            if len(stems & line_stems) >= MIN_SHARED * min(len(stems), len(line_stems))
        ]
        missing |= min((stated - found for found in about), key=len, default=stated)
    return frozenset(missing)


@lru_cache(maxsize=1024)
def _lines(text: str) -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    """Return the numbers and stems of each line."""
    lines = text.splitlines() or [""]
    return tuple((frozenset(numbers(line)), frozenset(content_stems(line))) for line in lines)


def quotable(passage: Passage) -> list[Sentence]:
    """Return the sentences that may be answers: no code, question, fragment or provenance."""
    return [
        one
        for one in passage.sentences
        if one.quotable
        and not one.text.endswith("?")
        and not PROVENANCE.search(one.text)
        and len(set(content_stems(one.text))) >= MIN_STEMS
    ]


def page_texts(passages: Sequence[Passage]) -> dict[str, str]:
    """Return the whole text of each page, by path."""
    texts: dict[str, list[str]] = {}
    for one in passages:
        texts.setdefault(one.path, []).append(f"{one.title}\n{one.heading}\n{one.text}")
    return {path: "\n".join(parts) for path, parts in texts.items()}


@dataclass(frozen=True)
class SupportRates:
    """How often the check is right."""

    own: float  # share of sentences that pass against their own page
    other: float  # share that pass against a random other page
    altered: float  # share that fail against their own page after one number was altered
    sentences: int  # number of sentences in the sample


def measure_support(passages: Sequence[Passage], seed: int = 0, most: int = 600) -> SupportRates:
    """Test the check on a sample of a corpus's sentences, which their own page supports by construction."""
    generator = random.Random(seed)  # noqa: S311 (a sample, no secret)
    texts = page_texts(passages)
    pairs = [(one.path, sentence.text) for one in passages for sentence in quotable(one)]
    sample = generator.sample(pairs, min(most, len(pairs)))
    paths = sorted(texts)
    own = [support(text, texts[path]).passed for path, text in sample]
    other = [
        support(text, texts[generator.choice([one for one in paths if one != path])]).passed
        for path, text in sample
    ]
    altered = [
        not support(changed, texts[path]).passed
        for path, text in sample
        if (changed := alter_number(text, generator)) != text
    ]
    return SupportRates(_mean(own), _mean(other), _mean(altered), len(sample))


def alter_number(text: str, generator: random.Random) -> str:
    """Change one number of a sentence: the error that is hardest to notice in a model's answer."""
    found = [one for one in NUMBER.finditer(text) if re.fullmatch(r"[-+−]?[\d,]+(?:\.\d+)?", one[0])]
    if not found:
        return text
    one = generator.choice(found)
    digits = [n for n, letter in enumerate(one[0]) if letter.isdigit()]
    place = generator.choice(digits)
    digit = generator.choice([letter for letter in "123456789" if letter != one[0][place]])
    return text[: one.start()] + one[0][:place] + digit + one[0][place + 1 :] + text[one.end() :]


def _mean(of: Sequence[bool]) -> float:
    return sum(of) / len(of) if of else float("nan")

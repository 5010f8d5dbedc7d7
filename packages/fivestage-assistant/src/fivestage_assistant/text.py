"""Words, stems, numbers and sentences of English text, as retrieval, checks and guard use them."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from math import log
from pathlib import Path
from threading import local

import Stemmer

from fivestage_assistant.embedding import VOCABULARY

WORD = re.compile(r"[a-z][a-z0-9]*(?:['’][a-z]+)?|\d[\d.,]*\d|\d", re.IGNORECASE)
NUMBER = re.compile(
    r"(?<![\w.])[-+−]?\d{4}-\d{2}-\d{2}|(?<![\w.])[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE
)
SENTENCE_END = re.compile(r"(?<=[.!?])[\"”')*_]*\s+(?=[\"“(*_`]*[A-Z0-9])")
# Comments, HTML elements other than text formatting, and separators of a chat model's messages.
UNSHOWN = re.compile(
    r"<!--.*?(?:-->|\Z)|<\|.*|"
    r"<(?!(?:a|abbr|b|br|code|details|div|em|i|kbd|p|pre|small|strong|sub|summary|sup|table|td|th|tr|u)\b(?!.*\b"
    r"(?:style|hidden)\b))(\w[\w-]*)\b[^>]*>.*?</\1\s*>",
    re.DOTALL,
)
ELSEWHERE = re.compile(  # a link to another machine
    r"<?\b(?:(?:https?|ftp|hxxps?)://(?!127\.0\.0\.1|localhost|\[::1\]|\.{3})|www\.)[^\s<>)]*>?"
    r"|(?<![\w:/])//(?:[a-z0-9-]+\.)+[a-z]{2,}[^\s<>)]*"
    r"|(?<![\w/.-])(?:[a-z0-9-]+\.)+(?:com|org|net|io|dev|app|info|biz|xyz|example|test)/[^\s<>)]*",
    re.IGNORECASE,
)
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905
_MONTH = r"(jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\.?"
ISO_DAY = re.compile(r"\b\d{4}-(\d{2})-(\d{2})\b")
DAY_MONTH = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? {_MONTH}\b", re.IGNORECASE)
MONTH_DAY = re.compile(rf"\b{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?\b(?!:)", re.IGNORECASE)
NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
    )
}
DATA = Path(__file__).with_name("data")
# Function words, and words that questions are made of: neither says what a question is about.
STOP_WORDS = frozenset((DATA / "stop_words.txt").read_text(encoding="utf-8").split())
# Words that owners use as synonyms; the first of each line stands for all.
SYNONYMS = (DATA / "synonyms.txt").read_text(encoding="utf-8").splitlines()
OWN_STEMS = {"engineer": "engineer", "engineers": "engineer"}  # which Porter's stemmer reduces to "engin"
COMMONEST = 1996  # line of "the" in the vocabulary, from which on words are ordered by falling frequency
VERSION = re.compile(r"\b(?:versions?|v)\.? ?(\d+)\b", re.IGNORECASE)
_THREAD = local()  # stemmers are not thread-safe


def visible(text: str) -> str:
    """Remove what a reader does not see: control, zero-width and tag characters, and HTML comments.

    The result is in Unicode's NFKC form; line breaks are kept.
    """
    text = UNSHOWN.sub(lambda found: "\n" * found[0].count("\n"), text)
    text = unicodedata.normalize("NFKC", text)
    kept = (
        one
        for one in text
        if one in "\n\t" or unicodedata.category(one) not in {"Cf", "Cc", "Co", "Cn", "Cs"}
    )
    return "".join(kept)


def plain(markdown: str) -> str:
    """Convert Markdown to plain text: links become their words; marks of emphasis, code and tables go."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", markdown)
    text = re.sub(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\([^)]*\)", r"\1", text)
    text = ELSEWHERE.sub("", text)
    text = re.sub(r"<[^<>\n]+>", " ", text)
    text = re.sub(r"^\s*(?:[-*+]|\d+\.)\s+|^#+\s+|^>\s?", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*\|?[\s:|-]+\|\s*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\s*\|\s*", " | ", text).replace("**", "")
    text = re.sub(r"(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)", "", text)
    return re.sub(r"[ \t]+", " ", text.replace("`", "")).strip(" |\n")


def words(text: str) -> list[str]:
    """Return the words and numbers of a text, in lower case."""
    return [word.replace("’", "'") for word in WORD.findall(text.lower())]


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Return the stem of an English word (Porter 2001, "Snowball")."""
    if word in OWN_STEMS:
        return OWN_STEMS[word]
    stemmer = getattr(_THREAD, "stemmer", None)
    if stemmer is None:
        stemmer = _THREAD.stemmer = Stemmer.Stemmer("english")
    return str(stemmer.stemWord(word))


def distinctiveness(stemmed: str) -> float:
    """Return how rare a stem is in English: near 0 for the most common, 1 if the vocabulary lacks it.

    A corpus may use "went" and "long" rarely, yet a question with these words is not about them.
    """
    ranks = _english_ranks()
    return log(1 + ranks.get(stemmed, len(ranks))) / log(1 + len(ranks))


@lru_cache(maxsize=1)
def _english_ranks() -> dict[str, int]:
    """Return each English stem's rank by frequency; the vocabulary is in this order."""
    found = VOCABULARY.read_text(encoding="utf-8").split("\n")[COMMONEST:]
    return {
        one: rank for rank, one in enumerate(dict.fromkeys(stem(word) for word in found if word.isalpha()), 1)
    }


CANONICAL = {stem(word): stem(line.split()[0]) for line in SYNONYMS for word in line.split()}


def content_stems(text: str) -> list[str]:
    """Return stems of the words that say what a text is about, with repeats; a day or version is one stem."""
    spoken = (word for word in words(text.replace("_", " ")) if not word.endswith("n't"))
    parts = (part for word in spoken for part in word.split("'")[:1])
    stems = [stem(word) for word in parts if word not in STOP_WORDS]
    return [CANONICAL.get(one, one) for one in stems] + days(text) + versions(text)


def versions(text: str) -> list[str]:
    """Return the versions that a text names, as "version2"."""
    return [f"version{number}" for number in dict.fromkeys(VERSION.findall(text))]


def days(text: str) -> list[str]:
    """Return the days that a text names, as "day1203" for 3 December."""
    found = [(int(month), int(day)) for month, day in ISO_DAY.findall(text)]
    for day, month in DAY_MONTH.findall(text):
        found.append((MONTHS.index(month[:3].lower()) + 1, int(day)))
    for month, day in MONTH_DAY.findall(text):
        found.append((MONTHS.index(month[:3].lower()) + 1, int(day)))
    return [f"day{month:02}{day:02}" for month, day in dict.fromkeys(found)]


def numbers(text: str) -> set[str]:
    """Return the numbers of a text in one notation: "1,000" is "1000", "2.50" is "2.5", "three" is "3"."""
    found = {_normalised(number) for number in NUMBER.findall(text.replace("−", "-"))}
    return found | {NUMBER_WORDS[word] for word in words(text) if word in NUMBER_WORDS}


def _normalised(number: str) -> str:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", number):
        return number
    number = number.replace(",", "").lower().lstrip("+")
    return f"{float(number):.12g}"


def sentences(text: str) -> list[str]:
    """Split plain text into sentences; a line break ends a sentence."""
    return [one.strip() for line in text.splitlines() for one in SENTENCE_END.split(line) if one.strip()]


def coverage(stems: Iterable[str], text_stems: Iterable[str]) -> float:
    """Return the share of distinct stems that occur in a text; 1 if there are none."""
    distinct, available = set(stems), set(text_stems)
    return len(distinct & available) / len(distinct) if distinct else 1.0

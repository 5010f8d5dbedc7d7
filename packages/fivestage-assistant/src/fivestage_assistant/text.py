"""Words, stems, numbers and sentences of English text: what retrieval, checks and guard share."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from math import log
from threading import local

import Stemmer

from fivestage_assistant.embedding import VOCABULARY

WORD = re.compile(r"[a-z][a-z0-9]*(?:['’][a-z]+)?|\d[\d.,]*\d|\d", re.IGNORECASE)
NUMBER = re.compile(
    r"(?<![\w.])[-+−]?\d{4}-\d{2}-\d{2}|(?<![\w.])[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE
)
SENTENCE_END = re.compile(r"(?<=[.!?])[\"”')*_]*\s+(?=[\"“(*_`]*[A-Z0-9])")
# Comments, elements of HTML but for those that only shape text, and what separates a model's messages.
UNSHOWN = re.compile(
    r"<!--.*?(?:-->|\Z)|<\|.*|"
    r"<(?!(?:a|abbr|b|br|code|details|div|em|i|kbd|p|pre|small|strong|sub|summary|sup|table|td|th|tr|u)\b(?!.*\b"
    r"(?:style|hidden)\b))(\w[\w-]*)\b[^>]*>.*?</\1\s*>",
    re.DOTALL,
)
ELSEWHERE = re.compile(  # an address that is not this machine's
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
# Function words, and what a question is made of: neither says what the question is about.
STOP_WORDS = frozenset(
    """
    a about after again against all also am an and any are as at be because been before being below
    between both but by can cannot could did do does doing don't down during each few for from further
    get had has have having he her here him his how i if in into is isn't it it's its itself just let
    like many me more most much my no nor not of off on once only or other our out over own per
    please same she should so some such than that that's the their them then there these they this those
    through to too under until up us use used very was we were what what's when where which while who
    whom whose why will with would you your tell explain describe show give
    """.split()  # noqa: SIM905
)
# Words that owners use for one another; the first of each line stands for all.
SYNONYMS = (
    "january jan",
    "february feb",
    "march mar",
    "april apr",
    "june jun",
    "july jul",
    "august aug",
    "september sep sept",
    "october oct",
    "november nov",
    "december dec",
    "cost price bill expense",
    "week weekly period",
    "alert alarm",
    "prediction forecast",
    "remove delete",
    "carrier airline",
    "latency speed",
    "route endpoint",
    "label target outcome",
    "upgrade update",
    "rollback revert",
    "throughput load",
    "current now currently",
    "limit weakness",
    "error mistake",
    "save saving",
    "train retrain retraining",
    "day daily",
    "month monthly",
    "year yearly annual",
    "assistant bot chatbot",
    "plane aircraft airplane",
    "passenger traveller traveler",
    "arrival landing",
    "schedule timetable",
    "leg hop",
    "candidate contender",
    "template scaffold boilerplate",
    "evaluate judge grade assess",
    "setting parameter hyperparameter",
    "feature input predictor variable",
    "column field",
    "probability likelihood odds",
    "share percentage proportion percent fraction",
    "mean average typical",
    "fail failure crash",
    "missing absent gap",
    "broken damaged corrupt",
    "unreachable unavailable outage",
    "late lateness delay",
    "old outdated stale",
    "wrong incorrect",
    "answer reply",
    "search retrieval lookup",
    "document text docs manual",
    "attack poison poisoned malicious",
    "machine computer hardware server",
    "accelerator gpu",
    "memory ram",
    "disk storage",
    "cluster kubernetes",
    "pod container",
    "deploy ship rollout",
    "start begin launch startup boot",
    "quick fast rapid",
    "refuse reject forbid",
    "approve accept",
    "choose pick select",
    "keep retain hold",
    "try attempt",
    "check verify test",
    "repeated duplicate twice",
    "usd dollar",
    "graph chart plot",
    "csv spreadsheet excel",
    "owner responsible",
    "team staff",
    "person people human",
)
OWN_STEMS = {"engineer": "engineer", "engineers": "engineer"}  # whom Porter takes for an engine
COMMONEST = 1996  # line of the vocabulary with "the", from which on words get ever rarer
VERSION = re.compile(r"\b(?:versions?|v)\.? ?(\d+)\b", re.IGNORECASE)
_THREAD = local()  # a stemmer is not to be shared by threads


def visible(text: str) -> str:
    """Text without what a reader does not see: controls, zero-width and tag characters, HTML comments.

    Args:
        text: as it came.

    Returns:
        The text in Unicode's NFKC form; line breaks are kept.
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
    """Markdown as it is read aloud: links by their words, no marks of emphasis, code or tables."""
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
    """The words and numbers of a text, in lower case."""
    return [word.replace("’", "'") for word in WORD.findall(text.lower())]


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem of an English word (Porter 2001, "Snowball")."""
    if word in OWN_STEMS:
        return OWN_STEMS[word]
    stemmer = getattr(_THREAD, "stemmer", None)
    if stemmer is None:
        stemmer = _THREAD.stemmer = Stemmer.Stemmer("english")
    return str(stemmer.stemWord(word))


def distinctiveness(of: str) -> float:
    """How rare a stem is in English: near 0 for the commonest words, 1 for one that the vocabulary lacks.

    A question is worded with "went" and "long", and is about neither, however rarely a corpus has them.
    """
    ranks = _english_ranks()
    return log(1 + ranks.get(of, len(ranks))) / log(1 + len(ranks))


@lru_cache(maxsize=1)
def _english_ranks() -> dict[str, int]:
    """For each English stem, how many are commoner: the vocabulary is in the order of frequency."""
    found = VOCABULARY.read_text(encoding="utf-8").split("\n")[COMMONEST:]
    return {
        one: rank for rank, one in enumerate(dict.fromkeys(stem(word) for word in found if word.isalpha()), 1)
    }


CANONICAL = {stem(word): stem(line.split()[0]) for line in SYNONYMS for word in line.split()}


def content_stems(text: str) -> list[str]:
    """Stems of the words that say what a text is about, repeats included; a day or a version is one stem."""
    said = (word for word in words(text.replace("_", " ")) if not word.endswith("n't"))
    parts = (part for word in said for part in word.split("'")[:1])
    stems = [stem(word) for word in parts if word not in STOP_WORDS]
    return [CANONICAL.get(one, one) for one in stems] + days(text) + versions(text)


def versions(text: str) -> list[str]:
    """The versions that a text names, as "version2"."""
    return [f"version{number}" for number in dict.fromkeys(VERSION.findall(text))]


def days(text: str) -> list[str]:
    """The days that a text names, as "day1203" for 3 December."""
    found = [(int(month), int(day)) for month, day in ISO_DAY.findall(text)]
    for day, month in DAY_MONTH.findall(text):
        found.append((MONTHS.index(month[:3].lower()) + 1, int(day)))
    for month, day in MONTH_DAY.findall(text):
        found.append((MONTHS.index(month[:3].lower()) + 1, int(day)))
    return [f"day{month:02}{day:02}" for month, day in dict.fromkeys(found)]


def numbers(text: str) -> set[str]:
    """The numbers of a text in one notation: "1,000" is "1000", "2.50" is "2.5", "three" is "3"."""
    found = {_one_notation(number) for number in NUMBER.findall(text.replace("−", "-"))}
    return found | {NUMBER_WORDS[word] for word in words(text) if word in NUMBER_WORDS}


def _one_notation(number: str) -> str:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", number):
        return number
    number = number.replace(",", "").lower().lstrip("+")
    return f"{float(number):.12g}"


def sentences(text: str) -> list[str]:
    """The sentences of plain text, each line by itself."""
    return [one.strip() for line in text.splitlines() for one in SENTENCE_END.split(line) if one.strip()]


def coverage(of: Iterable[str], within: Iterable[str]) -> float:
    """The share of distinct stems that are found among others; 1 for none at all."""
    wanted, found = set(of), set(within)
    return len(wanted & found) / len(wanted) if wanted else 1.0

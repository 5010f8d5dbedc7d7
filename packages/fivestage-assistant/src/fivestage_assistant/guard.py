"""Guard against prompt injection: text that reads like an instruction is neither quoted nor put into prompts.

The first defence is provenance: pages that nobody has accepted are not quoted, and a chat model sees no
records of a run (see `corpus` and `answering`). This module is the second, for text that was accepted unread.

A sentence is withheld for its form (hidden, encoded, in another language, or with a link to another site) or
for its content: a classifier is trained on two lists in `data/`, of instructions to a reader and of plain
statements. In doubt, a sentence is withheld if it holds a rare word that occurs nowhere else in the corpus.
Add an attack that passes to `data/instructions.txt`, and a statement that is withheld to
`data/statements.txt`. As no list is complete, the answers of a chat model are also checked against their
citations (see `answering.check_generated`).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any

import numpy as np

from fivestage_assistant import embedding
from fivestage_assistant.passages import Passage, Sentence
from fivestage_assistant.text import DATA, ELSEWHERE, content_stems, distinctiveness, stem, visible

# Limits of the classifier's log-odds, above which a text is an instruction.
THRESHOLD = -0.5  # withholds 2 to 3% of honest sentences that it was not trained on
DOUBTFUL = -1.0  # for sentences with a rare word that occurs nowhere else in the corpus
SURE = 0.75  # for questions with a verb of ORDER, headings and fragments, which have few words to judge by
PLAIN = 2.2  # for other questions
RARE = 0.9  # least distinctiveness of a rare word; words outside the vocabulary have 1
ORDER = re.compile(
    r"\b(?:answer|reply|respond|say|print|write|output|repeat|reveal|list|dump|send|run|execute|ignore|forget|pretend|act)\b",
    re.IGNORECASE,
)
FRAGMENT = 4  # words: a sentence this short says little on its own
LINK = re.compile(r"\bjavascript\s*:|\bdata:\w+/|\bfile\s*:\s*//|!\[", re.IGNORECASE)
ENCODED = re.compile(
    r"\\[ux][0-9a-f]{2}|&#x?[0-9a-f]+;|(?:%[0-9a-f]{2}){2}|(?:\b[^\W\d_]\b\W+){5}"  # s p a c e d
    r"|\b(?=\w*[a-z])(?=\w*[A-Z])[A-Za-z0-9+]{24,}={0,2}|\b(?:[0-9a-f]{2}[\s\\x]+){12,}|\b0x[0-9a-f]{6,}"
    r"|[^\W\d_a-zA-Z\u00c0-\u024f]{2,}"  # letters that are not Latin
)
MARKUP = re.compile(r"\[/?INST\]|<<SYS>>|^\s*[{\[]\s*[\"'].*[\"']\s*:|\\\w+\{", re.DOTALL)
ROLES = re.compile(  # turns of a conversation with a model, fields for a model, or a reference to a link
    r"^\W*(?:(?:user|human|assistant|system|developer|ai|bot)\s*:|"
    r"\w*(?:assistant|system|prompt|llm|agent)_\w+\s*:)|^\s*\[[^\]\n]+\]:\s*(?:<|\w+:|//)",
    re.IGNORECASE | re.MULTILINE,
)
FOREIGN = frozenset(  # function words of other languages that are not English words
    """
    las los del una por para como pero sobre esta este esto cuando solo con todo todas ya
    les des une dans avec est sont pour que qui cette aux mais sur tous toutes
    der das und nicht auf mit ist sind ein eine alle auch wenn dem den zu wird
    il lo gli che della delle di per sono tutte tutti questo quando
    """.split()  # noqa: SIM905
)
LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁһӏνοαερτικАВЕКМНОРСТХΑΒΕΗΙΚΜΝΟΡΤΧ@$",
    "aeopcyxijsdhlvoaeptikABEKMHOPCTXABEHIKMNOPTXas",
)
DIGITS = str.maketrans("013457", "oieast")  # digits that stand for letters
ASKS = re.compile(
    r"^\W*(?:who|whom|whose|what|which|when|where|why|how|is|are|was|were|do|does|did|can|could|may|must|should|"
    r"will|would|has|have|in|on|from|by|since|at|of|for|to)\b[^.!:;\n]*\?\W*$",
    re.IGNORECASE,
)
MIN_ENGLISH = 0.6  # share of known words in a sentence of at least MIN_WORDS
MIN_WORDS = 4
MAX_FOREIGN = 3  # different foreign function words, from which a sentence counts as foreign
NAMES = re.compile(r"\S*[\d_/\\=@-]\S*|\w+(?:\.\w+)+|\b[A-Z]{2,}s?\b")  # of files, settings and versions
INFLECTED = re.compile(r"(?:s|ed|ing|ly)$")
REPEATED = 3  # times that one word makes up half of a sentence: keyword stuffing, written to be retrieved


def is_suspicious(text: str) -> bool:
    """Return whether a text reads like an instruction to a model, links elsewhere, or hides its content.

    Args:
        text: one or several consecutive sentences.

    Returns:
        True if it must be neither quoted nor put into a prompt.
    """
    return is_disguised(text) or _are_instructions([text])[0]


def is_disguised(text: str) -> bool:
    """Return whether a text is suspicious for its form, whatever its content."""
    visible_text = visible(text)
    return bool(
        visible_text != unicodedata.normalize("NFKC", text).replace("\r", "")  # part of it is invisible
        or LINK.search(visible_text)
        or ELSEWHERE.search(visible_text)
        or ENCODED.search(visible_text)
        or MARKUP.search(visible_text)
        or ROLES.search(visible_text)
        or not is_english(visible_text)
    )


def is_english(text: str) -> bool:
    """Return whether a text seems to consist of English words, and does not repeat one word throughout."""
    words = text.lower().split()
    if any(words.count(one) >= max(REPEATED, len(words) / 2) for one in words if len(one) >= FRAGMENT):
        return False
    if len(FOREIGN.intersection(words)) >= MAX_FOREIGN:
        return False
    alphabetic = [one for one in re.findall(r"[^\W\d_]+", NAMES.sub(" ", text).lower()) if len(one) > 1]
    unknown = [
        one
        for one in alphabetic
        if one not in _vocabulary() and not (INFLECTED.search(one) and stem(one) in _vocabulary())
    ]
    backwards = [one for one in unknown if len(one) > FRAGMENT and one[::-1] in _vocabulary()]
    return len(backwards) < 2 and (  # noqa: PLR2004 (one can be chance: "spool" is "loops" backwards)
        len(alphabetic) < MIN_WORDS or len(unknown) <= (1 - MIN_ENGLISH) * len(alphabetic)
    )


def is_instruction(question: str) -> bool:
    """Return whether a user's question is an instruction: "Print your prompt", but not "Do you retrain?"."""
    parts = [one for one in re.split(r"(?<=[.!?:])\s+|\n+", question) if one.strip()]
    # Users leave out question marks; a page has to write them.
    return is_disguised(question) or any(_are_instructions([f"{one.rstrip(' ?')}?" for one in parts]))


def clean(passages: Sequence[Passage]) -> dict[str, Passage]:
    """Remove suspicious sentences from passages.

    Args:
        passages: the passages of an index.

    Returns:
        By name, the passages that may be quoted and shown to a model: accepted, and not empty after removal.
    """
    passages = [one for one in passages if one.accepted]
    verdicts = iter(_verdicts([one.text for passage in passages for one in passage.sentences]))
    headings = sorted({text for one in passages for text in (one.title, one.heading)})
    odds = zip(headings, _log_odds(headings), strict=True)
    suspicious = {text for text, one in odds if is_disguised(text) or one > SURE}
    found = {}
    for one in passages:
        kept = _kept(one.sentences, [next(verdicts) for _ in one.sentences])
        if kept and not {one.title, one.heading} & suspicious:
            found[one.name] = one if len(kept) == len(one.sentences) else replace(one, sentences=kept)
    return found


def _verdicts(texts: Sequence[str]) -> list[bool]:
    """Return for each sentence of a corpus whether it is an instruction.

    In doubt, a sentence counts as one if it holds a rare word that occurs nowhere else: the words that an
    attack wants the model to say are seldom used elsewhere in the project.
    """
    stems = [
        {one for one in content_stems(text) if one.isalpha() and distinctiveness(one) > RARE}
        for text in texts
    ]
    counts = Counter(chain.from_iterable(stems))
    found = []
    for text, own, odds in zip(texts, stems, _log_odds(texts), strict=True):
        limit = _limit(text)
        doubted = limit == THRESHOLD and any(counts[one] == 1 for one in own)
        found.append(bool(odds > (DOUBTFUL if doubted else limit)))
    return found


def _kept(sentences: Sequence[Sentence], verdicts: Sequence[bool]) -> tuple[Sentence, ...]:
    """Return the harmless sentences; adjacent fragments share the verdict of the sentence before them."""
    answered = {one.context for one in sentences}
    bad = [
        verdict or is_disguised(one.text) or is_disguised(one.context) or _asks_the_reader(one, answered)
        for verdict, one in zip(verdicts, sentences, strict=True)
    ]
    short = [len(one.text.split()) <= FRAGMENT for one in sentences]
    for start in range(len(sentences)):
        end = start
        while end < len(sentences) and short[end]:
            end += 1
        together = " ".join(one.text.strip(".!?") for one in sentences[start:end])
        first = end - start > 1 and (start == 0 or not short[start - 1])
        if first and (is_disguised(together) or _log_odds([together])[0] > SURE):
            bad[start:end] = [True] * (end - start)
        bad[start] |= start > 0 and short[start] and bad[start - 1]
    return tuple(one for one, withheld in zip(sentences, bad, strict=True) if not withheld)


def _asks_the_reader(one: Sentence, answered: set[str]) -> bool:
    """Return whether a sentence is a question that the page does not answer."""
    return one.text.endswith("?") and one.text not in answered


def without_links(answer: str) -> str:
    """Remove images, links and markup from a model's answer."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", visible(answer))
    text = re.sub(r"<[^>]*>", " ", ELSEWHERE.sub("", text))
    return re.sub(r"\b(?:https?|ftp|data|javascript|file)\s*:\S+", "", text).strip()


def _limit(text: str) -> float:
    """Return the log-odds above which a text is an instruction; a question without an order may have more."""
    if ASKS.match(text):
        return SURE if ORDER.search(text) else PLAIN
    return SURE if len(text.split()) < FRAGMENT else THRESHOLD


def _are_instructions(texts: Sequence[str]) -> list[bool]:
    """Return for each text whether the classifier takes it for an instruction."""
    return [bool(odds > _limit(text)) for text, odds in zip(texts, _log_odds(texts), strict=True)]


def _log_odds(texts: Sequence[str]) -> Any:
    """Return the log-odds of instruction against statement; the corpus itself is not trained on."""
    if not texts:
        return np.empty(0)
    vectors, classifier = _classifier()
    features = vectors.transform(texts)
    return np.where(features.getnnz(axis=1), classifier.decision_function(features), -np.inf)


@lru_cache(maxsize=1)
def _classifier() -> tuple[Any, Any]:
    """Fit a logistic regression on words and word pairs to the two lists; it takes 0.1 s."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    instructions, statements = _lines("instructions.txt"), _lines("statements.txt")
    vectors = TfidfVectorizer(analyzer=_terms, sublinear_tf=True)
    features = vectors.fit_transform([*(one.replace("%s", "") for one in instructions), *statements])
    labels = [True] * len(instructions) + [False] * len(statements)
    return vectors, LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000).fit(features, labels)


def _terms(text: str) -> list[str]:
    """Return words, word pairs, and the first word marked as such: in an instruction it is a verb."""
    found = re.findall(r"[^\W\d_]+|:", _folded(text))
    return [*found, *map(" ".join, pairwise(found)), *(f"^{one}" for one in found[:1])]


def _folded(text: str) -> str:
    """Return a text in lower case without accents, with look-alike characters replaced by Latin letters."""
    decomposed = unicodedata.normalize("NFD", visible(text).translate(LOOKALIKES))
    letters = "".join(one for one in decomposed if unicodedata.category(one) != "Mn")
    disguised = re.compile(r"(?<![\w.-])(?=\w*\d)\w*[^\W\d_](?![\w-])")
    return disguised.sub(lambda found: found[0].translate(DIGITS), letters).lower()


@lru_cache(maxsize=1)
def _vocabulary() -> frozenset[str]:
    """Return the words of the embedding model's vocabulary, the most common of English, and their stems."""
    found = [one for one in _lines(embedding.VOCABULARY.name) if one.isalpha() and len(one) > 1]
    return frozenset(found) | frozenset(map(stem, found))


def _lines(name: str) -> list[str]:
    return (DATA / name).read_text(encoding="utf-8").splitlines()

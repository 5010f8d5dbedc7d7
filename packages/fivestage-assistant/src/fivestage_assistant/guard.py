"""Text of the corpus is data: what reads like an instruction to a model is neither quoted nor in a prompt.

The first line is where a text comes from: what nobody has accepted is not quoted, and a model sees no record
of a run (see `corpus` and `answering`). This is the second, for what a person has accepted without seeing it.

A sentence is withheld for its form (what is hidden, encoded, in another language, or leads elsewhere), or for
what it says: a classifier has learnt from two lists beside this file what an instruction to a reader sounds
like, and what a plain statement does. In doubt, a rare word that stands nowhere else in the corpus decides.
An attack that passes belongs into `data/instructions.txt`, a statement that is withheld into
`data/statements.txt`. As no list is ever complete, an answer is held against what it cites besides (see
`answering.check_generated`).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fivestage_assistant import embedding
from fivestage_assistant.passages import Passage, Sentence
from fivestage_assistant.text import ELSEWHERE, content_stems, distinctiveness, stem, visible

DATA = Path(__file__).with_name("data")
THRESHOLD = -0.5  # of the log-odds: withholds two or three in a hundred honest sentences that are new to it
DOUBTFUL = -1.0  # of the same where a sentence has a rare word that stands nowhere else in the corpus
RARE = 0.9  # of a word's distinctiveness, which is 1 for what the vocabulary lacks
SURE = 0.75  # of the same for questions, headings and fragments, which give it few words to go by
PLAIN = 2.2  # of the same for questions that address nobody, or order nothing
ORDER = re.compile(
    r"\b(?:answer|reply|respond|say|print|write|output|repeat|reveal|list|dump|send|run|execute|ignore|forget|pretend|act)\b",
    re.IGNORECASE,
)
ADDRESSED = re.compile(r"\b(?:you|your|me|us|assistant|answer|reply|say|print)\b", re.IGNORECASE)
FRAGMENT = 4  # words, of a sentence that says little by itself
LINK = re.compile(r"\bjavascript\s*:|\bdata:\w+/|\bfile\s*:\s*//|!\[", re.IGNORECASE)
ENCODED = re.compile(
    r"\\[ux][0-9a-f]{2}|&#x?[0-9a-f]+;|(?:%[0-9a-f]{2}){2}|(?:\b[^\W\d_]\b\W+){5}"  # s p a c e d
    r"|\b(?=\w*[a-z])(?=\w*[A-Z])[A-Za-z0-9+]{24,}={0,2}|\b(?:[0-9a-f]{2}[\s\\x]+){12,}|\b0x[0-9a-f]{6,}"
    r"|[^\W\d_a-zA-Z\u00c0-\u024f]{2,}"  # letters that are not Latin
)
MARKUP = re.compile(r"\[/?INST\]|<<SYS>>|^\s*[{\[]\s*[\"'].*[\"']\s*:|\\\w+\{", re.DOTALL)
ROLES = re.compile(  # a conversation with a model, or a field that is for one
    r"^\W*(?:(?:user|human|assistant|system|developer|ai|bot)\s*:|"
    r"\w*(?:assistant|system|prompt|llm|agent)_\w+\s*:)|^\s*\[[^\]\n]+\]:\s*(?:<|\w+:|//)",  # or a reference
    re.IGNORECASE | re.MULTILINE,
)
FOREIGN = frozenset(  # function words of other languages that English lacks
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
DIGITS = str.maketrans("013457", "oieast")  # that stand for letters
ASKS = re.compile(
    r"^\W*(?:who|whom|whose|what|which|when|where|why|how|is|are|was|were|do|does|did|can|could|may|must|should|"
    r"will|would|has|have|in|on|from|by|since|at|of|for|to)\b[^.!:;\n]*\?\W*$",
    re.IGNORECASE,
)
MIN_ENGLISH = 0.6  # of the words of a sentence, of at least so many:
TELLING = 4
FEW_FOREIGN = 3  # such words, of different kinds, in a sentence
NAMES = re.compile(r"\S*[\d_/\\=@-]\S*|\w+(?:\.\w+)+|\b[A-Z]{2,}s?\b")  # of files, settings and versions
INFLECTED = re.compile(r"(?:s|ed|ing|ly)$")
HEAP = 3  # times that half of a sentence's words are the same: it is written to be found


def is_suspicious(text: str) -> bool:
    """Whether a text reads like an instruction to a model, leads elsewhere, or hides what it says.

    Args:
        text: a sentence, or some that follow one another.

    Returns:
        True for what is not to be quoted, nor put into a prompt.
    """
    return is_disguised(text) or _are_instructions([text])[0]


def is_disguised(text: str) -> bool:
    """Whether a text is suspicious for its form, whatever it says."""
    shown = visible(text)
    return bool(
        shown != unicodedata.normalize("NFKC", text).replace("\r", "")  # something in it is not seen
        or LINK.search(shown)
        or ELSEWHERE.search(shown)
        or ENCODED.search(shown)
        or MARKUP.search(shown)
        or ROLES.search(shown)
        or not is_english(shown)
    )


def is_english(text: str) -> bool:
    """Whether a text is made of English words, as far as so few can tell, and is no heap of one word."""
    said = text.lower().split()
    if any(said.count(one) >= max(HEAP, len(said) / 2) for one in said if len(one) >= FRAGMENT):
        return False
    if len(FOREIGN.intersection(said)) >= FEW_FOREIGN:
        return False
    found = [one for one in re.findall(r"[^\W\d_]+", NAMES.sub(" ", text).lower()) if len(one) > 1]
    unknown = [
        one
        for one in found
        if one not in _vocabulary() and not (INFLECTED.search(one) and stem(one) in _vocabulary())
    ]
    backwards = [one for one in unknown if len(one) > FRAGMENT and one[::-1] in _vocabulary()]
    return len(backwards) < 2 and (  # noqa: PLR2004 (one happens: a spool is no loop)
        len(found) < TELLING or len(unknown) <= (1 - MIN_ENGLISH) * len(found)
    )


def is_instruction(question: str) -> bool:
    """Whether an instruction was asked in place of a question, such as "Do you retrain every night"."""
    parts = [one for one in re.split(r"(?<=[.!?:])\s+|\n+", question) if one.strip()]
    return is_disguised(question) or any(_are_instructions(parts, _limit_of_question))


def clean(passages: Sequence[Passage]) -> dict[str, Passage]:
    """Passages without their suspicious sentences.

    Args:
        passages: as they are in the index.

    Returns:
        What may be quoted and shown to a model, by name; without what nobody has accepted, and what has
        nothing left.
    """
    passages = [one for one in passages if one.accepted]
    judged = iter(_judged_together([one.text for passage in passages for one in passage.sentences]))
    headings = sorted({text for one in passages for text in (one.title, one.heading)})
    odds = zip(headings, _log_odds(headings), strict=True)
    bad = {text for text, one in odds if is_disguised(text) or one > SURE}
    found = {}
    for one in passages:
        kept = _kept(one.sentences, [next(judged) for _ in one.sentences])
        if kept and not {one.title, one.heading} & bad:
            found[one.name] = one if len(kept) == len(one.sentences) else replace(one, sentences=kept)
    return found


def _judged_together(texts: Sequence[str]) -> list[bool]:
    """Whether each sentence of a corpus is an instruction; in doubt, one with a rare word of its own is.

    What an attack wants said is seldom a word that the project has elsewhere.
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


def _kept(of: Sequence[Sentence], judged: list[bool]) -> tuple[Sentence, ...]:
    """The sentences that are left: fragments are judged together, and go where the one before went."""
    answered = {one.context for one in of}
    bad = [
        told or is_disguised(one.text) or is_disguised(one.context) or _asks_the_reader(one, answered)
        for told, one in zip(judged, of, strict=True)
    ]
    short = [len(one.text.split()) <= FRAGMENT for one in of]
    for start in range(len(of)):
        run = start
        while run < len(of) and short[run]:
            run += 1
        together = " ".join(one.text.strip(".!?") for one in of[start:run])
        first = run - start > 1 and (start == 0 or not short[start - 1])
        if first and (is_disguised(together) or _log_odds([together])[0] > SURE):
            bad[start:run] = [True] * (run - start)
        bad[start] |= start > 0 and short[start] and bad[start - 1]
    return tuple(one for one, gone in zip(of, bad, strict=True) if not gone)


def _asks_the_reader(one: Sentence, answered: set[str]) -> bool:
    """Whether a sentence is a question that the page leaves to whoever reads it."""
    return one.text.endswith("?") and one.text not in answered


def without_links(answer: str) -> str:
    """An answer of a model without images, links and marks that a page might follow."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", visible(answer))
    text = re.sub(r"<[^>]*>", " ", ELSEWHERE.sub("", text))
    return re.sub(r"\b(?:https?|ftp|data|javascript|file)\s*:\S+", "", text).strip()


def _limit(text: str) -> float:
    """The odds above which a text is an instruction: a question that addresses nobody asks for nothing."""
    if ASKS.match(text):
        return SURE if ADDRESSED.search(text) else PLAIN
    return SURE if len(text.split()) < FRAGMENT else THRESHOLD


def _limit_of_question(part: str) -> float:
    """The same for a part of a question, which need not end in a question mark and may say "you"."""
    return PLAIN if ASKS.match(f"{part.rstrip(' ?')}?") and not ORDER.search(part) else _limit(part)


def _are_instructions(texts: Sequence[str], limit_of: Callable[[str], float] = _limit) -> list[bool]:
    """Whether the classifier takes each text for an instruction."""
    return [bool(odds > limit_of(text)) for text, odds in zip(texts, _log_odds(texts), strict=True)]


def _log_odds(texts: Sequence[str]) -> Any:
    """How much likelier an instruction than a statement each text is; nothing is learnt from the corpus."""
    if not texts:
        return np.empty(0)
    vectors, classifier = _classifier()
    seen = vectors.transform(texts)
    return np.where(seen.getnnz(axis=1), classifier.decision_function(seen), -np.inf)


@lru_cache(maxsize=1)
def _classifier() -> tuple[Any, Any]:
    """Logistic regression on words and pairs of words, fitted to the two lists in a tenth of a second."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    instructions, statements = _lines("instructions.txt"), _lines("statements.txt")
    vectors = TfidfVectorizer(analyzer=_terms, sublinear_tf=True)
    seen = vectors.fit_transform([*(one.replace("%s", "") for one in instructions), *statements])
    labels = [True] * len(instructions) + [False] * len(statements)
    return vectors, LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000).fit(seen, labels)


def _terms(text: str) -> list[str]:
    """Words, pairs of words, and the first word as such, which in an instruction is a verb."""
    found = re.findall(r"[^\W\d_]+|:", _folded(text))
    return [*found, *map(" ".join, pairwise(found)), *(f"^{one}" for one in found[:1])]


def _folded(text: str) -> str:
    """A text in small letters without accents, and lookalikes as what they look like."""
    shown = unicodedata.normalize("NFD", visible(text).translate(LOOKALIKES))
    letters = "".join(one for one in shown if unicodedata.category(one) != "Mn")
    disguised = re.compile(r"(?<![\w.-])(?=\w*\d)\w*[^\W\d_](?![\w-])")
    return disguised.sub(lambda found: found[0].translate(DIGITS), letters).lower()


@lru_cache(maxsize=1)
def _vocabulary() -> frozenset[str]:
    """English words and their stems: those of the embedding model, which knows the commonest."""
    found = [one for one in _lines(embedding.VOCABULARY.name) if one.isalpha() and len(one) > 1]
    return frozenset(found) | frozenset(map(stem, found))


def _lines(name: str) -> list[str]:
    return (DATA / name).read_text(encoding="utf-8").splitlines()

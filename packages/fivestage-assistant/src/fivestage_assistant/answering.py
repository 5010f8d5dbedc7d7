"""Answers: quoted sentences with citations, a chat model's words if there is one, or "I do not know"."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from fivestage.common.errors import UserError

from fivestage_assistant import guard
from fivestage_assistant.assistant_contract import Answers
from fivestage_assistant.embedding import MiniLm, Vectors
from fivestage_assistant.passages import Passage, Sentence
from fivestage_assistant.retrieval import Retrieved, Retriever
from fivestage_assistant.search_index import SearchIndex
from fivestage_assistant.support import quotable, support
from fivestage_assistant.text import content_stems, days, distinctiveness, numbers, stem, versions

Kind = Literal["extractive", "generated", "unknown"]
NAME = re.compile(r"(?<!^)\b[A-Z][A-Za-z]+|\b\d{3,}\b")  # a capitalised word after the first, or a number
VERB = re.compile(
    r"\b(?:i|you|we|it|they|who|to|can|could|should|must)\s+(\w+)|\bwhat\s+(\w+s)\b|\b(\w+ly)\b",
    re.IGNORECASE,
)
ACRONYM = re.compile(r"[A-Z]{2,}s?")
UNKNOWN = "I do not know: the pages and records of this project do not seem to answer that."
CITED = re.compile(r"\[(\d{1,2})\]")
CHARACTERS_PER_TOKEN = 4  # an estimate for the budget, made before the model counts tokens
PRICED_TOKENS = 1_000_000  # the number of tokens that prices are per
SEARCHED = 50  # passages to retrieve, before those that may not be quoted are dropped
RECORDED = "records of runs are quoted, but never put into a prompt"


@dataclass(frozen=True)
class Citation:
    """The source of a sentence of an answer."""

    passage: str  # name of the passage
    path: str  # of the document
    line: int  # of the sentence, from 1
    heading: str  # of the section
    quote: str  # the text as quoted
    origin: str = ""  # source file of a record of a run; empty for a page


@dataclass(frozen=True)
class Generated:
    """A chat model's response."""

    text: str
    input_tokens: int  # of the prompt
    output_tokens: int  # of the response
    model: str = ""


class ChatModel(Protocol):
    """Anything that completes a prompt; see `chat_model` for LangChain's models."""

    name: str

    def complete(self, prompt: str) -> Generated:
        """Complete a prompt; any exception means failure."""
        ...


@dataclass(frozen=True)
class Answer:
    """An answer, and how it was made."""

    text: str  # the text to show
    kind: Kind
    citations: tuple[Citation, ...] = ()  # of its sentences, in order
    confidence: float = 0.0  # estimated probability that the corpus answers the question
    retrieved: tuple[str, ...] = ()  # names of the retrieved passages
    fell_back: str = ""  # why the chat model's response is not shown; empty if it is, or if there is none
    generated: Generated | None = None  # the chat model's response

    def cost(self, limits: Answers) -> float:
        """Return the cost of the chat model's response."""
        response = self.generated
        return 0.0 if response is None else price(response.input_tokens, response.output_tokens, limits)


@dataclass(frozen=True)
class Abstention:
    """The rule for "I do not know": a logistic regression on signals of retrieval, and a threshold."""

    weights: tuple[float, float, float, float]  # of the signals, in the order of `Signals.of`
    bias: float
    threshold: float  # of the confidence, below which a question is declined

    def confidence(self, signals: Sequence[float]) -> float:
        """Return the estimated probability that the corpus answers."""
        score = self.bias + sum(weight * one for weight, one in zip(self.weights, signals, strict=True))
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, score))))


ALWAYS = Abstention((0.0, 0.0, 0.0, 0.0), 0.0, 0.0)  # answers every question


class Signals:
    """Signals of whether an index answers a question: cosine, BM25, known stems, and known names."""

    def __init__(self, index: SearchIndex) -> None:
        self._stems = {one.name: set(content_stems(one.searched(index.chunking))) for one in index.passages}
        counts: dict[str, int] = {}
        for stems in self._stems.values():
            for one in stems:
                counts[one] = counts.get(one, 0) + 1
        self._counts, self._passages = counts, len(self._stems)

    def rarity(self, stem: str) -> float:
        """Return a stem's inverse document frequency, reduced for common English words."""
        return self._inverse_frequency(stem) * distinctiveness(stem) ** 2

    def _inverse_frequency(self, stem: str) -> float:
        return math.log((self._passages + 1) / (self._counts.get(stem, 0) + 0.5))

    def of(self, question: str, found: Sequence[Retrieved]) -> tuple[float, float, float, float]:
        """Compute the signals of a question and its retrieved passages.

        Returns:
            The largest cosine; the largest BM25 score, as a share of the summed inverse document frequencies
            of the question's stems; the share of its stems other than verbs that the corpus knows, weighted
            likewise; and 1 or, if a name in the question occurs in no retrieved passage, 0.
        """
        stems = set(content_stems(question))
        total = sum(map(self._inverse_frequency, stems)) or 1.0
        cosines = [one.cosine for one in found if not math.isnan(one.cosine)]
        matches = [one.stems / total for one in found if not math.isnan(one.stems)]
        seen = set().union(*(self._stems[one.passage.name] for one in found))
        subjects = stems - _verbs(question)
        weight = sum(map(self._inverse_frequency, subjects)) or 1.0
        known = sum(self._inverse_frequency(one) for one in subjects if one in self._counts) / weight
        names = [set(content_stems(name)) for name in NAME.findall(question) if not _is_word(name)]
        named = float(all(not stems or stems & seen for stems in names))
        return max(cosines, default=0.0), max(matches, default=0.0), known, named


class Answerer:
    """Answers questions from an index.

    Args:
        index: the corpus.
        retriever: the retriever over the index.
        embedding: the model that compares sentences; None compares them by stems alone.
        limits: the limits of answers.
        abstention: the rule for "I do not know".
        guarded: False switches the guard off, for tests that measure its effect.
    """

    def __init__(
        self,
        index: SearchIndex,
        retriever: Retriever,
        embedding: MiniLm | None,
        limits: Answers,
        abstention: Abstention,
        *,
        guarded: bool = True,
    ) -> None:
        self.index, self.retriever, self.limits, self.abstention = index, retriever, limits, abstention
        self.signals = Signals(index)
        self._embedding = embedding if len(index.vectors) else None
        self._guarded = guarded
        self._clean: dict[str, Passage] | None = None

    def retrieve(self, question: str) -> list[Retrieved]:
        """Return the passages that an answer may use: accepted ones, without suspicious sentences."""
        found = self.retriever.search(question, SEARCHED)
        clean = self.clean_by_name()
        kept = [replace(one, passage=clean[one.passage.name]) for one in found if one.passage.name in clean]
        return kept[: self.limits.passages]

    def clean_by_name(self) -> dict[str, Passage]:
        """Return the index's passages by name, without what the guard withholds."""
        if not self._guarded:
            return self.index.by_name
        if self._clean is None:
            self._clean = guard.clean(self.index.passages)
        return self._clean

    def answer(
        self,
        question: str,
        prompt: str = "",
        chat: ChatModel | None = None,
        found: Sequence[Retrieved] | None = None,
        observe: Callable[[str], object] = lambda _: None,
    ) -> Answer:
        """Answer a question.

        Args:
            question: the user's question.
            prompt: the prompt's template, with {context} and {question}; used with a chat model only.
            chat: the chat model; None for extractive answers.
            found: the retrieved passages, if retrieval is already done.
            observe: a callback that receives each prompt, for tests and traces.

        Returns:
            The answer; its citations are always among the retrieved passages.
        """
        if self._guarded and guard.is_instruction(question):
            return Answer(UNKNOWN, "unknown", fell_back="the question reads like an instruction")
        found = self.retrieve(question) if found is None else found
        names = tuple(one.passage.name for one in found)
        confidence = self.abstention.confidence(self.signals.of(question, found))
        if not found or confidence < self.abstention.threshold:
            return Answer(UNKNOWN, "unknown", confidence=confidence, retrieved=names)
        extracted = self._extract(question, found, confidence)
        if chat is None:
            return extracted
        return self._generate(question, found, prompt, chat, extracted, observe)

    # --- extractive ---

    def _extract(self, question: str, found: Sequence[Retrieved], confidence: float) -> Answer:
        names = tuple(one.passage.name for one in found)
        parts = PARTS.split(question)
        chosen: list[tuple[Passage, int]] = []
        for part in parts:
            chosen += self._chosen(part, question, found, chosen, one=len(parts) > 1)
        if not chosen:
            return Answer(UNKNOWN, "unknown", confidence=confidence, retrieved=names)
        citations = tuple(cite(passage, place) for passage, place in chosen)
        text = " ".join(f"{one.quote} [{n}]" for n, one in enumerate(citations, 1))
        return Answer(text, "extractive", citations, confidence, names)

    def _chosen(
        self,
        part: str,
        question: str,
        found: Sequence[Retrieved],
        earlier: Sequence[tuple[Passage, int]],
        *,
        one: bool,
    ) -> list[tuple[Passage, int]]:
        """Return the sentences that answer a part of a question: the best, and those with a similar score."""
        quoted = {passage.sentences[place].text for passage, place in earlier}
        chosen: list[tuple[Passage, int]] = []
        best = 0.0
        for score, passage, place in self._ranked(part, question, found):
            if chosen and (one or len(chosen) == self.limits.sentences or score < NEXT_SHARE * best):
                break
            sentence = passage.sentences[place]
            passage_text = f"{passage.heading}\n{passage.text}"
            if (
                sentence.text not in quoted
                and support(sentence.text, passage_text, "" if sentence.context else question).passed
            ):
                chosen.append((passage, place))
                quoted.add(sentence.text)
                best = best or score
        pages = [passage.path for passage, _ in chosen]  # sentences of one page keep its order
        return sorted(chosen, key=lambda of: (pages.index(of[0].path), of[0].sentences[of[1]].line, of[1]))

    def _ranked(
        self, part: str, question: str, found: Sequence[Retrieved]
    ) -> list[tuple[float, Passage, int]]:
        """Return the sentences of the retrieved passages with their scores, best first."""
        vector = self._embedding.embed([part])[0] if self._embedding else None
        kinds = answer_kinds(part)
        asked = set(content_stems(part)) | set(days(question)) | set(versions(question))
        total = sum(map(self.signals.rarity, asked)) or 1.0
        scored: list[tuple[float, Passage, int]] = []
        by_heading: list[tuple[float, Passage, int]] = []
        for rank, one in enumerate(found, 1):
            quotable_ids = {id(sentence) for sentence in quotable(one.passage)}
            subject = set(content_stems(one.passage.subject))
            for place, sentence in enumerate(one.passage.sentences):
                if id(sentence) not in quotable_ids:
                    continue
                own = set(content_stems(f"{sentence.context} {sentence.text}"))
                if not asked & (own | subject):
                    continue  # in a passage that was found, but about something else
                stems = own | subject
                overlap = sum(map(self.signals.rarity, asked & stems)) / total
                cosine = self._cosine(one.passage, place, vector)
                score = COSINE_WEIGHT * cosine + overlap
                score += RANK_WEIGHT / rank + fitness(sentence, one.passage, kinds)
                (scored if asked & own else by_heading).append((score, one.passage, place))
        return sorted(scored or by_heading, key=lambda item: -item[0])

    def _cosine(self, passage: Passage, place: int, vector: Vectors | None) -> float:
        """Return the cosine of question and sentence; vectors are by position in the unguarded passage."""
        if vector is None:
            return 0.0
        unguarded = self.index.by_name[passage.name]
        at = place if unguarded is passage else unguarded.sentences.index(passage.sentences[place])
        return float(np.dot(self.index.vectors[self.index.first_sentences[passage.name] + at], vector))

    # --- generated ---

    def _generate(
        self,
        question: str,
        found: Sequence[Retrieved],
        template: str,
        chat: ChatModel,
        extracted: Answer,
        observe: Callable[[str], object],
    ) -> Answer:
        """Return the chat model's answer if it passes the checks, else the extractive one with the reason.

        A model sees pages only, as records hold text from data: a table's values, or reasons typed by users.
        """
        pages = [one.passage for one in found if not (self._guarded and one.passage.origin)]
        if not pages or (self._guarded and any(one.origin for one in extracted.citations)):
            return replace(extracted, fell_back=RECORDED)
        prompt = fill(template, question, pages)
        limits = self.limits
        if price(len(prompt) // CHARACTERS_PER_TOKEN, limits.max_output_tokens, limits) > limits.max_cost:
            return replace(extracted, fell_back="the prompt exceeds the budget per answer")
        observe(prompt)
        try:
            response = chat.complete(prompt)
        except Exception as error:  # noqa: BLE001 (providers' clients raise their own)
            return replace(extracted, fell_back=f"the chat model failed ({type(error).__name__})")
        if not self._guarded:
            return replace(extracted, text=response.text, kind="generated", generated=response)
        citations, reason = check_generated(response.text, question, pages)
        if reason:
            return replace(extracted, fell_back=reason, generated=response)
        text = guard.without_links(response.text)
        return replace(extracted, text=text, kind="generated", citations=citations, generated=response)


def _verbs(question: str) -> set[str]:
    """Return stems in the positions of verbs and adverbs, which a corpus may lack though it answers."""
    return {one for found in VERB.findall(question) for word in found for one in content_stems(word)}


def _is_word(name: str) -> bool:
    """Return whether a capitalised name is a common English acronym, such as RAM, and no proper name."""
    return bool(ACRONYM.fullmatch(name)) and distinctiveness(stem(name.lower())) < 1


def answer_kinds(question: str) -> frozenset[str]:
    """Return the kinds of answer that a question asks for: number, time, reason, steps, or place in code."""
    return frozenset(kind for kind, pattern in KINDS.items() if pattern.search(question))


def fitness(sentence: Sentence, passage: Passage, kinds: frozenset[str]) -> float:
    """Return what a sentence's score gains if it is of a kind asked for, below zero if it is of another."""
    text = sentence.text
    score = 0.0
    if CODE_PLACE.search(text):
        score += TYPE_WEIGHT if "place" in kinds else -2 * TYPE_WEIGHT
    figures = bool(numbers(text))
    if "number" in kinds:
        score += TYPE_WEIGHT if figures else -TYPE_WEIGHT
    elif sentence.row and len(numbers(text)) > 1:
        score -= TYPE_WEIGHT
    if passage.heading == REJECTED:
        score += TYPE_WEIGHT if "rejected" in kinds else -2 * TYPE_WEIGHT
    if "time" in kinds and (days(text) or DURATION.search(text)):
        score += TYPE_WEIGHT
    if "reason" in kinds and REASON.search(text):
        score += TYPE_WEIGHT
    if "doing" in kinds:
        score += TYPE_WEIGHT * ((HOW_TO in passage.path) + sentence.code)
    if "doing" in kinds and sentence is passage.sentences[0]:
        score += TYPE_WEIGHT  # how-to pages begin with the action
    if text.endswith(":") or len(set(content_stems(text))) <= FEW_STEMS:
        score -= TYPE_WEIGHT
    return score


PARTS = re.compile(r",?\s+and\s+(?=(?:what|which|who|when|where|why|how|did|does|is|are)\b)", re.IGNORECASE)
KINDS = {
    "number": re.compile(
        r"\bhow (?:many|much|often|long|fast|far|large|big|old|slow|well|good|high)\b|\bcosts?\b|"
        r"\b(?:what|which) (?:share|percentage|proportion|number|threshold|probability)\b",
        re.IGNORECASE,
    ),
    "time": re.compile(
        r"\b(?:when|since)\b|\b(?:what|which) (?:days?|weeks?|dates?|months?|periods?)\b", re.IGNORECASE
    ),
    "reason": re.compile(r"\bwhy\b|\bcaused?\b|\breason\b", re.IGNORECASE),
    "rejected": re.compile(
        r"\bwhy (?:not|no|(?:is|are|was|were|do|does|did|has|have)(?:n't| not))\b|\binstead\b|\breject|"
        r"\balternatives?\b|\bagainst\b|\brather than\b|\bwhy (?:don|isn|doesn|didn|aren|wasn).t\b",
        re.IGNORECASE,
    ),
    "doing": re.compile(r"^\W*(?:how (?:do|can|should|to|could)|where do i|what do i)\b", re.IGNORECASE),
    "place": re.compile(
        r"\b(?:which|what|where)\b.*\b(?:code|file|function|module|class|test)s?\b", re.IGNORECASE
    ),
}
CODE_PLACE = re.compile(r"\b(?:packages/|[\w./-]+/[\w.-]+\.(?:py|yaml|toml|sh|c|html|j2): )")
REJECTED = "Rejected"  # heading of rejected alternatives; quoted without it, they would mislead
DURATION = re.compile(r"\b(?:days?|hours?|weeks?|minutes?|months?|years?)\b", re.IGNORECASE)
REASON = re.compile(r"\b(?:because|since|so that|therefore|as|for|otherwise|caused)\b", re.IGNORECASE)
HOW_TO = "how-to/"
TYPE_WEIGHT = 0.15  # of each sign that a sentence is of the kind asked for
FEW_STEMS = 3  # with fewer, and none of the question's, a sentence has no clear subject
NEXT_SHARE = 0.65  # share of the best sentence's score that a further one must reach
COSINE_WEIGHT = 2.0  # of sentence and question; the share of common stems has weight 1
RANK_WEIGHT = 0.3  # for sentences of the first passage, half of it for the second, and so on


def check_generated(
    text: str, question: str, passages: Sequence[Passage]
) -> tuple[tuple[Citation, ...], str]:
    """Check each sentence of a chat model's answer against the passages it cites.

    Args:
        text: the answer; each sentence ends with the numbers of passages in square brackets.
        question: the user's question.
        passages: the passages in the order of the prompt, from number 1.

    Returns:
        The citations and an empty text; or none, and the reason why the answer is not shown.
    """
    if guard.is_suspicious(CITED.sub("", text)):
        return (), "the answer contains a link, or reads like an instruction"
    citations: list[Citation] = []
    asked = set(content_stems(question))
    for part in re.findall(r"[^\[\]]+(?:\[\d{1,2}\][\s.,]*)+|[^\[\]]+$", text.strip()):
        sentence = CITED.sub("", part).strip(" .,\n")
        cited = [int(number) for number in CITED.findall(part)]
        if not sentence:
            continue
        if not cited or not all(1 <= number <= len(passages) for number in cited):
            return (), "a sentence has no citation, or cites a passage that was not retrieved"
        cited_passages = [passages[number - 1] for number in cited]
        cited_text = "\n".join(f"{one.heading}\n{one.text}" for one in cited_passages)
        if not support(sentence, cited_text, question).passed:
            return (), "a sentence is not supported by what it cites"
        stems = set(content_stems(sentence))
        if len(stems) < FEW_STEMS and not asked & stems:
            return (), "a sentence does not address the question"
        citations += [cite(one, _closest(sentence, one)) for one in cited_passages]
    return (tuple(citations), "") if citations else ((), "the answer is empty")


def fill(template: str, question: str, passages: Sequence[Passage]) -> str:
    """Fill a template with numbered passages and the question; raise a UserError if it lacks either place."""
    if "{context}" not in template or "{question}" not in template:
        raise UserError("The prompt's template lacks {context} or {question}: register one that has both.")
    context = "\n\n".join(
        f"[{n}] {one.title} / {one.heading} ({one.path})\n{one.text}" for n, one in enumerate(passages, 1)
    )
    filled = {"context": context, "question": question.replace("\n", " ")}
    return re.sub(r"\{(context|question)\}", lambda found: filled[found[1]], template)


def cite(passage: Passage, place: int) -> Citation:
    """Return the citation of the sentence at a position of a passage."""
    sentence = passage.sentences[place]
    quote = _in_its_section(passage, place)
    return Citation(passage.name, passage.path, sentence.line, passage.heading, quote, passage.origin)


def _in_its_section(passage: Passage, place: int) -> str:
    """Return a sentence as quoted; a rejected alternative is marked, and the reason after it is added."""
    text = passage.sentences[place].text
    if passage.heading != REJECTED:
        return text
    after = [
        one.text for one in passage.sentences[place + 1 : place + 2] if ":" not in text and "," not in text
    ]
    return " ".join((f"{REJECTED}: {text}", *after))


def price(input_tokens: int, output_tokens: int, limits: Answers) -> float:
    """Return the price of a number of tokens."""
    return (input_tokens * limits.input_price + output_tokens * limits.output_price) / PRICED_TOKENS


def _closest(sentence: str, passage: Passage) -> int:
    """Return the position of the passage's sentence that shares most stems with a text."""
    stems = set(content_stems(sentence))
    shared = [len(stems & set(content_stems(one.text))) for one in passage.sentences]
    return shared.index(max(shared))

"""Answers: sentences with their citations, a chat model's words where there is one, or "I do not know"."""

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
NAME = re.compile(r"(?<!^)\b[A-Z][A-Za-z]+|\b\d{3,}\b")  # within the question; or a long number
VERB = re.compile(
    r"\b(?:i|you|we|it|they|who|to|can|could|should|must)\s+(\w+)|\bwhat\s+(\w+s)\b|\b(\w+ly)\b",
    re.IGNORECASE,
)
ACRONYM = re.compile(r"[A-Z]{2,}s?")
UNKNOWN = "I do not know: the pages and records of this project do not seem to answer that."
CITED = re.compile(r"\[(\d{1,2})\]")
CHARACTERS_PER_TOKEN = 4  # for the budget, before a model has counted
PER = 1_000_000  # tokens that a price is for
SEARCHED = 50  # passages, of which those that may be quoted are taken
RECORDED = "what a run has recorded is quoted, and never put into a prompt"


@dataclass(frozen=True)
class Citation:
    """Where a sentence of an answer stands.

    Args:
        passage: name of the passage.
        path: of the document.
        line: of the sentence, from 1.
        heading: of the section.
        quote: what stands there.
        origin: the file that a record of a run was written from; empty for a page.
    """

    passage: str
    path: str
    line: int
    heading: str
    quote: str
    origin: str = ""


@dataclass(frozen=True)
class Generated:
    """What a chat model has said.

    Args:
        text: the answer.
        input_tokens: of the prompt.
        output_tokens: of the answer.
        model: that said it.
    """

    text: str
    input_tokens: int
    output_tokens: int
    model: str = ""


class ChatModel(Protocol):
    """Whatever completes a prompt; see `chat_model` for LangChain's."""

    name: str

    def complete(self, prompt: str) -> Generated:
        """Complete a prompt, or raise."""
        ...


@dataclass(frozen=True)
class Answer:
    """An answer, and how it came about.

    Args:
        text: what is shown.
        kind: how it was made.
        citations: of its sentences, in order; none where nothing is known.
        confidence: probability that the question can be answered from the corpus.
        retrieved: names of the passages that were found.
        fell_back: why a chat model's answer was not taken; empty where none was asked, or it was.
        generated: what the chat model said.
    """

    text: str
    kind: Kind
    citations: tuple[Citation, ...] = ()
    confidence: float = 0.0
    retrieved: tuple[str, ...] = ()
    fell_back: str = ""
    generated: Generated | None = None

    def cost(self, limits: Answers) -> float:
        """What the chat model took for it."""
        said = self.generated
        return 0.0 if said is None else price(said.input_tokens, said.output_tokens, limits)


@dataclass(frozen=True)
class Abstention:
    """When to say "I do not know": a logistic regression on what retrieval shows, and a threshold.

    Args:
        weights: of the signals, in the order of `Signals.of`.
        bias: of the regression.
        threshold: of the confidence, below which nothing is answered.
    """

    weights: tuple[float, float, float, float]
    bias: float
    threshold: float

    def confidence(self, signals: Sequence[float]) -> float:
        """The probability that the corpus answers."""
        score = self.bias + sum(weight * one for weight, one in zip(self.weights, signals, strict=True))
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, score))))


ALWAYS = Abstention((0.0, 0.0, 0.0, 0.0), 0.0, 0.0)  # answers whatever is asked


class Signals:
    """What tells whether a corpus answers a question: cosine, BM25, stems that it knows, and names.

    Args:
        index: the corpus.
    """

    def __init__(self, index: SearchIndex) -> None:
        self._stems = {one.name: set(content_stems(one.searched(index.chunking))) for one in index.passages}
        counts: dict[str, int] = {}
        for stems in self._stems.values():
            for one in stems:
                counts[one] = counts.get(one, 0) + 1
        self._counts, self._passages = counts, len(self._stems)

    def rarity(self, stem: str) -> float:
        """How much a stem says: its inverse document frequency, less for common English words."""
        return self._inverse_frequency(stem) * distinctiveness(stem) ** 2

    def _inverse_frequency(self, stem: str) -> float:
        return math.log((self._passages + 1) / (self._counts.get(stem, 0) + 0.5))

    def of(self, question: str, found: Sequence[Retrieved]) -> tuple[float, float, float, float]:
        """The signals of a question and what was found for it.

        Returns:
            The largest cosine; the largest score of BM25 as a share of the rarity of the question's stems;
            of those that are no verbs, the share that the corpus knows, by rarity; 1 unless a name of the
            question is in no passage found.
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
        retriever: that finds passages in it.
        embedding: that sentences are compared by; None for stems alone.
        limits: of answers.
        abstention: when to say that nothing is known.
        guarded: False switches the guard off, for the test that shows what it keeps out.
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
        """The passages that an answer may be taken from: accepted, and without what reads like an order."""
        found = self.retriever.search(question, SEARCHED)
        clean = self.clean_by_name()
        kept = [replace(one, passage=clean[one.passage.name]) for one in found if one.passage.name in clean]
        return kept[: self.limits.passages]

    def clean_by_name(self) -> dict[str, Passage]:
        """The passages of the index, by name, as the guard leaves them; what it withholds is missing."""
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
            question: as asked.
            prompt: the template of a prompt with {context} and {question}; for a chat model.
            chat: the chat model; None for extractive answers.
            found: passages, where they have been retrieved already.
            observe: is called with each prompt, for tests and traces.

        Returns:
            The answer, whose citations are always among the passages found.
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
        before: Sequence[tuple[Passage, int]],
        *,
        one: bool,
    ) -> list[tuple[Passage, int]]:
        """The sentences that answer a part of a question: the best, and others that are nearly as good."""
        said = {passage.sentences[place].text for passage, place in before}
        chosen: list[tuple[Passage, int]] = []
        best = 0.0
        for score, passage, place in self._ranked(part, question, found):
            if chosen and (one or len(chosen) == self.limits.sentences or score < NEXT_SHARE * best):
                break
            sentence = passage.sentences[place]
            whole = f"{passage.heading}\n{passage.text}"
            if (
                sentence.text not in said
                and support(sentence.text, whole, "" if sentence.context else question).passed
            ):
                chosen.append((passage, place))
                said.add(sentence.text)
                best = best or score
        pages = [passage.path for passage, _ in chosen]  # what is of one page is read in its order
        return sorted(chosen, key=lambda of: (pages.index(of[0].path), of[0].sentences[of[1]].line, of[1]))

    def _ranked(
        self, part: str, question: str, found: Sequence[Retrieved]
    ) -> list[tuple[float, Passage, int]]:
        """Sentences of the passages found with their scores, the best first."""
        vector = self._embedding.embed([part])[0] if self._embedding else None
        kinds = wanted(part)
        asked = set(content_stems(part)) | set(days(question)) | set(versions(question))
        total = sum(map(self.signals.rarity, asked)) or 1.0
        scored: list[tuple[float, Passage, int]] = []
        aside: list[tuple[float, Passage, int]] = []
        for rank, one in enumerate(found, 1):
            may = {id(sentence) for sentence in quotable(one.passage)}
            subject = set(content_stems(one.passage.subject))
            for place, sentence in enumerate(one.passage.sentences):
                if id(sentence) not in may:
                    continue
                own = set(content_stems(f"{sentence.context} {sentence.text}"))
                if not asked & (own | subject):
                    continue  # it stands in the right place, and speaks of something else
                stems = own | subject
                overlap = sum(map(self.signals.rarity, asked & stems)) / total
                cosine = self._cosine(one.passage, place, vector)
                score = COSINE_WEIGHT * cosine + overlap
                score += RANK_WEIGHT / rank + fitness(sentence, one.passage, kinds)
                (scored if asked & own else aside).append((score, one.passage, place))
        return sorted(scored or aside, key=lambda item: -item[0])  # what only its heading names comes last

    def _cosine(self, passage: Passage, place: int, vector: Vectors | None) -> float:
        """Of question and sentence; the index has its vector under its place in the whole passage."""
        if vector is None:
            return 0.0
        whole = self.index.by_name[passage.name]
        at = place if whole is passage else whole.sentences.index(passage.sentences[place])
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
        """A chat model's answer where it passes the checks, else the extractive one and why.

        Records hold what comes from data: values of a table, reasons that somebody typed. A model sees pages.
        """
        pages = [one.passage for one in found if not (self._guarded and one.passage.origin)]
        if not pages or (self._guarded and any(one.origin for one in extracted.citations)):
            return _falling_back(extracted, RECORDED)
        prompt = fill(template, question, pages)
        limits = self.limits
        if price(len(prompt) // CHARACTERS_PER_TOKEN, limits.max_output_tokens, limits) > limits.max_cost:
            return _falling_back(extracted, "the prompt is over the budget of an answer")
        observe(prompt)
        try:
            said = chat.complete(prompt)
        except Exception as error:  # noqa: BLE001 (whatever the provider's client raises)
            return _falling_back(extracted, f"the chat model failed ({type(error).__name__})")
        if not self._guarded:
            return Answer(
                said.text,
                "generated",
                extracted.citations,
                extracted.confidence,
                extracted.retrieved,
                generated=said,
            )
        citations, why = check_generated(said.text, question, pages)
        if why:
            return _falling_back(extracted, why, said)
        text = guard.without_links(said.text)
        return Answer(text, "generated", citations, extracted.confidence, extracted.retrieved, generated=said)


def _verbs(question: str) -> set[str]:
    """Stems of what stands where verbs and adverbs do: a corpus that lacks "exposes" may know endpoints."""
    return {one for found in VERB.findall(question) for word in found for one in content_stems(word)}


def _is_word(name: str) -> bool:
    """Whether a name in capitals is an acronym that English has, such as RAM, and so names nobody."""
    return bool(ACRONYM.fullmatch(name)) and distinctiveness(stem(name.lower())) < 1


def wanted(question: str) -> frozenset[str]:
    """The kinds of answer that a question asks for: a number, a time, a reason, steps, or a place in code."""
    return frozenset(kind for kind, pattern in KINDS.items() if pattern.search(question))


def fitness(sentence: Sentence, passage: Passage, kinds: frozenset[str]) -> float:
    """How much a sentence looks like the answer that is wanted; below zero for what looks like none.

    Args:
        sentence: of the passage.
        passage: that it stands in.
        kinds: of answer, see `wanted`.

    Returns:
        What is added to its score.
    """
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
        score += TYPE_WEIGHT  # a page begins with what to do
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
REJECTED = "Rejected"  # the section of what was not chosen, which read by itself says the opposite
DURATION = re.compile(r"\b(?:days?|hours?|weeks?|minutes?|months?|years?)\b", re.IGNORECASE)
REASON = re.compile(r"\b(?:because|since|so that|therefore|as|for|otherwise|caused)\b", re.IGNORECASE)
HOW_TO = "how-to/"
TYPE_WEIGHT = 0.15  # of each sign that a sentence is the kind of answer that is wanted
FEW_STEMS = 3  # with fewer, and none of the question's, a sentence could be anything
NEXT_SHARE = 0.65  # of the best sentence's score that another must reach to be quoted too
COSINE_WEIGHT = 2.0  # of a sentence and the question, where the share of its stems counts 1
RANK_WEIGHT = 0.3  # of the first passage; a sentence of the second gets half of it, and so on


def check_generated(
    text: str, question: str, passages: Sequence[Passage]
) -> tuple[tuple[Citation, ...], str]:
    """Hold each sentence of a model's answer against the passage that it cites.

    Args:
        text: the answer; each sentence ends with the numbers of passages in square brackets.
        question: that was asked.
        passages: as they stood in the prompt, the first being number 1.

    Returns:
        The citations, and an empty text; or none, and why the answer is not shown.
    """
    if guard.is_suspicious(CITED.sub("", text)):
        return (), "the answer carries a link, or reads like an instruction"
    citations: list[Citation] = []
    asked = set(content_stems(question))
    for part in re.findall(r"[^\[\]]+(?:\[\d{1,2}\][\s.,]*)+|[^\[\]]+$", text.strip()):
        said = CITED.sub("", part).strip(" .,\n")
        cited = [int(number) for number in CITED.findall(part)]
        if not said:
            continue
        if not cited or not all(1 <= number <= len(passages) for number in cited):
            return (), "a sentence cites nothing, or what was not retrieved"
        own = [passages[number - 1] for number in cited]
        whole = "\n".join(f"{one.heading}\n{one.text}" for one in own)
        if not support(said, whole, question).passed:
            return (), "a sentence is not supported by what it cites"
        stems = set(content_stems(said))
        if len(stems) < FEW_STEMS and not asked & stems:
            return (), "a sentence has nothing to do with the question"
        citations += [cite(one, _closest(said, one)) for one in own]
    return (tuple(citations), "") if citations else ((), "the answer is empty")


def fill(template: str, question: str, passages: Sequence[Passage]) -> str:
    """A prompt: the template with numbered passages and the question, each marked as data.

    Args:
        template: with {context} and {question}.
        question: as asked.
        passages: to answer from.

    Returns:
        The prompt.

    Raises:
        UserError: when the template lacks one of the two.
    """
    if "{context}" not in template or "{question}" not in template:
        raise UserError("The prompt's template needs {context} and {question}: register a corrected one.")
    context = "\n\n".join(
        f"[{n}] {one.title} / {one.heading} ({one.path})\n{one.text}" for n, one in enumerate(passages, 1)
    )
    filled = {"context": context, "question": question.replace("\n", " ")}
    return re.sub(r"\{(context|question)\}", lambda found: filled[found[1]], template)


def cite(passage: Passage, place: int) -> Citation:
    """The citation of a sentence of a passage."""
    sentence = passage.sentences[place]
    quote = _in_its_section(passage, place)
    return Citation(passage.name, passage.path, sentence.line, passage.heading, quote, passage.origin)


def _in_its_section(passage: Passage, place: int) -> str:
    """A sentence as it is quoted: what was rejected is called so, with the reason that follows."""
    text = passage.sentences[place].text
    if passage.heading != REJECTED:
        return text
    after = [
        one.text for one in passage.sentences[place + 1 : place + 2] if ":" not in text and "," not in text
    ]
    return " ".join((f"{REJECTED}: {text}", *after))


def price(input_tokens: int, output_tokens: int, limits: Answers) -> float:
    """What so many tokens cost."""
    return (input_tokens * limits.input_price + output_tokens * limits.output_price) / PER


def _closest(said: str, passage: Passage) -> int:
    """The sentence of a passage that shares most stems with what was said."""
    stems = set(content_stems(said))
    shared = [len(stems & set(content_stems(one.text))) for one in passage.sentences]
    return shared.index(max(shared))


def _falling_back(extracted: Answer, why: str, said: Generated | None = None) -> Answer:
    return Answer(
        extracted.text,
        extracted.kind,
        extracted.citations,
        extracted.confidence,
        extracted.retrieved,
        why,
        said,
    )

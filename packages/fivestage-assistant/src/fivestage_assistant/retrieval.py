"""Retrievers: BM25 over stems, embeddings, and both fused by their scores or by their ranks."""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import bm25s
import numpy as np

from fivestage_assistant.embedding import MiniLm, Vectors
from fivestage_assistant.passages import Passage
from fivestage_assistant.search_index import SearchIndex
from fivestage_assistant.text import content_stems, days

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs each index that it builds
RetrieverName = Literal["bm25", "embeddings", "rank-fusion", "hybrid"]
RANK_CONSTANT = 60  # of reciprocal rank fusion, from its paper
DEPTH = 50  # number of passages whose ranks are fused, per retriever


@dataclass(frozen=True)
class Retrieved:
    """A passage that a retriever has found."""

    passage: Passage
    score: float  # for the ranking; comparable within one search only
    # of question and passage, averaged with its best sentence; NaN without embeddings
    cosine: float = float("nan")
    stems: float = float("nan")  # score of BM25; NaN from the embedding retriever


class Retriever(Protocol):
    """Anything that finds passages for a question."""

    def search(self, question: str, most: int) -> list[Retrieved]:
        """Return the best passages, best first."""
        ...


class Bm25Retriever:
    """BM25 over stems (Robertson and Zaragoza 2009), computed by bm25s."""

    def __init__(self, index: SearchIndex) -> None:
        self._index = index
        stems = [content_stems(one.searched(index.chunking)) for one in index.passages]
        self._model = bm25s.BM25()
        self._filled = any(stems)
        if self._filled:
            self._model.index(stems, show_progress=False)

    def scores(self, question: str) -> Vectors:
        """Return the score of each passage; 0 without a shared stem."""
        known = self._model.vocab_dict if self._filled else {}
        stems = [one for one in content_stems(question) if one in known]
        if not stems:
            return np.zeros(len(self._index.passages), np.float32)
        return np.asarray(self._model.get_scores(stems), np.float32)

    def search(self, question: str, most: int) -> list[Retrieved]:
        """See `Retriever`."""
        scores = self.scores(question)
        return [
            Retrieved(self._index.passages[n], float(scores[n]), stems=float(scores[n]))
            for n in _best(scores, most)
            if scores[n] > 0
        ]


class EmbeddingRetriever:
    """Ranks passages by the cosine of question and text, averaged over the passage and its best sentence."""

    def __init__(self, index: SearchIndex, model: MiniLm) -> None:
        self._index, self._model = index, model
        paths, self._pages = np.unique([one.path for one in index.passages], return_inverse=True)
        self._centroids = np.zeros((len(paths), index.vectors.shape[1]), np.float32)
        np.add.at(self._centroids, self._pages, index.vectors[: len(index.passages)])
        self._centroids /= np.linalg.norm(self._centroids, axis=1, keepdims=True)

    def cosines(self, question: str) -> tuple[Vectors, Vectors]:
        """Return for each passage the mean of its cosine and its best sentence's, and its page's cosine."""
        index, vector = self._index, self._model.embed([question])[0]
        cosines = index.vectors @ vector
        own, best = cosines[: len(index.passages)], np.full(len(index.passages), -1.0, np.float32)
        np.maximum.at(best, index.owners, cosines[len(index.passages) :])
        pages = (self._centroids @ vector)[self._pages]
        return np.asarray((own + best) / 2, np.float32), np.asarray(pages, np.float32)

    def search(self, question: str, most: int) -> list[Retrieved]:
        """See `Retriever`."""
        cosines, _ = self.cosines(question)
        return [
            Retrieved(self._index.passages[n], float(cosines[n]), float(cosines[n]))
            for n in _best(cosines, most)
        ]


Fusion = Callable[..., Vectors]


class HybridRetriever:
    """Combines the scores of BM25, and the cosines of passages and of whole pages, by a fusion function."""

    def __init__(
        self, stems: Bm25Retriever, embeddings: EmbeddingRetriever, passages: Sequence[Passage], fuse: Fusion
    ) -> None:
        self._stems, self._embeddings, self._passages, self._fuse = stems, embeddings, passages, fuse

    def search(self, question: str, most: int) -> list[Retrieved]:
        """See `Retriever`."""
        scores, (cosines, pages) = self._stems.scores(question), self._embeddings.cosines(question)
        fused = self._fuse(scores, cosines, pages)
        return [
            Retrieved(self._passages[n], float(fused[n]), float(cosines[n]), float(scores[n]))
            for n in _best(fused, most)
        ]


def by_scores(*scores: Vectors) -> Vectors:
    """Add the scores in standard deviations (a convex combination: Bruch, Gai and Ingber 2023)."""
    return np.asarray(sum((one - one.mean()) / (one.std() or 1.0) for one in scores), np.float32)


def by_ranks(scores: Vectors, cosines: Vectors, _pages: Vectors) -> Vectors:
    """Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009); it ignores differences between scores."""
    fused = np.zeros(len(scores), np.float32)
    for some in (scores, cosines):
        best = [n for n in _best(some, DEPTH) if some[n] > 0]
        fused[best] += 1 / (RANK_CONSTANT + np.arange(1, len(best) + 1, dtype=np.float32))
    return fused


class DaysFirst:
    """Reorders another retriever's results: if a question names a day, sections about that day come first.

    Records of different periods differ only in their days, to which neither BM25 nor embeddings give enough
    weight.
    """

    def __init__(self, retriever: Retriever, index: SearchIndex) -> None:
        self._retriever = retriever
        self._days: dict[tuple[str, str], set[str]] = {}
        for one in index.passages:
            named = self._days.setdefault((one.path, one.heading), set())
            named.update(days(f"{one.heading}\n{one.text}"))

    def search(self, question: str, most: int) -> list[Retrieved]:
        """See `Retriever`."""
        asked = set(days(question))
        found = self._retriever.search(question, max(most, DEPTH) if asked else most)
        about = [bool(asked & self._days[one.passage.path, one.passage.heading]) for one in found]
        order = sorted(range(len(found)), key=lambda place: not about[place])
        return [found[place] for place in order[:most]]


class ShuffledRetriever:
    """A control for the evaluation: another retriever's results with the passages shuffled."""

    def __init__(self, retriever: Retriever, passages: Sequence[Passage], seed: int = 0) -> None:
        others = list(passages)
        random.Random(seed).shuffle(others)  # noqa: S311 (a control, no secret)
        self._retriever = retriever
        self._other = {one.name: other for one, other in zip(passages, others, strict=True)}

    def search(self, question: str, most: int) -> list[Retrieved]:
        """See `Retriever`."""
        found = self._retriever.search(question, most)
        return [replace(one, passage=self._other[one.passage.name]) for one in found]


def retrievers(index: SearchIndex, model: MiniLm | None) -> dict[RetrieverName, Retriever]:
    """Create every retriever that an index allows; without an embedding model there is only BM25."""
    stems = Bm25Retriever(index)
    found: dict[RetrieverName, Retriever] = {"bm25": stems}
    if model is not None and len(index.vectors):
        embeddings = EmbeddingRetriever(index, model)
        found["embeddings"] = embeddings
        found["rank-fusion"] = HybridRetriever(stems, embeddings, index.passages, by_ranks)
        found["hybrid"] = HybridRetriever(stems, embeddings, index.passages, by_scores)
    return {name: DaysFirst(retriever, index) for name, retriever in found.items()}


def retriever_of(index: SearchIndex, model: MiniLm | None, name: RetrieverName) -> Retriever:
    """Create a retriever, or BM25 if it needs embeddings that are missing."""
    found = retrievers(index, model)
    return found.get(name, found["bm25"])


def _best(scores: Vectors, most: int) -> list[int]:
    """Return the positions of the largest scores; ties keep their order."""
    return [int(n) for n in np.argsort(-scores, kind="stable")[:most]]

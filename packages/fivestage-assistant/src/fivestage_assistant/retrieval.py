"""Retrievers: stemmed BM25, embeddings, and both fused, by their scores or by their ranks."""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import bm25s
import numpy as np

from fivestage_assistant.embedding import MiniLm, Vectors
from fivestage_assistant.passages import Passage
from fivestage_assistant.search_index import SearchIndex
from fivestage_assistant.text import content_stems, days

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells each index that it builds
RetrieverName = Literal["bm25", "embeddings", "rank-fusion", "hybrid"]
RANK_CONSTANT = 60  # of reciprocal rank fusion, as its paper has it
DEPTH = 50  # passages of each retriever whose ranks are fused


@dataclass(frozen=True)
class Retrieved:
    """A passage that was found.

    Args:
        passage: the passage.
        score: by which it was ranked; comparable within one search alone.
        cosine: of question and passage, sentences considered; NaN without embeddings.
        stems: the score of BM25; NaN where embeddings alone were asked.
    """

    passage: Passage
    score: float
    cosine: float = float("nan")
    stems: float = float("nan")


class Retriever(Protocol):
    """Whatever finds passages for a question."""

    def search(self, question: str, most: int) -> list[Retrieved]:
        """The best passages, the best first."""
        ...


class Bm25Retriever:
    """BM25 over stems (Robertson and Zaragoza 2009), as bm25s computes it.

    Args:
        index: what to search.
    """

    def __init__(self, index: SearchIndex) -> None:
        self._index = index
        stems = [content_stems(one.searched(index.chunking)) for one in index.passages]
        self._model = bm25s.BM25()
        self._filled = any(stems)
        if self._filled:
            self._model.index(stems, show_progress=False)

    def scores(self, question: str) -> Vectors:
        """The score of each passage; 0 where no stem is shared."""
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
    """The passages of the largest cosine, their sentences considered.

    Args:
        index: what to search.
        model: what the index was embedded with.
    """

    def __init__(self, index: SearchIndex, model: MiniLm) -> None:
        self._index, self._model = index, model
        paths, self._pages = np.unique([one.path for one in index.passages], return_inverse=True)
        self._centroids = np.zeros((len(paths), index.vectors.shape[1]), np.float32)
        np.add.at(self._centroids, self._pages, index.vectors[: len(index.passages)])
        self._centroids /= np.linalg.norm(self._centroids, axis=1, keepdims=True)

    def cosines(self, question: str) -> tuple[Vectors, Vectors]:
        """For each passage, the mean of its own cosine and of its best sentence's; and its page's."""
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
    """Stems and embeddings at once, of passages and of whole pages.

    Args:
        stems: one retriever.
        embeddings: the other.
        passages: of the index that both search.
        fuse: one score from three: of stems, of passages, of pages.
    """

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
    """The sum of all in standard deviations (a convex combination: Bruch, Gai and Ingber 2023)."""
    return np.asarray(sum((one - one.mean()) / (one.std() or 1.0) for one in scores), np.float32)


def by_ranks(scores: Vectors, cosines: Vectors, _pages: Vectors) -> Vectors:
    """Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009), which forgets by how much one is ahead."""
    fused = np.zeros(len(scores), np.float32)
    for some in (scores, cosines):
        best = [n for n in _best(some, DEPTH) if some[n] > 0]
        fused[best] += 1 / (RANK_CONSTANT + np.arange(1, len(best) + 1, dtype=np.float32))
    return fused


class DaysFirst:
    """What another retriever finds; where a question names a day, sections about that day come first.

    Records of different periods are alike but for their days, which neither ranks nor vectors weigh enough.

    Args:
        retriever: whose order is kept otherwise.
        index: that it searches.
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
    """A control: what another retriever finds, under the names of other passages.

    Args:
        retriever: whose ranks are kept.
        passages: of the index.
        seed: of the shuffle.
    """

    def __init__(self, retriever: Retriever, passages: Sequence[Passage], seed: int = 0) -> None:
        others = list(passages)
        random.Random(seed).shuffle(others)  # noqa: S311 (a control, no secret)
        self._retriever = retriever
        self._other = {one.name: other for one, other in zip(passages, others, strict=True)}

    def search(self, question: str, most: int) -> list[Retrieved]:
        """See `Retriever`."""
        found = self._retriever.search(question, most)
        return [replace(one, passage=self._other[one.passage.name]) for one in found]


class Retrievers:
    """The retrievers of an index, each made when it is first asked for.

    Args:
        index: what to search.
        model: the embedding model; None leaves BM25 alone.
    """

    def __init__(self, index: SearchIndex, model: MiniLm | None) -> None:
        self._index = index
        self._model = model if len(index.vectors) else None

    @cached_property
    def _stems(self) -> Bm25Retriever:
        return Bm25Retriever(self._index)

    @cached_property
    def by_name(self) -> Mapping[RetrieverName, Callable[[], Retriever]]:
        """How to make each retriever that this index allows."""
        model, index = self._model, self._index
        if model is None:
            return {"bm25": lambda: self._stems}
        embeddings = EmbeddingRetriever(index, model)
        return {
            "bm25": lambda: self._stems,
            "embeddings": lambda: embeddings,
            "rank-fusion": lambda: HybridRetriever(self._stems, embeddings, index.passages, by_ranks),
            "hybrid": lambda: HybridRetriever(self._stems, embeddings, index.passages, by_scores),
        }

    def get(self, name: RetrieverName) -> Retriever:
        """A retriever; BM25 in place of one that needs embeddings which are not there."""
        return DaysFirst(self.by_name.get(name, self.by_name["bm25"])(), self._index)


def _best(scores: Vectors, most: int) -> list[int]:
    """The places of the largest scores; the first of equals goes first."""
    return [int(n) for n in np.argsort(-scores, kind="stable")[:most]]

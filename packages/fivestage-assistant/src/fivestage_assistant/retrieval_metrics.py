"""How well passages are retrieved: recall, MRR and nDCG of pages, with intervals over resampled pages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fivestage_assistant.question_set import Question
from fivestage_assistant.retrieval import Retriever

DEPTH = 10
RECALL_AT = 5
SEARCHED = 40  # passages, so that ten pages are among them
RESAMPLES = 2000
METRICS = ("mrr@10", "ndcg@10", "recall@5")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and its interval of 95%.

    Args:
        value: the mean.
        low: the lower end.
        high: the upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RetrievalScores:
    """The metrics of each question.

    Args:
        pages: each question's own page.
        values: by the metric's name, a value a question.
    """

    pages: tuple[str, ...]
    values: dict[str, Values]

    def interval(self, metric: str) -> Interval:
        """The mean over questions; its interval by resampling pages."""
        return bootstrap(self.values[metric], self.pages)

    def against(self, other: "RetrievalScores", metric: str) -> Interval:
        """The mean of the paired difference to another retriever's, likewise."""
        return bootstrap(self.values[metric] - other.values[metric], self.pages)


def evaluate_retrieval(retriever: Retriever, questions: Sequence[Question]) -> RetrievalScores:
    """Search for each question, and see where its pages stand among the pages found.

    A page stands where its first passage does. Gains are binary, so that nDCG's ideal has all pages first.

    Args:
        retriever: to be judged.
        questions: those that can be answered; others are left out.

    Returns:
        The scores by question.
    """
    asked = [one for one in questions if one.answerable]
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    for question in asked:
        found = retriever.search(question.text, SEARCHED)
        pages = list(dict.fromkeys(one.passage.path for one in found))[:DEPTH]
        hits = [page in question.pages() for page in pages]
        first = hits.index(True) + 1 if any(hits) else 0
        ideal = sum(1 / np.log2(rank + 1) for rank in range(1, min(len(question.pages()), DEPTH) + 1))
        gain = sum(1 / np.log2(rank + 1) for rank, hit in enumerate(hits, 1) if hit)
        values["mrr@10"].append(1 / first if first else 0.0)
        values["ndcg@10"].append(float(gain / ideal))
        values["recall@5"].append(float(0 < first <= RECALL_AT))
    arrays = {name: np.array(some, np.float64) for name, some in values.items()}
    return RetrievalScores(tuple(one.page for one in asked), arrays)


def chance_mrr(pages: int) -> float:
    """MRR@10 of one right page among some in any order: what knowing nothing gives."""
    return sum(1 / rank for rank in range(1, min(pages, DEPTH) + 1)) / pages


def bootstrap(values: Values, clusters: Sequence[str], resamples: int = RESAMPLES) -> Interval:
    """The mean, with percentiles over resampled clusters: questions about one page are dependent.

    Args:
        values: a number a question.
        clusters: the page of each.
        resamples: how many.

    Returns:
        The mean and its interval of 95%; NaN for no values.
    """
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    names, places = np.unique(np.array(clusters), return_inverse=True)
    sums, counts = np.bincount(places, values), np.bincount(places)
    drawn = np.random.default_rng(0).integers(0, len(names), (resamples, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(values.mean()), float(low), float(high))

"""Evaluate retrieval and answers on the question set, with intervals over resampled pages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fivestage.evaluation.metrics import Estimate
from numpy.typing import NDArray

from fivestage_assistant.answering import ALWAYS, RECORDED, Abstention, Answer, Answerer, ChatModel, Signals
from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.passages import Passage
from fivestage_assistant.question_set import Question, states, value_at
from fivestage_assistant.retrieval import Retriever
from fivestage_assistant.search_index import SearchIndex

DEPTH = 10
RECALL_AT = 5
SEARCHED = 40  # passages to retrieve, enough for ten pages
RESAMPLES = 2000
EQUAL = 0.4  # standard errors within which the tuning questions cannot distinguish thresholds
FOLDS = 10  # of the tuning questions, for the threshold of the rule
REPEATS = 5  # of the split into folds: a single split would make the threshold depend on chance
METRICS = ("mrr@10", "ndcg@10", "recall@5")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class RetrievalScores:
    """The metrics of each question."""

    pages: tuple[str, ...]  # each question's own page
    values: dict[str, Values]  # one value per question, by metric

    def interval(self, metric: str) -> Estimate:
        """Return the mean over questions; its interval is from resampling pages."""
        return bootstrap(self.values[metric], self.pages)

    def against(self, other: "RetrievalScores", metric: str) -> Estimate:
        """Return the mean paired difference to another retriever, with its interval."""
        return bootstrap(self.values[metric] - other.values[metric], self.pages)


def evaluate_retrieval(retriever: Retriever, questions: Sequence[Question]) -> RetrievalScores:
    """Compute retrieval metrics for the answerable questions.

    A page has the rank of its first passage. Gains are binary, so the ideal order of nDCG has all answering
    pages first.
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


def chance_mrr(passages: Sequence[Passage], questions: Sequence[Question], orders: int = 200) -> float:
    """Return the MRR@10 of passages in random order; it is high if there are few pages, or long ones."""
    chance, paths = np.random.default_rng(0), np.array([one.path for one in passages])
    asked = [one.pages() for one in questions if one.answerable]
    found = []
    for _ in range(orders):
        pages = list(dict.fromkeys(chance.permutation(paths)[:SEARCHED]))[:DEPTH]
        ranks = {page: rank for rank, page in enumerate(pages, 1)}
        found.append(np.mean([max(1 / ranks.get(page, math.inf) for page in own) for own in asked]))
    return float(np.mean(found))


def bootstrap(values: Values, clusters: Sequence[str], resamples: int = RESAMPLES) -> Estimate:
    """Return the mean and percentiles over resampled clusters, as questions about one page are dependent."""
    if not len(values):
        return Estimate(math.nan)
    names, places = np.unique(np.array(clusters), return_inverse=True)
    sums, counts = np.bincount(places, values), np.bincount(places)
    drawn = np.random.default_rng(0).integers(0, len(names), (resamples, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(float(values.mean()), float(low), float(high))


@dataclass(frozen=True)
class AnswerRates:
    """Rates of the answers to the questions of the set."""

    answered: float  # share of answerable questions that are answered
    declined: float  # share of unanswerable questions that are declined
    right_page: float  # share of answers with a citation of an answering page
    right_value: float  # share of answers about a number that state it
    cited: float  # share of answers whose citations are all among the retrieved passages
    supported: float = float("nan")  # share of a chat model's answers that passed the checks; NaN without one
    # the kind of answer to each question, for the page
    by_question: dict[str, str] = field(default_factory=dict)


def fit_abstention(
    index: SearchIndex, retriever: Retriever, questions: Sequence[Question], contract: AssistantContract
) -> Abstention:
    """Fit the rule for "I do not know" to the tuning questions.

    The threshold has the largest margin, in standard errors, to both limits of the contract, for answering
    and for declining. Of equally good thresholds it is the highest, as a wrong answer costs more than none.

    Args:
        index: the corpus.
        retriever: the retriever over it.
        questions: the tuning questions.
        contract: the assistant's contract.

    Returns:
        The rule; one that always answers if there are too few questions to fit.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import RepeatedStratifiedKFold

    signals, most = Signals(index), contract.answers.passages
    seen = np.array([signals.of(one.text, retriever.search(one.text, most)) for one in questions])
    answerable = np.array([one.answerable for one in questions])
    if min(answerable.sum(), (~answerable).sum()) < 2:  # noqa: PLR2004 (cross-validation leaves one out)
        return ALWAYS
    share = contract.purpose.answerable_share  # weight the set as questions are asked in practice
    weights = np.where(answerable, share / answerable.mean(), (1 - share) / (1 - answerable.mean()))
    regression = LogisticRegression(C=10.0)
    confidences = np.empty((REPEATS, len(seen)))  # out of fold
    folds = min(FOLDS, int(answerable.sum()), int((~answerable).sum()))
    splits = RepeatedStratifiedKFold(n_splits=folds, n_repeats=REPEATS, random_state=0)
    for number, (fitted_on, left_out) in enumerate(splits.split(seen, answerable)):
        regression.fit(seen[fitted_on], answerable[fitted_on], weights[fitted_on])
        confidences[number // folds, left_out] = regression.predict_proba(seen[left_out])[:, 1]
    fitted = regression.fit(seen, answerable, weights)
    cosine, match, known, named = map(float, fitted.coef_[0])
    threshold = _threshold(confidences, answerable, contract)
    return Abstention((cosine, match, known, named), float(fitted.intercept_[0]), threshold)


def _threshold(confidences: Values, answerable: NDArray[np.bool_], contract: AssistantContract) -> float:
    """Return the confidence with the largest margin to both limits; of equally good ones, the highest.

    Confidences are repeats x questions.
    """
    ordered, gates = np.unique(confidences), contract.gates
    thresholds = (ordered[1:] + ordered[:-1]) / 2
    if not len(thresholds):
        return 0.0
    margins = []
    for threshold in thresholds:
        answered = float((confidences[:, answerable] >= threshold).mean())
        declined = float((confidences[:, ~answerable] < threshold).mean())
        margin = min(
            (answered - gates.min_answered) / _standard_error(gates.min_answered, int(answerable.sum())),
            (declined - gates.min_declined) / _standard_error(gates.min_declined, int((~answerable).sum())),
        )
        margins.append(margin)
    return float(thresholds[np.array(margins) >= max(margins) - EQUAL].max())


def _standard_error(share: float, count: int) -> float:
    return max(math.sqrt(share * (1 - share) / count), 1e-9)


def evaluate_answers(
    answerer: Answerer,
    questions: Sequence[Question],
    results: Mapping[str, Any],
    prompt: str = "",
    chat: ChatModel | None = None,
) -> AnswerRates:
    """Answer the gate questions, and compare the answers with the set.

    Args:
        answerer: the answerer to evaluate.
        questions: the gate questions.
        results: the results that records were written from, as JSON values.
        prompt: the prompt's template, for a chat model.
        chat: the chat model; None for extractive answers.

    Returns:
        The rates; NaN where no question applies.
    """
    counted: dict[str, list[bool]] = {
        name: [] for name in ("answered", "declined", "right_page", "right_value", "cited", "supported")
    }
    outcomes: dict[str, str] = {}
    for question in questions:
        answer = answerer.answer(question.text, prompt, chat)
        known = answer.kind != "unknown"
        outcomes[question.text] = answer.kind
        counted["answered" if question.answerable else "declined"].append(known == question.answerable)
        if not known:
            continue
        found = set(answer.retrieved)
        counted["cited"].append(
            bool(answer.citations) and all(one.passage in found for one in answer.citations)
        )
        if chat is not None and answer.fell_back != RECORDED:
            counted["supported"].append(answer.kind == "generated")
        if question.answerable:
            counted["right_page"].append(any(one.path in question.pages() for one in answer.citations))
        if question.value:
            counted["right_value"].append(_states_value(answer, value_at(results, question.value)))
    rates = {name: sum(some) / len(some) if some else math.nan for name, some in counted.items()}
    return AnswerRates(**rates, by_question=outcomes)


def _states_value(answer: Answer, value: float) -> bool:
    return any(states(one.quote, value) for one in answer.citations)

"""How good answers are on the question set, and from which confidence on to answer at all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fivestage_assistant.answering import ALWAYS, Abstention, Answer, Answerer, ChatModel, Signals
from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.question_set import Question, states, value_at
from fivestage_assistant.retrieval import Retriever
from fivestage_assistant.search_index import SearchIndex


@dataclass(frozen=True)
class AnswerRates:
    """How answers to questions with a known page turn out.

    Args:
        answered: share of the answerable that is answered.
        declined: share of the unanswerable that is declined.
        right_page: share of the answers with a citation on a page that answers.
        right_value: share of the answers about a number that state it.
        cited: share of answers with a citation; all of them are among what was retrieved.
        supported: share of a chat model's answers that passed the checks; NaN without one.
        by_question: outcome of each, for the page.
    """

    answered: float
    declined: float
    right_page: float
    right_value: float
    cited: float
    supported: float = float("nan")
    by_question: dict[str, str] = field(default_factory=dict)


def fit_abstention(
    index: SearchIndex, retriever: Retriever, questions: Sequence[Question], contract: AssistantContract
) -> Abstention:
    """Learn from tuning questions when the corpus does not answer; the threshold is the contract's costs.

    Args:
        index: the corpus.
        retriever: of it.
        questions: of the tuning part.
        contract: of the assistant.

    Returns:
        The rule; without unanswerable questions to learn from, one that always answers.
    """
    from sklearn.linear_model import LogisticRegression

    signals, most = Signals(index), contract.answers.passages
    seen = np.array([signals.of(one.text, retriever.search(one.text, most)) for one in questions])
    answerable = np.array([one.answerable for one in questions])
    if len(set(answerable)) < 2:  # noqa: PLR2004 (both kinds)
        return ALWAYS
    fitted = LogisticRegression(C=10.0).fit(seen, answerable)
    cosine, match, known, named = map(float, fitted.coef_[0])
    least = contract.purpose.least_confidence
    return Abstention((cosine, match, known, named), float(fitted.intercept_[0]), least)


def evaluate_answers(
    answerer: Answerer,
    questions: Sequence[Question],
    results: Mapping[str, Any],
    prompt: str = "",
    chat: ChatModel | None = None,
) -> AnswerRates:
    """Answer each question, and hold the answers against the set.

    Args:
        answerer: to be judged.
        questions: of the gate part.
        results: of the run that records were written from, as JSON has them; for numbers.
        prompt: template, for a chat model.
        chat: the chat model; None for extractive answers.

    Returns:
        The rates; NaN where nothing was asked.
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
        if chat is not None:
            counted["supported"].append(answer.kind == "generated")
        if question.answerable:
            counted["right_page"].append(any(one.path in question.pages() for one in answer.citations))
        if question.value:
            counted["right_value"].append(_states_value(answer, value_at(results, question.value)))
    rates = {name: sum(some) / len(some) if some else math.nan for name, some in counted.items()}
    return AnswerRates(**rates, by_question=outcomes)


def _states_value(answer: Answer, value: float) -> bool:
    return any(states(one.quote, value) for one in answer.citations)

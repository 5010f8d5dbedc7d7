"""What the assistant is for and what it promises: the typed model of assistant.yaml."""

from pathlib import Path
from typing import Annotated, Any

from fivestage.common.errors import UserError
from fivestage.common.strict_yaml import read_yaml
from fivestage.contract.strict_model import Count, Name, Positive, Share, StrictModel, Text
from pydantic import Field, ValidationError

from fivestage_assistant.passages import Chunking
from fivestage_assistant.retrieval import RetrieverName


class Purpose(StrictModel):
    """Who asks, and what an answer is worth to them.

    Args:
        who: asks.
        wrong_answer_cost: of an answer that is wrong, where "I do not know" costs 1: among the rules of
            abstention that keep the gates' bars, the cheapest is taken.
        answerable_share: of what is asked, so far as one can tell.
        languages: that questions and documents are in.
        refuses: what it does not do, as the page says it.
    """

    who: Text
    wrong_answer_cost: Annotated[float, Field(gt=1)]
    answerable_share: Annotated[float, Field(gt=0, lt=1)] = 0.75
    languages: tuple[Text, ...]
    refuses: tuple[Text, ...]


class Corpus(StrictModel):
    """What it may answer from.

    Args:
        pages: patterns of files in the repository.
        records: whether the records of the last run belong to it.
    """

    pages: tuple[Text, ...]
    records: bool = True


class Answers(StrictModel):
    """How answers are made, and what they may take.

    Args:
        retriever: that finds passages.
        passages: that an answer may be taken from.
        sentences: of an extractive answer at most.
        p99_ms: latency promised without a chat model.
        timeout_seconds: for a chat model to answer.
        retries: of a chat model that fails.
        max_cost: of one answer, in the currency of the prices below.
        input_price: of a million tokens of the prompt.
        output_price: of a million tokens of the answer.
        max_output_tokens: of one answer.
    """

    retriever: RetrieverName = "hybrid"
    passages: Count = 8
    sentences: Count = 3
    p99_ms: Positive = 500
    timeout_seconds: Positive = 20
    retries: int = Field(default=1, ge=0)
    max_cost: Positive = 0.01
    input_price: float = Field(default=0.0, ge=0)
    output_price: float = Field(default=0.0, ge=0)
    max_output_tokens: Count = 300


class Gates(StrictModel):
    """What index and prompt must reach on the gate questions before they serve.

    Args:
        min_mrr: MRR@10 of pages.
        max_mrr_loss: how far the lower end of the paired interval against the champion may lie below zero.
        max_shuffled_mrr: of the control, whose passages carry other names, above what chance gives.
        min_support_own: share of quotable sentences that pass the support check against their own page.
        max_support_random: against a random other page.
        min_altered_caught: share of altered numbers that the check catches.
        min_answered: share of the answerable that is answered.
        min_declined: share of the unanswerable that is declined.
        min_prompt_supported: share of a chat model's answers that pass the checks with a new prompt.
    """

    min_mrr: Share = 0.38
    max_mrr_loss: Share = 0.05
    max_shuffled_mrr: Share = 0.2
    min_support_own: Share = 0.95
    max_support_random: Share = 0.1
    min_altered_caught: Share = 0.8
    min_answered: Share = 0.9
    min_declined: Share = 0.6
    min_prompt_supported: Share = 0.8


class Monitoring(StrictModel):
    """When an alert fires.

    Args:
        false_alarm: chance that drift alarms on a window of questions that are like the others.
        window: questions that are compared at a time.
        max_abstention: share of questions that may be declined.
        max_empty: share of questions for which nothing may be found.
        max_thumbs_down: share of the feedback that may be bad.
        min_feedback: thumbs before that share is judged.
    """

    false_alarm: Share = 0.01
    window: Count = 40
    max_abstention: Share = 0.4
    max_empty: Share = 0.1
    max_thumbs_down: Share = 0.3
    min_feedback: Count = 10


class AssistantContract(StrictModel):
    """The contract of the assistant.

    Args:
        name: under which prompts and indexes are registered.
        purpose: who asks, and what for.
        corpus: what it answers from.
        chunking: how documents are cut.
        answers: how answers are made.
        gates: of promotion.
        monitoring: of alerts.
        questions: the folder of the committed questions.
    """

    name: Name
    purpose: Purpose
    corpus: Corpus
    chunking: Chunking = Chunking()
    answers: Answers = Answers()
    gates: Gates = Gates()
    monitoring: Monitoring = Monitoring()
    questions: Text = "assistant/questions"


def read_assistant_contract(path: Path) -> AssistantContract:
    """Read assistant.yaml.

    Args:
        path: the file.

    Returns:
        The contract.

    Raises:
        UserError: naming the field that is wrong.
    """
    try:
        return AssistantContract.model_validate(_tuples(read_yaml(path)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


def _tuples(content: Any) -> Any:
    """YAML's lists as the tuples of a frozen model."""
    if isinstance(content, dict):
        return {name: _tuples(value) for name, value in content.items()}
    return tuple(map(_tuples, content)) if isinstance(content, list) else content

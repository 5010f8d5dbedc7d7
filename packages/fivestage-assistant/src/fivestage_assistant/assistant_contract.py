"""The typed model of assistant.yaml: what the assistant is for and what it promises."""

import json
from pathlib import Path
from typing import Annotated

from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT
from fivestage.common.strict_yaml import read_yaml
from fivestage.contract.strict_model import Count, Name, Positive, Share, StrictModel, Text
from pydantic import Field, ValidationError

from fivestage_assistant.passages import Chunking
from fivestage_assistant.retrieval import RetrieverName

CONTRACT = ROOT / "assistant" / "assistant.yaml"


class Purpose(StrictModel):
    """Who asks, and what their questions are like."""

    who: Text

    # estimated share of questions that the corpus can answer
    answerable_share: Annotated[float, Field(gt=0, lt=1)] = 0.75
    languages: tuple[Text, ...]  # of questions and documents
    refuses: tuple[Text, ...]  # what it does not do, for the page


class Corpus(StrictModel):
    """What it may answer from."""

    pages: tuple[Text, ...]  # glob patterns of files in the repository
    records: bool = True  # whether the records of the last run are included


class Answers(StrictModel):
    """How answers are made, and their limits."""

    retriever: RetrieverName = "hybrid"
    passages: Count = 8  # that an answer may be taken from
    sentences: Count = 3  # maximum in an extractive answer
    p99_ms: Positive = 500  # promised latency without a chat model
    timeout_seconds: Positive = 20  # of a chat model
    retries: int = Field(default=1, ge=0)  # of a failing chat model
    max_cost: Positive = 0.01  # per answer, in the currency of the prices below
    input_price: float = Field(default=0.0, ge=0)  # per million tokens of the prompt
    output_price: float = Field(default=0.0, ge=0)  # per million tokens of the answer
    max_output_tokens: Count = 300  # per answer


class Gates(StrictModel):
    """What an index and a prompt must reach on the gate questions before they serve."""

    min_mrr: Share = 0.38  # MRR@10 of pages
    # how far the lower end of the paired interval against the champion may be below zero
    max_mrr_loss: Share = 0.05
    max_shuffled_mrr: Share = 0.2  # MRR@10 of the control with shuffled passages, above that of chance
    # share of quotable sentences that pass the support check against their own page
    min_support_own: Share = 0.95
    max_support_random: Share = 0.1  # the same share against a random other page
    min_altered_caught: Share = 0.8  # share of altered numbers that the check rejects
    min_answered: Share = 0.9  # share of answerable questions that are answered
    min_declined: Share = 0.6  # share of unanswerable questions that are declined
    # share of a chat model's answers that pass the checks with a new prompt
    min_prompt_supported: Share = 0.8


class Monitoring(StrictModel):
    """When an alert fires."""

    false_alarm: Share = 0.01  # probability of a drift alert on a window without drift
    window: Count = 40  # questions per window
    max_abstention: Share = 0.4  # share of questions that may be declined
    max_empty: Share = 0.1  # share of questions for which nothing may be found
    max_thumbs_down: Share = 0.3  # share of negative feedback
    min_feedback: Count = 10  # least number of responses for that share to count


class AssistantContract(StrictModel):
    """The contract of the assistant."""

    name: Name  # of prompts and indexes in MLflow
    purpose: Purpose
    corpus: Corpus
    chunking: Chunking = Chunking()
    answers: Answers = Answers()
    gates: Gates = Gates()
    monitoring: Monitoring = Monitoring()
    questions: Text = "assistant/questions"  # folder of the committed questions


def read_assistant_contract(path: Path = CONTRACT) -> AssistantContract:
    """Read assistant.yaml; raise a UserError that names the wrong field."""
    try:
        return AssistantContract.model_validate_json(json.dumps(read_yaml(path), default=str))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error

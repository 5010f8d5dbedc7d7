"""A new prompt: registered, judged on the gate questions with a chat model, and promoted if it passes."""

from dataclasses import replace

from fivestage.common.errors import UserError
from fivestage.evaluation.gates import Gate

from fivestage_assistant.answer_metrics import evaluate_answers
from fivestage_assistant.answering import Answerer, fill
from fivestage_assistant.ask_service import AskSettings, chat_of
from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.embedding import installed_embedding
from fivestage_assistant.index_pipeline import answering_index, questions_of, results_as_json
from fivestage_assistant.promotion import (
    INDEXES,
    current_release,
    prompt_gates,
    release,
    require_passed,
)
from fivestage_assistant.prompts import promote_prompt, register_prompt
from fivestage_assistant.retrieval import Retrievers
from fivestage_assistant.search_index import load_index


def change_prompt(
    contract: AssistantContract, template: str, why: str, settings: AskSettings, most: int = 60
) -> tuple[tuple[Gate, ...], int]:
    """Judge a prompt against the one that serves, and let it serve if it passes.

    Args:
        contract: of the assistant.
        template: with {context} and {question}.
        why: a sentence for the registry.
        settings: that name the chat model.
        most: gate questions to ask, as each costs two calls.

    Returns:
        The gates, and the version that serves now.

    Raises:
        UserError: without a chat model or an index, for an incomplete template, or when a gate refuses.
    """
    fill(template, "", ())
    chat, served = chat_of(settings, contract), current_release(settings.folder)
    if chat is None:
        raise UserError(
            "A prompt is judged with a chat model: set ASK_CHAT_MODEL, and ASK_CHAT_URL where it needs one."
        )
    if served is None:
        raise UserError("No index serves yet: run `make index-assistant`.")
    model = installed_embedding()
    index = load_index(settings.folder / INDEXES / served.index)
    questions = questions_of(contract, index)
    judged = answering_index(index, questions, model)
    gate = [one for one in questions if one.part == "gate"][:most]
    retriever = Retrievers(judged, model).get(contract.answers.retriever)
    answerer = Answerer(judged, retriever, model, contract.answers, served.abstention)
    results = results_as_json()
    before = evaluate_answers(answerer, gate, results, served.template, chat)
    after = evaluate_answers(answerer, gate, results, template, chat)
    gates = prompt_gates(after, before if served.prompt_version else None, contract.gates)
    made = register_prompt(f"{contract.name}_prompt", template, why)
    require_passed(gates, f"Version {made.version} of the prompt")
    promote_prompt(made)
    release(settings.folder, replace(served, prompt_version=made.version, template=template), why)
    return gates, made.version

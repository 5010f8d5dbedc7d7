"""LangChain at the seam: the retriever as its `BaseRetriever`, the chain as a `Runnable`, any chat model.

The only file that knows LangChain. Without it, or without a model, answers are extractive.
"""

from collections.abc import Sequence
from typing import Any

from fivestage.common.errors import UserError
from langchain.chat_models import init_chat_model
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from fivestage_assistant.answering import Answer, Answerer, Generated
from fivestage_assistant.assistant_contract import Answers
from fivestage_assistant.retrieval import Retrieved


class IndexRetriever(BaseRetriever):
    """The passages that the answerer may use, as LangChain's documents."""

    answerer: Any

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        del run_manager  # callbacks see the documents that are returned
        return [_document(one) for one in self.answerer.retrieve(query)]


class LangChainModel:
    """A chat model of LangChain as the core calls it.

    Args:
        name: as "provider:model".
        model: of LangChain.
    """

    def __init__(self, name: str, model: BaseChatModel) -> None:
        self.name, self.model = name, model

    def complete(self, prompt: str) -> Generated:
        """Complete a prompt; errors are the provider's client's."""
        said = self.model.invoke(prompt)
        usage: Any = getattr(said, "usage_metadata", None) or {}
        return Generated(
            str(said.text), int(usage.get("input_tokens", 0)), int(usage.get("output_tokens", 0)), self.name
        )


def open_chat_model(name: str, limits: Answers, url: str = "", key: str = "") -> LangChainModel:
    """A chat model by its name.

    Args:
        name: "provider:model", such as "openai:gpt-4o-mini", "anthropic:...", "ollama:...".
        limits: its timeout, retries and length of answers.
        url: of a server that speaks OpenAI's protocol; empty for the provider's own.
        key: of the provider; empty where the environment has it under the provider's own name.

    Returns:
        The model.

    Raises:
        UserError: when the provider is unknown, or its package is not installed.
    """
    more: dict[str, Any] = {name: value for name, value in (("base_url", url), ("api_key", key)) if value}
    try:
        model = init_chat_model(
            name,
            temperature=0,
            timeout=limits.timeout_seconds,
            max_retries=limits.retries,
            max_tokens=limits.max_output_tokens,
            **more,
        )
    except (ImportError, ValueError) as error:
        raise UserError(f"The chat model {name!r} cannot be opened: {error}") from error
    if not isinstance(model, BaseChatModel):
        raise UserError(f"The chat model {name!r} is none: name it as provider:model.")
    return LangChainModel(name, model)


def chain(answerer: Answerer, template: str, chat: LangChainModel | None) -> Runnable[str, Answer]:
    """Retrieval, prompt, model and checks as one Runnable: `chain(...).invoke("a question")`.

    Args:
        answerer: that retrieves and checks.
        template: of the prompt.
        chat: the model; None for extractive answers.

    Returns:
        From a question to an `Answer`.
    """
    retriever = IndexRetriever(answerer=answerer)

    def answered(given: dict[str, Any]) -> Answer:
        return answerer.answer(given["question"], template, chat, _retrieved(answerer, given["documents"]))

    return {"documents": retriever, "question": RunnablePassthrough()} | RunnableLambda(answered)


def _document(found: Retrieved) -> Document:
    one = found.passage
    facts = {
        "path": one.path,
        "line": one.lines[0],
        "heading": one.heading,
        "score": found.score,
        "cosine": found.cosine,
        "stems": found.stems,
    }
    return Document(id=one.name, page_content=one.text, metadata=facts)


def _retrieved(answerer: Answerer, documents: Sequence[Document]) -> list[Retrieved]:
    """What the retriever has found, with what the guard left of it."""
    by_name = answerer.clean_by_name()
    return [
        Retrieved(by_name[str(one.id)], *(one.metadata[name] for name in ("score", "cosine", "stems")))
        for one in documents
        if str(one.id) in by_name
    ]

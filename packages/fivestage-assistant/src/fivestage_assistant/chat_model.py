"""Adapter to LangChain: the retriever as a `BaseRetriever`, the chain as a `Runnable`, any chat model.

Only this module imports LangChain. Without it, or without a chat model, answers are extractive.
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
    """The passages that the answerer may use, as LangChain documents."""

    answerer: Any

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        del run_manager  # callbacks see the documents that are returned
        return [_document(one) for one in self.answerer.retrieve(query)]


class LangChainModel:
    """A LangChain chat model with the interface of `answering.ChatModel`; its name is "provider:model"."""

    def __init__(self, name: str, model: BaseChatModel) -> None:
        self.name, self.model = name, model

    def complete(self, prompt: str) -> Generated:
        """Complete a prompt; errors of the provider's client propagate."""
        message = self.model.invoke(prompt)
        usage: Any = getattr(message, "usage_metadata", None) or {}
        return Generated(
            str(message.text),
            int(usage.get("input_tokens", 0)),
            int(usage.get("output_tokens", 0)),
            self.name,
        )


def open_chat_model(name: str, limits: Answers, url: str = "", key: str = "") -> LangChainModel:
    """Open a chat model by name.

    Args:
        name: "provider:model", such as "openai:gpt-4o-mini", "anthropic:...", "ollama:...".
        limits: timeout, retries and maximal length of answers.
        url: base URL of a server with OpenAI's API; empty for the provider's own.
        key: API key; empty if the provider's own environment variable holds it.

    Returns:
        The model.

    Raises:
        UserError: if the provider is unknown, or its package is not installed.
    """
    options: dict[str, Any] = {name: value for name, value in (("base_url", url), ("api_key", key)) if value}
    try:
        model = init_chat_model(
            name,
            temperature=0,
            timeout=limits.timeout_seconds,
            max_retries=limits.retries,
            max_tokens=limits.max_output_tokens,
            **options,
        )
    except (ImportError, ValueError) as error:
        raise UserError(f"The chat model {name!r} cannot be opened: {error}") from error
    if not isinstance(model, BaseChatModel):
        raise UserError(f"{name!r} is not a chat model: name one as provider:model.")
    return LangChainModel(name, model)


def chain(answerer: Answerer, template: str, chat: LangChainModel | None) -> Runnable[str, Answer]:
    """Return retrieval, prompt, model and checks as one Runnable: `chain(...).invoke("a question")`.

    Args:
        answerer: retrieves passages and checks answers.
        template: the prompt's template.
        chat: the chat model; None for extractive answers.

    Returns:
        A Runnable from a question to an `Answer`.
    """
    retriever = IndexRetriever(answerer=answerer)

    def answer(given: dict[str, Any]) -> Answer:
        return answerer.answer(given["question"], template, chat, _retrieved(answerer, given["documents"]))

    return {"documents": retriever, "question": RunnablePassthrough()} | RunnableLambda(answer)


def _document(found: Retrieved) -> Document:
    one = found.passage
    metadata = {
        "path": one.path,
        "line": one.lines[0],
        "heading": one.heading,
        "score": found.score,
        "cosine": found.cosine,
        "stems": found.stems,
    }
    return Document(id=one.name, page_content=one.text, metadata=metadata)


def _retrieved(answerer: Answerer, documents: Sequence[Document]) -> list[Retrieved]:
    """Convert LangChain documents back to passages, as the guard has left them."""
    by_name = answerer.clean_by_name()
    return [
        Retrieved(by_name[str(one.id)], *(one.metadata[name] for name in ("score", "cosine", "stems")))
        for one in documents
        if str(one.id) in by_name
    ]

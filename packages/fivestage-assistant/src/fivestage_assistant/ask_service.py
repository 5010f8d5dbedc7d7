"""The assistant's service without HTTP: one release, an answer log and a cache; it answers in threads."""

import asyncio
import json
import os
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from fivestage.common.errors import UserError
from fivestage.common.settings import VAR
from fivestage.serving.background import BackgroundTasks
from fivestage.serving.log import open_store
from fivestage.serving.problems import ProblemError
from fivestage.serving.prometheus_metrics import ServiceMetrics
from fivestage.serving.service_settings import PREFIX as SERVE
from fivestage.serving.service_settings import Settings
from fivestage.serving.store import EventRecord, PredictionRecord
from pydantic import Field

from fivestage_assistant.answering import Answer, Answerer, ChatModel
from fivestage_assistant.ask_metrics import AskMetrics
from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.embedding import installed_embedding
from fivestage_assistant.passages import Passage
from fivestage_assistant.promotion import INDEXES, ServedRelease, current_release
from fivestage_assistant.retrieval import retriever_of
from fivestage_assistant.search_index import SearchIndex, load_index
from fivestage_assistant.tracing import Timed, TraceWriter

PREFIX = "ASK_"
FOLDER = VAR / "assistant"
FEEDBACK = "feedback"
MAX_CACHED = 1000  # answers
WATCH_SECONDS = 1.0


class AskSettings(Settings):
    """Settings from environment variables: `ASK_PORT=9001` and so on."""

    port: int = Field(default=8010, ge=1, le=65535)
    folder: Path = FOLDER
    chat_model: str = ""  # provider:model in LangChain's notation; empty for extractive answers
    chat_url: str = ""  # base URL of a server with OpenAI's API
    chat_key: str = Field(default="", repr=False)  # API key, unless the provider's own variable holds it
    trace: bool = True  # whether to trace each request in MLflow

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings; raise a UserError that names an invalid or unknown variable."""
        given = {
            SERVE + name.removeprefix(PREFIX): value
            for name, value in environment.items()
            if name.startswith(PREFIX)
        }
        try:
            return super().from_environment(given)
        except UserError as error:
            raise UserError(str(error).replace(SERVE, PREFIX, 1)) from error


@dataclass(frozen=True)
class Serving:
    """A loaded release."""

    release: ServedRelease
    index: SearchIndex
    answerer: Answerer


class AskService:
    """Answers questions with the release that `current.json` names, and reloads when it changes.

    Args:
        settings: folders, database, keys and limits.
        contract: the assistant's contract.
        chat: a chat model; None for extractive answers.
    """

    def __init__(
        self, settings: AskSettings, contract: AssistantContract, chat: ChatModel | None = None
    ) -> None:
        self.settings, self.contract = settings, contract
        self.ask_metrics = AskMetrics()
        self.metrics: ServiceMetrics = self.ask_metrics  # by the name that `ServiceApp` expects
        self.background = BackgroundTasks(self.metrics)
        self.draining = False  # set on shutdown
        self.reload_error = ""
        self.serving: Serving | None = None
        self._chat = chat
        self._store = open_store(settings.database_url)
        self._traces = TraceWriter(contract.name) if settings.trace else None
        self._cache: OrderedDict[tuple[str, int], dict[str, Any]] = OrderedDict()
        self._writing = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether the service accepts questions."""
        return self.serving is not None and not self.draining

    @property
    def status_detail(self) -> str:
        """The state of the service, for operators; empty if all is well."""
        if self.draining:
            return "The service is stopping."
        if self.reload_error:
            return self.reload_error
        return "" if self.serving else "No index is promoted yet: run `make index-assistant`."

    async def start(self) -> None:
        """Load the release, and start to watch for new ones."""
        await self.reload()
        self.background.repeat("reload", WATCH_SECONDS, self.reload)

    async def stop(self) -> None:
        """Stop watching, and close traces and log."""
        await self.background.stop()
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)
        self._store.close()

    async def reload(self) -> None:
        """Load the release if it has changed; if that fails, the one that serves stays."""
        try:
            found = current_release(self.settings.folder)
            if found is None or (self.serving is not None and self.serving.release == found):
                return
            self.serving = await asyncio.to_thread(self._load, found)
            self.ask_metrics.set_release(found.index, found.prompt_version)
            self.reload_error = ""
        except UserError as error:
            self.reload_error = str(error)

    def _load(self, found: ServedRelease) -> Serving:
        index = load_index(self.settings.folder / INDEXES / found.index)
        model, limits = installed_embedding(), self.contract.answers
        retriever = retriever_of(index, model, limits.retriever)
        answerer = Answerer(index, retriever, model, limits, found.abstention)
        answerer.clean_by_name()  # check all sentences now, not with the first question
        return Serving(found, index, answerer)

    def current(self) -> Serving:
        """Return the release that serves, or raise a `ProblemError` with status 503."""
        if self.serving is None or self.draining:
            raise ProblemError(
                503, self.status_detail or "The service is starting.", headers={"Retry-After": "1"}
            )
        return self.serving

    def passage(self, name: str) -> Passage:
        """Return a passage by name, for a citation to open, or raise a `ProblemError` with status 404."""
        found = self.current().answerer.clean_by_name().get(name)
        if found is None:
            raise ProblemError(404, "The current index has no such passage: ask again.")
        return found

    async def ask(self, question: str) -> dict[str, Any]:
        """Answer a question; the answer is logged before it is returned.

        Returns:
            The response as JSON values.

        Raises:
            ProblemError: 503 without an index, or if the answer cannot be logged.
        """
        serving, started = self.current(), time.time()
        key = (" ".join(question.lower().split()), serving.release.number)
        request_id = f"ask-{secrets.token_hex(8)}"
        body = self._cache.get(key)
        cached = body is not None
        timed: Timed | None = None
        if body is None:
            answer, timed = await asyncio.to_thread(self._answer, serving, question)
            body = self._body(answer, serving)
            self.ask_metrics.asked(answer, body["cost"])
            if not answer.fell_back.startswith("the chat model failed"):  # the next try may succeed
                self._cache[key] = body
                if len(self._cache) > MAX_CACHED:
                    self._cache.popitem(last=False)
        body = {"request_id": request_id, **body, "cached": cached}
        await self._log(request_id, started, question, body)
        self.ask_metrics.answers.labels(body["kind"]).inc()
        if timed is not None and self._traces is not None:
            self._traces.add(question, body, timed)
        return body

    def _answer(self, serving: Serving, question: str) -> tuple[Answer, Timed]:
        prompts: list[str] = []
        started = time.time_ns()
        found = serving.answerer.retrieve(question)
        retrieved = time.time_ns()
        answer = serving.answerer.answer(
            question, serving.release.template, self._chat, found, prompts.append
        )
        return answer, Timed(started, retrieved, time.time_ns(), tuple(found), prompts[0] if prompts else "")

    def _body(self, answer: Answer, serving: Serving) -> dict[str, Any]:
        response = answer.generated
        return {
            "answer": answer.text,
            "kind": answer.kind,
            "citations": [asdict(one) for one in answer.citations],
            "confidence": round(answer.confidence, 4),
            "fell_back": answer.fell_back,
            "index_version": serving.release.index,
            "prompt_version": serving.release.prompt_version,
            "model": response.model if response else "",
            "tokens": {"input": response.input_tokens, "output": response.output_tokens} if response else {},
            "cost": round(answer.cost(self.contract.answers), 8),
            "retrieved": list(answer.retrieved),
        }

    async def feedback(self, request_id: str, *, helpful: bool) -> bool:
        """Log whether an answer helped: its delayed label. Returns False if it already has one."""
        event = EventRecord(
            FEEDBACK, request_id, time.time(), json.dumps({"request_id": request_id, "helpful": helpful})
        )
        numbers = await self._written(self._store.write_events, event, "feedback")
        new = numbers[0] is not None
        if new:
            self.ask_metrics.thumbs.labels(str(helpful).lower()).inc()
        return new

    async def _log(self, request_id: str, started: float, question: str, body: Mapping[str, Any]) -> None:
        version = f"{body['index_version']}/{body['prompt_version']}/{body['model'] or 'extractive'}"
        microseconds = round((time.time() - started) * 1e6)
        record = PredictionRecord(
            request_id,
            started,
            version,
            0,
            microseconds,
            json.dumps({"question": question}),
            json.dumps(body),
        )
        await self._written(self._store.write_answers, record, "answer")

    async def _written(self, write: Callable[[Sequence[Any]], Any], record: Any, what: str) -> Any:
        """Write a record to the log, or raise a `ProblemError` with status 503."""
        try:
            async with self._writing:
                return await asyncio.to_thread(write, [record])
        except Exception as error:  # whatever the database raises
            message = f"The {what} could not be logged: try again."
            raise ProblemError(503, message, headers={"Retry-After": "1"}) from error

    def describe(self) -> dict[str, Any]:
        """Describe the release that serves, and its index."""
        serving = self.current()
        return {
            "release": asdict(serving.release),
            "embedding": serving.index.about.embedding,
            "embedding_digest": serving.index.about.embedding_digest,
            "chunking": serving.index.about.chunking,
            "digest": serving.index.about.digest,
            "passages": len(serving.index.passages),
            "documents": dict(Counter(one.path.split("/")[0] for one in serving.index.passages)),
            "chat_model": self._chat.name if self._chat else "",
        }


def chat_of(settings: AskSettings, contract: AssistantContract) -> ChatModel | None:
    """Open the chat model that the settings name; None if they name none."""
    if not settings.chat_model:
        return None
    from fivestage_assistant.chat_model import open_chat_model

    return open_chat_model(settings.chat_model, contract.answers, settings.chat_url, settings.chat_key)

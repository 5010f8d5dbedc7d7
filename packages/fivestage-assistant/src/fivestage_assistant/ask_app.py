"""The assistant over HTTP: its own application and process, never a route of the scoring service."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI
from fivestage.common.settings import ROOT
from fivestage.serving.openapi import refusals
from fivestage.serving.pages import POLICY
from fivestage.serving.problems import ProblemError
from fivestage.serving.server import uvicorn_options
from fivestage.serving.service_app import ServiceApp
from pydantic import BaseModel, Field, StringConstraints
from starlette.responses import HTMLResponse, StreamingResponse

from fivestage_assistant.answering import ChatModel
from fivestage_assistant.ask_service import AskService, AskSettings, chat_of
from fivestage_assistant.assistant_contract import AssistantContract, read_assistant_contract
from fivestage_assistant.text import sentences

PAGE = Path(__file__).with_name("ask.html")
CONTRACT = ROOT / "assistant" / "assistant.yaml"


class AskRequest(BaseModel, extra="forbid"):
    """A question."""

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]


class CitationMessage(BaseModel):
    """Where a sentence of the answer stands."""

    passage: str
    path: str
    line: int
    heading: str
    quote: str
    origin: str


class AskResponse(BaseModel):
    """An answer, what it rests on, and what made it."""

    request_id: str
    answer: str
    kind: Literal["extractive", "generated", "unknown"]
    citations: list[CitationMessage]
    confidence: float = Field(ge=0, le=1)
    fell_back: str
    index_version: str
    prompt_version: int
    model: str
    tokens: dict[str, int]
    cost: float
    cached: bool
    retrieved: list[str]


class FeedbackRequest(BaseModel, extra="forbid"):
    """Whether an answer helped."""

    request_id: Annotated[str, StringConstraints(pattern=r"^ask-[0-9a-f]{16}$")]
    helpful: bool


class PassageMessage(BaseModel):
    """What a citation opens."""

    path: str
    title: str
    heading: str
    origin: str
    lines: list[tuple[int, str]]


def create_app(contract: AssistantContract, settings: AskSettings, chat: ChatModel | None = None) -> FastAPI:
    """The application that answers questions; it loads its release when it starts.

    Args:
        contract: of the assistant.
        settings: where it reads and writes, its keys and limits.
        chat: a chat model; None for extractive answers.

    Returns:
        The application.
    """
    service = AskService(settings, contract, chat)
    app = ServiceApp(service, "Ask this project", f"For {contract.purpose.who}.")

    @app.post("/ask", responses=refusals(422))
    async def ask(asked: AskRequest) -> AskResponse:
        """Answer a question from the project's pages and records, with citations."""
        return AskResponse.model_validate(await service.ask(asked.question))

    @app.post("/ask/stream", responses=refusals(422), response_class=StreamingResponse)
    async def stream(asked: AskRequest) -> StreamingResponse:
        """The same as server-sent events: a `sentence` for each that has passed the checks, then `answer`."""
        service.current()  # what refuses does so before the stream begins
        return StreamingResponse(
            _events(service, asked.question),
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
        )

    @app.post("/feedback", responses=refusals(422))
    async def feedback(thumb: FeedbackRequest) -> dict[str, bool]:
        """Say whether an answer helped; the first word counts."""
        return {"kept": await service.feedback(thumb.request_id, helpful=thumb.helpful)}

    @app.get("/passage", responses=refusals(422))
    async def passage(name: str) -> PassageMessage:
        """The passage that a citation opens."""
        found = service.passage(name)
        lines = [(one.line, one.text) for one in found.sentences]
        return PassageMessage(
            path=found.path, title=found.title, heading=found.heading, origin=found.origin, lines=lines
        )

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """Which index, prompt and chat model serve."""
        return service.describe()

    @app.public.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        """A page to ask on."""
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=POLICY)

    app.add_standard_routes()
    return app


async def _events(service: AskService, question: str) -> AsyncIterator[str]:
    try:
        body = await service.ask(question)
    except ProblemError as problem:
        yield _event("problem", {"status": problem.status_code, "detail": str(problem.detail)})
        return
    for sentence in sentences(body["answer"]):
        yield _event("sentence", {"text": sentence})
    yield _event("answer", body)


def _event(name: str, content: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(content)}\n\n"


def create() -> FastAPI:
    """The application of this project, set by the environment; uvicorn calls it in each process."""
    settings, contract = AskSettings.from_environment(), read_assistant_contract(CONTRACT)
    return create_app(contract, settings, chat_of(settings, contract))


def serve(settings: AskSettings) -> None:
    """Serve in the foreground until told to stop.

    Args:
        settings: host, port and limits.
    """
    uvicorn.run("fivestage_assistant.ask_app:create", factory=True, **uvicorn_options(settings))

"""The assistant's HTTP application: its own process, separate from the scoring service."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI
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


class AskRequest(BaseModel, extra="forbid"):
    """A question."""

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]


class CitationMessage(BaseModel):
    """The source of a sentence of the answer."""

    passage: str
    path: str
    line: int
    heading: str
    quote: str
    origin: str


class AskResponse(BaseModel):
    """An answer, its sources, and the versions that made it."""

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
    """The passage behind a citation."""

    path: str
    title: str
    heading: str
    origin: str
    lines: list[tuple[int, str]]


def create_app(contract: AssistantContract, settings: AskSettings, chat: ChatModel | None = None) -> FastAPI:
    """Create the application; it loads its release on startup.

    Args:
        contract: the assistant's contract.
        settings: folders, database, keys and limits.
        chat: a chat model; None for extractive answers.

    Returns:
        The application.
    """
    service = AskService(settings, contract, chat)
    app = ServiceApp(service, "Ask this project", f"For {contract.purpose.who}.")

    @app.post("/ask", tags=["Answers"], responses=refusals(422))
    async def ask(asked: AskRequest) -> AskResponse:
        """Answer a question from the project's pages and records, with citations."""
        return AskResponse.model_validate(await service.ask(asked.question))

    @app.post("/ask/stream", tags=["Answers"], responses=refusals(422), response_class=StreamingResponse)
    async def stream(asked: AskRequest) -> StreamingResponse:
        """Answer as server-sent events: a `sentence` event for each one, all checked, then `answer`."""
        service.current()  # raise errors before the stream begins
        return StreamingResponse(
            _events(service, asked.question),
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
        )

    @app.post("/feedback", tags=["Answers"], responses=refusals(422))
    async def feedback(thumb: FeedbackRequest) -> dict[str, bool]:
        """Log whether an answer helped; only the first feedback on an answer counts."""
        return {"kept": await service.feedback(thumb.request_id, helpful=thumb.helpful)}

    @app.get("/passage", tags=["Answers"], responses=refusals(422))
    async def passage(name: str) -> PassageMessage:
        """Return the passage behind a citation."""
        found = service.passage(name)
        lines = [(one.line, one.text) for one in found.sentences]
        return PassageMessage(
            path=found.path, title=found.title, heading=found.heading, origin=found.origin, lines=lines
        )

    @app.get("/model", tags=["Model"])
    async def model() -> dict[str, Any]:
        """Return the index, prompt and chat model that serve."""
        return service.describe()

    @app.public.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        """A page to ask questions on."""
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
    """Create the application from the environment; uvicorn calls this in each process."""
    settings, contract = AskSettings.from_environment(), read_assistant_contract()
    return create_app(contract, settings, chat_of(settings, contract))


def serve(settings: AskSettings) -> None:
    """Run the service in the foreground."""
    uvicorn.run("fivestage_assistant.ask_app:create", factory=True, **uvicorn_options(settings))

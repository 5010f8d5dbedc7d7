"""The assistant's commands, which a project runs as `python -m assistant`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from fivestage.cli.application import Application
from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.common.settings import REPORTS, RESULTS, ROOT
from fivestage.contract.contract import Contract, epoch
from fivestage.evaluation.gates import Gate
from fivestage.features.problem import Problem
from fivestage.monitoring.retraining import RetrainingDecision, RetrainingHistory
from fivestage.reporting import number_format as fmt
from fivestage.reporting.results import Results, load
from jinja2 import Environment, StrictUndefined
from typer import Argument, Option

from fivestage_assistant.ask_service import FOLDER, AskSettings
from fivestage_assistant.assistant_contract import AssistantContract, read_assistant_contract

Decide = Callable[[RetrainingHistory], RetrainingDecision]
PAGE = REPORTS / "assistant" / "index.html"
TEMPLATE = Path(__file__).with_name("ask_page.html.j2")
READY_SECONDS = 60.0


def assistant_application(problem: Problem, decide: Decide) -> Application:  # noqa: C901, PLR0915 (commands)
    """Create the command-line application of the assistant.

    Args:
        problem: the project's problem.
        decide: the project's retraining policy, which also decides when to index again.

    Returns:
        The application; `main()` runs it.
    """
    app = Application(problem, "Ask this project: index, evaluate, serve and watch the assistant.")

    @app.command()
    def index(why: Annotated[str, Option(help="a sentence for the history")] = "by hand") -> None:
        """Index the corpus; the index serves if it passes its gates."""
        index_corpus(read_assistant_contract(), why)

    @app.command()
    def accept() -> None:
        """Accept all pages as they are worded now, so that they may be quoted; lists the new ones."""
        accept_as_worded(read_assistant_contract())

    @app.command()
    def ask(question: Annotated[str, Argument(help="in English")]) -> None:
        """Answer one question without a service."""
        typer.echo(shown(_ask_once(read_assistant_contract(), question)))

    @app.command(stores=False)
    def serve() -> None:
        """Run the service in the foreground; settings such as ASK_PORT come from the environment."""
        from fivestage_assistant.ask_app import serve as run

        run(AskSettings.from_environment())

    @app.command()
    def rollback(why: Annotated[str, Option(help="a sentence for the history")] = "") -> None:
        """Return to the previous index and prompt."""
        from fivestage_assistant.promotion import roll_back
        from fivestage_assistant.prompts import find_prompt, promote_prompt

        done = roll_back(FOLDER, why)
        promote_prompt(find_prompt(f"{read_assistant_contract().name}_prompt", done.prompt_version))
        typer.echo(
            f"Release {done.number} serves index {done.index} and prompt {done.prompt_version}: {done.why}."
        )

    @app.command()
    def prompt(
        file: Annotated[Path, Argument(help="a template with {context} and {question}")],
        why: Annotated[str, Option(help="a sentence for the registry")] = "by hand",
    ) -> None:
        """Register a prompt, evaluate it with the model of ASK_CHAT_MODEL, and let it serve if it passes."""
        from fivestage_assistant.index_pipeline import change_prompt

        gates, version = change_prompt(
            read_assistant_contract(), file.read_text(encoding="utf-8"), why, AskSettings.from_environment()
        )
        print_gates(gates)
        typer.echo(f"Version {version} of the prompt serves.")

    @app.command()
    def monitor() -> None:
        """Check the latest questions; after an alert, the project's policy may index again."""
        from fivestage.serving.log import open_store

        from fivestage_assistant.corpus import corpus_digest
        from fivestage_assistant.embedding import installed_embedding
        from fivestage_assistant.index_pipeline import documents_now
        from fivestage_assistant.promotion import current_release, history
        from fivestage_assistant.question_set import read_questions
        from fivestage_assistant.watching import save_window, watch, windows_before

        of, served = read_assistant_contract(), current_release(FOLDER)
        if served is None:
            raise UserError("No index serves yet: run `make index-assistant`.")
        store = open_store(AskSettings.from_environment().database_url)
        reference = [one.text for one in read_questions(ROOT / of.questions) if one.answerable]
        changed = corpus_digest(documents_now(of)) != served.corpus
        page = PAGE.with_name("questions.html")
        found = watch(
            store, reference, installed_embedding(), of.monitoring, corpus_changed=changed, page=page
        )
        store.close()
        past = windows_before(FOLDER / "windows.jsonl")
        save_window(found, FOLDER / "windows.jsonl")
        for alert in found.alerts:
            typer.echo(f"  alert: {alert}")
        trained = [epoch(datetime.fromisoformat(one.at)) for one in history(FOLDER)]
        windows = [*past, found.summary]
        verdict = decide(RetrainingHistory(windows, trained, int(time.time()), problem.contract))
        typer.echo(f"{'Index again' if verdict.retrain else 'Keep the index'}: {verdict.reason}.")
        if verdict.retrain:
            index_corpus(of, verdict.reason)

    @app.command(stores=False)
    def alerts() -> None:
        """Write the Prometheus alert rules from the contract to assistant/rules.yaml."""
        from fivestage_assistant.ask_metrics import write_rules

        typer.echo(f"Wrote {write_rules(read_assistant_contract())}.")

    @app.command()
    def bench() -> None:
        """Measure retrieval, answers, chunking, latency and size; `make docs` publishes the record."""
        from fivestage_assistant.ask_bench import RECORD
        from fivestage_assistant.ask_bench import bench as measure

        measure(read_assistant_contract())
        typer.echo(f"Wrote {RECORD}.")

    @app.command()
    def demo() -> None:
        """Index a finished demo, evaluate, serve, ask ten questions; writes reports/assistant/index.html."""
        times = [time.perf_counter()]
        typer.echo("index: split pages and records into passages, and check the gates")
        promoted, evaluation = index_corpus(read_assistant_contract(), "make demo-assistant")
        times.append(time.perf_counter())
        if not promoted:
            raise UserError("The index did not pass its gates, so nothing is served.")
        typer.echo("ask: ten questions over HTTP")
        asked = _ask_over_http(AskSettings.from_environment(), examples(problem.contract, load(RESULTS)))
        times.append(time.perf_counter())
        seconds = {"index, evaluate, promote": times[1] - times[0], "serve and ask": times[2] - times[1]}
        page = write_ask_page(evaluation, asked, seconds, PAGE)
        typer.echo(f"\nSee {page}; it took {times[2] - times[0]:.0f} s.")

    return app


def accept_as_worded(of: AssistantContract) -> None:
    """Accept all pages; print the new ones, and their sentences that read like instructions."""
    from fivestage_assistant.corpus import accept_pages
    from fivestage_assistant.guard import is_suspicious
    from fivestage_assistant.index_pipeline import documents_now
    from fivestage_assistant.passages import cut

    documents = documents_now(of)
    for one in documents:
        if one.origin or one.accepted:
            continue
        said = [sentence for passage in cut(one, of.chunking) for sentence in passage.sentences]
        typer.echo(f"{one.path} may be quoted from now on.")
        for sentence in said:
            if is_suspicious(sentence.text):
                typer.echo(f"  except line {sentence.line}, which reads like an instruction: {sentence.text}")
    typer.echo(f"Commit {accept_pages(ROOT, documents)}.")


def index_corpus(of: AssistantContract, why: str) -> tuple[bool, dict[str, Any]]:
    """Run the index pipeline and print its result; the pages that a project begins with are accepted.

    Returns:
        Whether the index serves, and its evaluation.
    """
    from fivestage_assistant.corpus import ACCEPTED
    from fivestage_assistant.index_pipeline import run_index_pipeline

    if not (ROOT / ACCEPTED).exists():
        accept_as_worded(of)
    gates, promoted, evaluation = run_index_pipeline(of, why)
    if evaluation["unaccepted"]:
        typer.echo(
            f"Not quoted, as their wording is not accepted: {', '.join(evaluation['unaccepted'])}. "
            "Review what has changed, then run `make accept-assistant`."
        )
    print_gates(gates)
    typer.echo("The index serves." if promoted else "The index is refused; the one before it still serves.")
    return promoted, evaluation


def print_gates(gates: tuple[Gate, ...]) -> None:
    """Print the gates."""
    for gate in gates:
        typer.echo(f"  {gate.line}")


def shown(body: dict[str, Any]) -> str:
    """Format a response for the terminal."""
    cited = [
        f"  [{n}] {one['path']}:{one['line']}  {one['heading']}" for n, one in enumerate(body["citations"], 1)
    ]
    return "\n".join((body["answer"], *cited, f"  ({body['kind']}, confidence {body['confidence']:.0%})"))


def _ask_once(of: AssistantContract, question: str) -> dict[str, Any]:
    import asyncio

    from fivestage_assistant.ask_service import AskService, chat_of

    async def answer() -> dict[str, Any]:
        settings = AskSettings.from_environment()
        service = AskService(settings, of, chat_of(settings, of))
        await service.reload()
        if not service.ready:
            raise UserError(service.status_detail)
        try:
            return await service.ask(question)
        finally:
            await service.stop()

    return asyncio.run(answer())


def examples(problem: Contract, results: Results) -> tuple[str, ...]:
    """Return ten questions about a run, with its own versions and days."""
    found = results.monitoring
    version = found.retrainings[0].version if found and found.retrainings else "1"
    alarmed = [one.start for one in found.periods if any(row.drifted for row in one.drift)] if found else []
    day = fmt.day(alarmed[0]) if alarmed else "3 December"
    return (
        f"Why was version {version} trained?",
        f"Which alert fired on {day}?",
        "What does the contract promise about latency?",
        "How do I add a feature?",
        "What does a false alarm cost?" if problem.task == "binary" else "What do errors cost?",
        "Why is there no deep learning here?",
        "How good is the model on the test window?",
        "When would answers be cached?",
        "How long does a typical caller wait for one answer?",
        "Who won the football world cup in 2014?",
    )


def _ask_over_http(settings: AskSettings, questions: Sequence[str]) -> list[dict[str, Any]]:
    """Start the service, ask the questions, and stop it."""
    from fivestage.deployment.service_client import connect, wait_until_ready

    process = subprocess.Popen([sys.executable, "-m", "assistant", "serve"], cwd=ROOT, env=os.environ)
    try:
        wait_until_ready(
            settings,
            READY_SECONDS,
            log=lambda: "(`make serve-assistant` shows it)",
            ended=lambda: "" if process.poll() is None else "it has ended",
        )
        with connect(settings) as client:
            return [_asked(client, question) for question in questions]
    finally:
        process.terminate()
        process.wait(timeout=30)


def _asked(client: Any, question: str) -> dict[str, Any]:
    found = client.post("/ask", json={"question": question}).raise_for_status().json()
    typer.echo(f"\n  {question}\n  {json.dumps(found['answer'], ensure_ascii=False)}")
    for cited in found["citations"]:
        typer.echo(f"    {cited['path']}:{cited['line']}")
    return {"question": question, "response": found}


def write_ask_page(
    evaluation: dict[str, Any], asked: Sequence[dict[str, Any]], seconds: dict[str, float], path: Path
) -> Path:
    """Write the demo's page.

    Args:
        evaluation: the evaluation of the index, from `index_pipeline.judge`.
        asked: questions with the service's responses.
        seconds: duration of each part of the demo.
        path: the file.

    Returns:
        The path.
    """
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        TEMPLATE.read_text("utf-8")
    )
    return write_text(path, template.render(evaluation=evaluation, asked=asked, seconds=seconds))

"""ZenML pipeline from documents to an index that serves: ingest, build, evaluate, promote."""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import mlflow
from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.common.settings import RESULTS, ROOT, VAR
from fivestage.contract.contract import Contract
from fivestage.deployment.releases import HISTORY
from fivestage.evaluation.gates import Gate
from fivestage.reporting.results import load
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from pydantic import TypeAdapter
from zenml import pipeline, step
from zenml.enums import ExecutionMode

from fivestage_assistant.answering import Abstention, Answerer, fill
from fivestage_assistant.ask_evaluation import (
    METRICS,
    RetrievalScores,
    chance_mrr,
    evaluate_answers,
    evaluate_retrieval,
    fit_abstention,
)
from fivestage_assistant.ask_service import FOLDER, AskSettings, chat_of
from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.corpus import collect, corpus_digest
from fivestage_assistant.embedding import MiniLm, installed_embedding
from fivestage_assistant.passages import Chunking, Document
from fivestage_assistant.promotion import (
    INDEXES,
    Evaluation,
    ServedRelease,
    current_release,
    index_gates,
    prompt_gates,
    readable_release,
    release,
    require_passed,
)
from fivestage_assistant.prompts import champion_prompt, promote_prompt, register_prompt
from fivestage_assistant.question_set import Question, headings_of, missing, read_questions
from fivestage_assistant.retrieval import RetrieverName, ShuffledRetriever, retriever_of, retrievers
from fivestage_assistant.run_records import FOLDER as RECORDS
from fivestage_assistant.search_index import SearchIndex, build_index, load_index, save_index, without
from fivestage_assistant.support import measure_support
from fivestage_assistant.text import versions

OWN_ANSWERS = "Follow-up questions"  # source of the set's questions, so the evaluation leaves it out
CHAMPION, PREVIOUS = "champion", "previous"
DOCUMENTS, EVALUATION = "corpus.json", "evaluation.json"


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, enable_cache=False)
def index_pipeline(contract: dict[str, Any], why: str) -> None:
    """Index the corpus, evaluate the index, and let it serve if it passes its gates."""
    corpus = ingest_corpus(contract)
    index = build_search_index(contract, corpus)
    evaluation = evaluate_index(contract, index)
    promote_index(contract, index, evaluation, corpus, why)


@step
def ingest_corpus(contract: dict[str, Any]) -> Annotated[str, "corpus"]:
    """Read and save the corpus, and return its digest."""
    documents = documents_now(contract_of(contract))
    digest = corpus_digest(documents)
    content = json.dumps([asdict(one) for one in documents])
    write_text(FOLDER / DOCUMENTS, content)
    return digest


@step
def build_search_index(contract: dict[str, Any], corpus: str) -> Annotated[str, "index"]:
    """Build the index; vectors of unchanged texts are copied from the index that serves."""
    documents = [Document(**one) for one in json.loads((FOLDER / DOCUMENTS).read_bytes())]
    if corpus_digest(documents) != corpus:
        raise UserError("The corpus has changed during indexing: run this again.")
    index = build_index(documents, contract_of(contract).chunking, installed_embedding(), served_index())
    save_index(index, FOLDER / INDEXES / index.version)
    return index.version


@step
def evaluate_index(contract: dict[str, Any], index: str) -> Annotated[str, "evaluation"]:
    """Evaluate the index on the gate questions; the rule of abstention is fitted to the tuning questions."""
    loaded = load_index(FOLDER / INDEXES / index)
    unaccepted = sorted({*loaded.documents} - {*loaded.about.accepted} - {*loaded.about.origins})
    evaluation = judge(contract_of(contract), loaded, served_index()) | {"unaccepted": unaccepted}
    return str(write_text(FOLDER / INDEXES / index / EVALUATION, json.dumps(evaluation, indent=1)))


@step
def promote_index(
    contract: dict[str, Any], index: str, evaluation: str, corpus: str, why: str
) -> Annotated[bool, "promoted"]:
    """Register the index in MLflow, and let it serve if every gate passed."""
    of, found = contract_of(contract), json.loads(Path(evaluation).read_bytes())
    passed = all(gate["passed"] for gate in found["gates"])
    version = register(of, load_index(FOLDER / INDEXES / index), found)
    if passed:
        client, name = MlflowClient(), f"{of.name}_index"
        before = readable_release(FOLDER)
        if before is not None and before.index != index:
            set_alias_to_index(client, name, PREVIOUS, before.index)
        client.set_registered_model_alias(name, CHAMPION, version)
        prompt = champion_prompt(f"{of.name}_prompt")
        rule = TypeAdapter(Abstention).validate_python(found["abstention"])
        new = ServedRelease(0, index, prompt.version, prompt.template, rule, corpus)
        if before is None or replace(new, number=before.number, at=before.at, why=before.why) != before:
            release(FOLDER, new, why)
    return passed


def contract_of(content: dict[str, Any]) -> AssistantContract:
    """Parse the contract that a pipeline received as JSON values."""
    return AssistantContract.model_validate_json(json.dumps(content))


def documents_now(contract: AssistantContract) -> list[Document]:
    """Read the corpus."""
    problem = Contract.load(ROOT / "problem" / "problem.yaml")
    return collect(contract.corpus, ROOT, problem, load(RESULTS), HISTORY)


def served_index() -> SearchIndex | None:
    """Return the index that serves; None also if another version of the assistant wrote it."""
    served = readable_release(FOLDER)
    if served is None:
        return None
    try:
        return load_index(FOLDER / INDEXES / served.index)
    except UserError:
        return None


def judging_index(index: SearchIndex, model: MiniLm | None) -> SearchIndex:
    """Rebuild an index without the sections that questions come from, to evaluate retrieval."""
    chunking: Chunking = index.chunking.model_copy(
        update={"leave_out": (*index.chunking.leave_out, OWN_ANSWERS)}
    )
    return build_index(without(index, ()), chunking, model, index)


def answering_index(index: SearchIndex, questions: Sequence[Question], model: MiniLm | None) -> SearchIndex:
    """Rebuild an index without the set's questions but with their answers, to evaluate answers."""
    documents = []
    for one in without(index, ()):
        text = one.text
        for question in questions:
            text = text.replace(question.text, "")
        documents.append(replace(one, text=text))
    return build_index(documents, index.chunking, model, index)


def judge(contract: AssistantContract, index: SearchIndex, champion: SearchIndex | None) -> dict[str, Any]:
    """Evaluate an index.

    Args:
        contract: the assistant's contract.
        index: the index to evaluate.
        champion: the index that serves, evaluated on the same questions; None if there is none.

    Returns:
        As JSON values: gates, metrics of each retriever, rates of support and answers, rule of abstention.
    """
    model, limits = installed_embedding(), contract.answers
    evaluated = judging_index(index, model)
    questions = questions_of(contract, evaluated)
    gate, tuning = ([one for one in questions if one.part == part] for part in ("gate", "tuning"))
    by_retriever = retrievers(evaluated, model)
    by_name: dict[RetrieverName, RetrievalScores] = {
        name: evaluate_retrieval(retriever, gate) for name, retriever in by_retriever.items()
    }
    chosen: RetrieverName = limits.retriever if limits.retriever in by_name else "bm25"
    answering = answering_index(index, questions, model)
    answers_from = retriever_of(answering, model, limits.retriever)
    rule = fit_abstention(answering, answers_from, tuning, contract)
    answerer = Answerer(answering, answers_from, model, limits, rule)
    if champion is not None:
        of_champion = retriever_of(judging_index(champion, model), model, limits.retriever)
    found = Evaluation(
        scores=by_name[chosen],
        champion=evaluate_retrieval(of_champion, gate) if champion is not None else None,
        shuffled=evaluate_retrieval(ShuffledRetriever(by_retriever[chosen], evaluated.passages), gate),
        support=measure_support(evaluated.passages),
        answers=evaluate_answers(answerer, gate, results_as_json()),
        chance=chance_mrr(evaluated.passages, gate),
    )
    bm25 = by_name["bm25"]
    return {
        "index": index.version,
        "digest": index.about.digest,
        "gates": [asdict(one) for one in index_gates(found, contract.gates)],
        "retrievers": {
            name: {metric: asdict(scores.interval(metric)) for metric in METRICS}
            | {"against bm25": asdict(scores.against(bm25, "mrr@10"))}
            for name, scores in by_name.items()
        },
        "shuffled": asdict(found.shuffled.interval("mrr@10")),
        "support": asdict(found.support),
        "answers": {
            name: value
            for name, value in asdict(found.answers).items()
            if name != "by_question" and not math.isnan(value)
        },
        "abstention": asdict(rule),
        "questions": {
            "gate": len(gate),
            "tuning": len(tuning),
            "unanswerable": sum(not one.answerable for one in questions),
        },
        "passages": len(index.passages),
        "documents": len(index.documents),
    }


def questions_of(contract: AssistantContract, index: SearchIndex) -> list[Question]:
    """Return the questions that the corpus can answer, as not every stage or version exists in a project.

    Raises a UserError that names a question whose own page, not a record, is missing.
    """
    headings, found = headings_of(index.passages), []
    for question in read_questions(ROOT / contract.questions):
        places = tuple(one for one in question.places if not missing(one, headings))
        own = question.places[0] if question.places else ""
        if own not in places and own and not own.startswith(RECORDS):
            raise UserError(f"The question {question.text!r} refers to {own}, which is not in the corpus.")
        known = set(versions(index.documents.get(own.partition("#")[0], "")))
        if not own or (own in places and known.issuperset(versions(question.text))):
            found.append(replace(question, places=places))
    return found


def results_as_json() -> dict[str, Any]:
    """Return the results of the last run as JSON values."""
    return {path.stem: json.loads(path.read_bytes()) for path in sorted(RESULTS.glob("*.json"))}


def register(contract: AssistantContract, index: SearchIndex, found: dict[str, Any]) -> str:
    """Register an index in MLflow with its parameters and metrics, unless it is registered already.

    Args:
        contract: the assistant's contract.
        index: the index.
        found: its evaluation.

    Returns:
        The version of the registered model.
    """
    client, name = MlflowClient(), f"{contract.name}_index"
    with suppress(MlflowException):  # it exists
        client.create_registered_model(name, description="Indexes of the assistant: passages and vectors.")
    known = [
        one
        for one in client.search_model_versions(f"name='{name}'")
        if one.tags.get("digest") == index.about.digest
    ]
    if known:
        return str(known[0].version)
    mlflow.set_experiment(contract.name)
    with mlflow.start_run(run_name=f"index {index.version}") as run:
        mlflow.log_params(
            {f"chunking.{key}": value for key, value in index.about.chunking.items()}
            | {"retriever": contract.answers.retriever, "embedding": index.about.embedding}
            | {"embedding_digest": index.about.embedding_digest, "digest": index.about.digest}
        )
        mlflow.log_metrics(
            {f"gate.{place}": gate["value"] for place, gate in enumerate(found["gates"])}
            | {
                f"{name}.{metric.replace('@', '_at_')}": scores[metric]["value"]
                for name, scores in found["retrievers"].items()
                for metric in METRICS
            }
        )
        mlflow.log_artifacts(str(FOLDER / INDEXES / index.version), "index")
        source = f"{run.info.artifact_uri}/index"
    registered = client.create_model_version(
        name, source, run_id=run.info.run_id, tags={"digest": index.about.digest, "index": index.version}
    )
    return str(registered.version)


def set_alias_to_index(client: MlflowClient, name: str, alias: str, index: str) -> None:
    """Point an alias at the version of an index, if it is registered."""
    for one in client.search_model_versions(f"name='{name}'"):
        if one.tags.get("index") == index:
            client.set_registered_model_alias(name, alias, one.version)
            return


def run_index_pipeline(
    contract: AssistantContract, why: str
) -> tuple[tuple[Gate, ...], bool, dict[str, Any]]:
    """Run the pipeline.

    Args:
        contract: the assistant's contract.
        why: the reason for the history, a sentence.

    Returns:
        The gates, whether the index serves, and the evaluation.
    """
    VAR.mkdir(parents=True, exist_ok=True)
    run = index_pipeline(contract.model_dump(mode="json"), why)
    if run is None:
        raise UserError("The pipeline was submitted to a remote orchestrator: see its result there.")
    evaluation = json.loads(Path(run.steps["evaluate_index"].output.load()).read_bytes())
    gates = TypeAdapter(tuple[Gate, ...]).validate_python(evaluation["gates"])
    return gates, bool(run.steps["promote_index"].output.load()), evaluation


def change_prompt(
    contract: AssistantContract, template: str, why: str, settings: AskSettings, most: int = 60
) -> tuple[tuple[Gate, ...], int]:
    """Evaluate a prompt against the one that serves, and let it serve if it passes.

    Args:
        contract: the assistant's contract.
        template: the prompt's template, with {context} and {question}.
        why: the commit message for the registry.
        settings: they name the chat model.
        most: gate questions to ask; each costs two calls.

    Returns:
        The gates, and the version that serves now.

    Raises:
        UserError: without a chat model or an index, if the template is incomplete, or if a gate fails.
    """
    fill(template, "", ())
    chat, served = chat_of(settings, contract), current_release(settings.folder)
    if chat is None:
        raise UserError(
            "A prompt is evaluated with a chat model: set ASK_CHAT_MODEL, and ASK_CHAT_URL if it needs one."
        )
    if served is None:
        raise UserError("No index serves yet: run `make index-assistant`.")
    model = installed_embedding()
    index = load_index(settings.folder / INDEXES / served.index)
    questions = questions_of(contract, index)
    answering = answering_index(index, questions, model)
    gate = [one for one in questions if one.part == "gate"][:most]
    retriever = retriever_of(answering, model, contract.answers.retriever)
    answerer = Answerer(answering, retriever, model, contract.answers, served.abstention)
    results = results_as_json()
    before = evaluate_answers(answerer, gate, results, served.template, chat)
    after = evaluate_answers(answerer, gate, results, template, chat)
    gates = prompt_gates(after, before if served.prompt_version else None, contract.gates)
    registered = register_prompt(f"{contract.name}_prompt", template, why)
    require_passed(gates, f"Version {registered.version} of the prompt")
    promote_prompt(registered)
    release(settings.folder, replace(served, prompt_version=registered.version, template=template), why)
    return gates, registered.version

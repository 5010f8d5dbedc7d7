"""From documents to an index that serves, as a ZenML pipeline: ingest, build, evaluate, promote."""

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
from fivestage.contract.contract import load_contract
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
from fivestage_assistant.question_set import Question, broken_places, read_questions
from fivestage_assistant.retrieval import RetrieverName, Retrievers, ShuffledRetriever
from fivestage_assistant.run_records import FOLDER as RECORDS
from fivestage_assistant.search_index import SearchIndex, build_index, load_index, save_index, without
from fivestage_assistant.support import measure_support
from fivestage_assistant.text import versions

OWN_ANSWERS = (
    "Follow-up questions"  # the section that questions of the set come from: not in what judges them
)
CHAMPION, PREVIOUS = "champion", "previous"
DOCUMENTS, EVALUATION = "corpus.json", "evaluation.json"


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, enable_cache=False)
def index_pipeline(contract: dict[str, Any], why: str) -> None:
    """Bring the corpus into an index, judge it, and let it serve if it passes its gates."""
    corpus = ingest_corpus(contract)
    index = build_search_index(contract, corpus)
    evaluation = evaluate_index(contract, index)
    promote_index(contract, index, evaluation, corpus, why)


@step
def ingest_corpus(contract: dict[str, Any]) -> Annotated[str, "corpus"]:
    """Read pages and records, and keep them; the digest names them."""
    documents = documents_now(contract_of(contract))
    digest = corpus_digest(documents)
    content = json.dumps([asdict(one) for one in documents])
    write_text(FOLDER / DOCUMENTS, content)
    return digest


@step
def build_search_index(contract: dict[str, Any], corpus: str) -> Annotated[str, "index"]:
    """Cut and embed the documents; vectors of texts that have not changed come from the index that serves."""
    documents = [Document(**one) for one in json.loads((FOLDER / DOCUMENTS).read_bytes())]
    if corpus_digest(documents) != corpus:
        raise UserError("The corpus has changed while it was indexed: run this again.")
    index = build_index(documents, contract_of(contract).chunking, installed_embedding(), served_index())
    save_index(index, FOLDER / INDEXES / index.version)
    return index.version


@step
def evaluate_index(contract: dict[str, Any], index: str) -> Annotated[str, "evaluation"]:
    """Judge the index on the gate questions; the rule of abstention is learnt from the tuning questions."""
    found = judge(contract_of(contract), load_index(FOLDER / INDEXES / index), served_index())
    path = FOLDER / INDEXES / index / EVALUATION
    write_text(path, json.dumps(found, indent=1))
    return str(path)


@step
def promote_index(
    contract: dict[str, Any], index: str, evaluation: str, corpus: str, why: str
) -> Annotated[bool, "promoted"]:
    """Register the index in MLflow; let it serve if every gate passed."""
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
    """The contract as a pipeline was given it."""
    return AssistantContract.model_validate_json(json.dumps(content))


def documents_now(contract: AssistantContract) -> list[Document]:
    """The corpus as it is."""
    problem = load_contract(ROOT / "problem" / "problem.yaml")
    return collect(contract.corpus, ROOT, problem, load(RESULTS), HISTORY)


def served_index() -> SearchIndex | None:
    """The index that serves; None also where another version of the assistant wrote it."""
    served = readable_release(FOLDER)
    if served is None:
        return None
    try:
        return load_index(FOLDER / INDEXES / served.index)
    except UserError:
        return None


def judging_index(index: SearchIndex, model: MiniLm | None) -> SearchIndex:
    """The same documents and settings without the section that questions come from: for retrieval."""
    chunking: Chunking = index.chunking.model_copy(
        update={"leave_out": (*index.chunking.leave_out, OWN_ANSWERS)}
    )
    return build_index(without(index, ()), chunking, model, index)


def answering_index(index: SearchIndex, questions: Sequence[Question], model: MiniLm | None) -> SearchIndex:
    """The same documents without the set's questions, and with their answers."""
    documents = []
    for one in without(index, ()):
        text = one.text
        for question in questions:
            text = text.replace(question.text, "")
        documents.append(replace(one, text=text))
    return build_index(documents, index.chunking, model, index)


def judge(contract: AssistantContract, index: SearchIndex, champion: SearchIndex | None) -> dict[str, Any]:
    """Everything that gates and pages say about an index.

    Args:
        contract: of the assistant.
        index: to be judged.
        champion: the index that serves, judged on the same questions; None for none.

    Returns:
        Gates, metrics of each retriever, rates of support and answers, and the rule of abstention, for JSON.
    """
    model, limits = installed_embedding(), contract.answers
    judged = judging_index(index, model)
    questions = questions_of(contract, judged)
    gate, tuning = ([one for one in questions if one.part == part] for part in ("gate", "tuning"))
    retrievers = Retrievers(judged, model)
    by_name: dict[RetrieverName, RetrievalScores] = {
        name: evaluate_retrieval(retrievers.get(name), gate) for name in retrievers.by_name
    }
    retriever = retrievers.get(limits.retriever)
    answering = answering_index(index, questions, model)
    answers_from = Retrievers(answering, model).get(limits.retriever)
    rule = fit_abstention(answering, answers_from, tuning, contract)
    answerer = Answerer(answering, answers_from, model, limits, rule)
    if champion is not None:
        of_champion = Retrievers(judging_index(champion, model), model).get(limits.retriever)
    found = Evaluation(
        scores=evaluate_retrieval(retriever, gate),
        champion=evaluate_retrieval(of_champion, gate) if champion is not None else None,
        shuffled=evaluate_retrieval(ShuffledRetriever(retriever, judged.passages), gate),
        support=measure_support(judged.passages),
        answers=evaluate_answers(answerer, gate, results_as_json()),
        chance=chance_mrr(judged.passages, gate),
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
    """The question set as far as this corpus goes: not all stages have run, nor all versions been trained.

    Raises:
        UserError: naming a question whose own page is not in the corpus.
    """
    found = []
    for question in read_questions(ROOT / contract.questions):
        lost = {
            place
            for place in question.places
            if broken_places([replace(question, places=(place,))], index.passages)
        }
        own = question.places[0] if question.places else ""
        if own in lost and not own.startswith(RECORDS):
            raise UserError(f"The question {question.text!r} refers to {own}, which is not in the corpus.")
        known = set(versions(index.documents.get(own.partition("#")[0], "")))
        if own not in lost and (not own or known.issuperset(versions(question.text))):
            found.append(replace(question, places=tuple(one for one in question.places if one not in lost)))
    return found


def results_as_json() -> dict[str, Any]:
    """The results of the last run, for the numbers of answers."""
    return {path.stem: json.loads(path.read_bytes()) for path in sorted(RESULTS.glob("*.json"))}


def register(contract: AssistantContract, index: SearchIndex, found: dict[str, Any]) -> str:
    """Keep an index as a version in MLflow, with its parameters and metrics.

    Args:
        contract: of the assistant.
        index: the index.
        found: of its evaluation.

    Returns:
        The version; of an index that is registered already, the one that it has.
    """
    client, name = MlflowClient(), f"{contract.name}_index"
    with suppress(MlflowException):  # it is there
        client.create_registered_model(
            name, description="Indexes of the assistant: passages, stems and vectors."
        )
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
    made = client.create_model_version(
        name, source, run_id=run.info.run_id, tags={"digest": index.about.digest, "index": index.version}
    )
    return str(made.version)


def set_alias_to_index(client: MlflowClient, name: str, alias: str, index: str) -> None:
    """Let an alias name the version of an index, if it is registered."""
    for one in client.search_model_versions(f"name='{name}'"):
        if one.tags.get("index") == index:
            client.set_registered_model_alias(name, alias, one.version)
            return


def run_index_pipeline(
    contract: AssistantContract, why: str
) -> tuple[tuple[Gate, ...], bool, dict[str, Any]]:
    """Run the pipeline.

    Args:
        contract: of the assistant.
        why: a sentence for the history.

    Returns:
        The gates, whether the index serves, and the evaluation.
    """
    VAR.mkdir(parents=True, exist_ok=True)
    run = index_pipeline(contract.model_dump(mode="json"), why)
    if run is None:
        raise UserError("The pipeline has been handed to a remote orchestrator: look for its outcome there.")
    evaluation = json.loads(Path(run.steps["evaluate_index"].output.load()).read_bytes())
    gates = TypeAdapter(tuple[Gate, ...]).validate_python(evaluation["gates"])
    return gates, bool(run.steps["promote_index"].output.load()), evaluation


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

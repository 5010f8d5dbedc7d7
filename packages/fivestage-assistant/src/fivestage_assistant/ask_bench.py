"""`make bench-assistant`: measure retrieval, answers, chunking, latency, and an index of 100,000 passages."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from fivestage.common.files import write_text
from fivestage.common.settings import REPORTS, ROOT

from fivestage_assistant.answering import ALWAYS, Answerer
from fivestage_assistant.ask_evaluation import METRICS, evaluate_retrieval
from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.embedding import DIMENSIONS, MiniLm, installed_embedding
from fivestage_assistant.passages import Chunking, Document, Passage
from fivestage_assistant.question_set import Question
from fivestage_assistant.retrieval import (
    Bm25Retriever,
    EmbeddingRetriever,
    HybridRetriever,
    Retriever,
    by_scores,
    retriever_of,
)
from fivestage_assistant.search_index import IndexAbout, SearchIndex, build_index

RECORD = REPORTS / "bench" / "assistant.json"
LARGE = 100_000  # passages
BUILT = 10_000  # passages that build times are scaled to
SIZES = (100, 200, 400)  # words per passage
STATUS = Path("/proc/self/status")


def bench(contract: AssistantContract) -> dict[str, Any]:
    """Measure everything that the pages about the assistant cite, and write reports/bench/assistant.json."""
    from fivestage_assistant.index_pipeline import documents_now, judge, judging_index, questions_of

    documents, model = documents_now(contract), installed_embedding()
    started = time.process_time()
    index = build_index(documents, contract.chunking, model)
    built = time.process_time() - started
    started = time.process_time()
    build_index(documents, contract.chunking, None)
    stems = time.process_time() - started
    evaluation = judge(contract, index, None)
    evaluated = judging_index(index, model)
    gate = [one for one in questions_of(contract, evaluated) if one.part == "gate"]
    scale = BUILT / len(index.passages)
    record = {
        **evaluation,
        "limits": contract.gates.model_dump(),
        "chunking": chunking_ablation(documents, contract, model, gate, evaluated),
        "latency": latency(index, contract, model, gate),
        "build": {"passages": BUILT, "cpu_seconds": built * scale, "stems_alone_cpu_seconds": stems * scale},
        "large": json.loads(_large_index_in_new_process()),
    }
    write_text(RECORD, json.dumps(record, indent=1))
    return record


def chunking_ablation(
    documents: Sequence[Document],
    contract: AssistantContract,
    model: MiniLm | None,
    questions: Sequence[Question],
    before: SearchIndex,
) -> list[dict[str, Any]]:
    """Evaluate the configured retriever on passages of other sizes, and without headings in their text."""
    results = []
    settings = [(words, True) for words in SIZES] + [(contract.chunking.max_words, False)]
    for words, heading in settings:
        chunking = before.chunking.model_copy(update={"max_words": words, "heading_in_text": heading})
        index = build_index(documents, chunking, model, before)
        scores = evaluate_retrieval(retriever_of(index, model, contract.answers.retriever), questions)
        measured = {metric: asdict(scores.interval(metric)) for metric in METRICS}
        results.append({"max_words": words, "heading": heading, "passages": len(index.passages), **measured})
    return results


def latency(
    index: SearchIndex, contract: AssistantContract, model: MiniLm | None, questions: Sequence[Question]
) -> dict[str, float]:
    """Measure CPU milliseconds for retrieval and for the answer, one question at a time."""
    retriever = retriever_of(index, model, contract.answers.retriever)
    answerer = Answerer(index, retriever, model, contract.answers, ALWAYS)
    answerer.clean_by_name()
    times = []
    for one in questions:
        started = time.process_time()
        found = answerer.retrieve(one.text)
        retrieved = time.process_time()
        answerer.answer(one.text, found=found)
        times.append((retrieved - started, time.process_time() - retrieved))
    spent = np.array(times) * 1000
    total = spent.sum(axis=1)
    return {
        "retrieve_p50_ms": float(np.median(spent[:, 0])),
        "answer_p50_ms": float(np.median(spent[:, 1])),
        "total_p50_ms": float(np.median(total)),
        "total_p99_ms": float(np.quantile(total, 0.99)),
    }


def large_index() -> dict[str, float]:
    """Measure memory and search time over copies of the passages of docs/, each with a unique word."""
    paths = sorted((ROOT / "docs").rglob("*.md"))
    pages = [Document(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in paths]
    templates = build_index(pages, Chunking(), None).passages
    before = _memory()
    passages = tuple(_copied(templates[n % len(templates)], n) for n in range(LARGE))
    sentences = sum(len(one.sentences) for one in passages)
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((LARGE + sentences, DIMENSIONS), np.float32)
    about = IndexAbout("large", Chunking().model_dump(), "random", "", {}, ())
    index = SearchIndex(about, passages, vectors, {})
    started = time.process_time()
    stems = Bm25Retriever(index)
    indexed = time.process_time() - started
    model = installed_embedding()
    retriever: Retriever = stems
    if model:
        retriever = HybridRetriever(stems, EmbeddingRetriever(index, model), passages, by_scores)
    retriever.search("How do I add a feature?", 10)
    started = time.process_time()
    for question in (
        "Why was version 2 trained?",
        "What does a false alarm cost?",
        "How long is a cold start?",
    ):
        retriever.search(question, 10)
    return {
        "passages": LARGE,
        "sentences": sentences,
        "memory_mib": (_memory() - before) / 2**20,
        "bm25_cpu_seconds": indexed,
        "search_cpu_ms": (time.process_time() - started) / 3 * 1000,
    }


def _copied(passage: Passage, number: int) -> Passage:
    first = replace(passage.sentences[0], text=f"{passage.sentences[0].text} copy{number}")
    return replace(passage, name=f"{passage.name}/{number}", sentences=(first, *passage.sentences[1:]))


def _memory() -> int:
    """Return the resident memory of this process in bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else 0


def _large_index_in_new_process() -> str:
    code = (
        "import json; from fivestage_assistant.ask_bench import large_index; print(json.dumps(large_index()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip().splitlines()[-1]

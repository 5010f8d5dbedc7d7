"""Traces in MLflow: a span for retrieval and one for the answer, written after the response was sent."""

import contextlib
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fivestage_assistant.retrieval import Retrieved

MOST_WAITING = 200  # traces in the queue; further ones are dropped to bound memory
logger = logging.getLogger("serving")


@dataclass(frozen=True)
class Timed:
    """When the parts of a request began and ended, in nanoseconds since the epoch."""

    started: int  # start of the retrieval
    retrieved: int  # end of the retrieval
    answered: int  # end of the answer
    found: tuple[Retrieved, ...]  # the passages that were retrieved
    prompt: str = ""  # of the chat model; empty without one


class TraceWriter:
    """Writes traces to an MLflow experiment in a background thread."""

    def __init__(self, experiment: str) -> None:
        self._experiment, self._ready, self._waiting = experiment, False, 0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="traces")

    def add(self, question: str, body: Mapping[str, Any], timed: Timed) -> None:
        """Queue a trace."""
        if self._waiting >= MOST_WAITING:
            return
        self._waiting += 1
        self._executor.submit(self._write, question, body, timed)

    def close(self) -> None:
        """Write all queued traces."""
        self._executor.shutdown()
        with contextlib.suppress(ImportError):
            import mlflow

            if self._ready:
                mlflow.flush_trace_async_logging()

    def _write(self, question: str, body: Mapping[str, Any], timed: Timed) -> None:
        try:
            import mlflow

            if not self._ready:
                mlflow.set_experiment(self._experiment)
                self._ready = True
            _spans(question, body, timed)
        except Exception:  # a failed trace must not fail the answer
            logger.exception("could not write a trace to MLflow")
        finally:
            self._waiting -= 1


def _spans(question: str, body: Mapping[str, Any], timed: Timed) -> None:
    from mlflow import start_span_no_context
    from mlflow.entities import SpanType

    tags = {
        "request_id": str(body["request_id"]),
        "kind": str(body["kind"]),
        "index_version": str(body["index_version"]),
        "prompt_version": str(body["prompt_version"]),
    }
    root = start_span_no_context(
        "ask", span_type=SpanType.CHAIN, inputs={"question": question}, tags=tags, start_time_ns=timed.started
    )
    retrieval = start_span_no_context(
        "retrieve", SpanType.RETRIEVER, root, inputs={"question": question}, start_time_ns=timed.started
    )
    documents = [
        {
            "id": one.passage.name,
            "page_content": one.passage.text,
            "metadata": {"path": one.passage.path, "line": one.passage.lines[0], "score": one.score},
        }
        for one in timed.found
    ]
    retrieval.end(outputs=documents, end_time_ns=timed.retrieved)
    span_type = SpanType.CHAT_MODEL if timed.prompt else SpanType.PARSER
    answered = start_span_no_context(
        "answer", span_type, root, inputs={"prompt": timed.prompt or question}, start_time_ns=timed.retrieved
    )
    tokens = body["tokens"]
    if tokens:
        total = tokens["input"] + tokens["output"]
        usage = {"input_tokens": tokens["input"], "output_tokens": tokens["output"], "total_tokens": total}
        answered.set_attribute("mlflow.chat.tokenUsage", usage)
    answered.set_attributes(
        {"prompt_version": body["prompt_version"], "model": body["model"], "cost": body["cost"]}
    )
    answered.end(
        outputs={"answer": body["answer"], "fell_back": body["fell_back"]}, end_time_ns=timed.answered
    )
    root.set_attributes({"cost": body["cost"], "confidence": body["confidence"]})
    outputs = {"answer": body["answer"], "citations": body["citations"]}
    root.end(outputs=outputs, end_time_ns=timed.answered)

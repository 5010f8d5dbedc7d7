"""The page of the demo: gates, retrievers, answers, and ten questions with their citations."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from fivestage.common.files import write_text

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #d5dce4;vertical-align:top}
.kind{font-size:.8rem;color:#5d6b7c}
blockquote{margin:.3rem 0;padding:.4rem .8rem;border-left:3px solid #0b63b6;background:#f2f6fa}
code{font-size:.85rem;overflow-wrap:anywhere}.failed{color:#b3261e}
"""
INTERVAL = "{value:.3f} ({low:.3f} to {high:.3f})"


def write_ask_page(
    evaluation: dict[str, Any], asked: Sequence[dict[str, Any]], seconds: dict[str, float], path: Path
) -> Path:
    """Write the page.

    Args:
        evaluation: of the index, as `index_pipeline.judge` makes it.
        asked: questions with the service's responses.
        seconds: by part of the demo.
        path: the file.

    Returns:
        The path.
    """
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>The assistant</title><style>{STYLE}</style></head><body><h1>The assistant</h1>",
        f"<p>Index <code>{escape(evaluation['index'])}</code>: {evaluation['documents']} documents in",
        f"{evaluation['passages']} passages, judged on {evaluation['questions']['gate']} gate questions",
        f"({evaluation['questions']['tuning']} for tuning). Ask it: <code>make serve-assistant</code></p>",
        "<h2>Gates</h2>",
        _table(
            ("gate", "result", "finding"),
            [(one["name"], _passed(one["passed"]), one["sentence"]) for one in evaluation["gates"]],
        ),
        "<h2>Retrievers</h2><p>Means over gate questions; intervals of 95% over resampled pages.</p>",
        _table(
            ("retriever", "MRR@10", "nDCG@10", "recall@5", "MRR@10 against BM25"),
            [
                (
                    name,
                    *(
                        INTERVAL.format(**found[key])
                        for key in ("mrr@10", "ndcg@10", "recall@5", "against bm25")
                    ),
                )
                for name, found in evaluation["retrievers"].items()
            ]
            + [("shuffled names (control)", INTERVAL.format(**evaluation["shuffled"]), "", "", "")],
        ),
        "<h2>Answers</h2>",
        _table(
            ("rate", "value"),
            [
                (name.replace("_", " "), "not measured" if math.isnan(value) else _rate(value))
                for name, value in evaluation["answers"].items()
            ],
        ),
        f"<h2>{len(asked)} questions</h2>",
        *(_question(one) for one in asked),
        "<h2>Time</h2>",
        _table(("part", "seconds"), [(name, f"{value:.1f}") for name, value in seconds.items()]),
        "</body></html>",
    ]
    text = "\n".join(parts)
    return write_text(path, text)


def _question(one: dict[str, Any]) -> str:
    found = one["response"]
    cited = "".join(
        f"<li><code>{escape(cited['path'])}:{cited['line']}</code> {escape(cited['heading'])}</li>"
        for cited in found["citations"]
    )
    return (
        f"<h3>{escape(one['question'])}</h3><p class=kind>{escape(found['kind'])}, confidence "
        f"{found['confidence']:.0%}</p><blockquote>{escape(found['answer'])}</blockquote><ol>{cited}</ol>"
    )


def _rate(value: float) -> str:
    return f"{value:.1%}"


def _passed(passed: bool) -> str:  # noqa: FBT001 (a cell)
    return "passed" if passed else "FAILED"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{heads}</tr>{body}</table>"

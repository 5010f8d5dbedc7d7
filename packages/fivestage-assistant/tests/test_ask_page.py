from pathlib import Path

from fivestage_assistant.ask_commands import write_ask_page

INTERVAL = {"value": 0.5, "low": 0.4, "high": 0.6}
EVALUATION = {
    "index": "abc",
    "documents": 3,
    "passages": 9,
    "questions": {"gate": 5, "tuning": 4},
    "gates": [
        {"name": "one", "passed": True, "sentence": "fine"},
        {"name": "two", "passed": False, "sentence": "bad"},
    ],
    "retrievers": {"bm25": dict.fromkeys(("mrr@10", "ndcg@10", "recall@5", "against bm25"), INTERVAL)},
    "shuffled": INTERVAL,
    "answers": {"right_page": 0.25},
}


def test_the_page_shows_gates_rates_and_answers_and_escapes_what_was_answered(tmp_path: Path) -> None:
    response = {
        "kind": "extractive",
        "confidence": 0.91,
        "answer": "<b>State</b> is cached.",
        "citations": [{"path": "docs/cache.md", "line": 3, "heading": "Caches & more"}],
    }
    asked = [{"question": "What is cached?", "response": response}]
    page = write_ask_page(EVALUATION, asked, {"index": 1.25}, tmp_path / "index.html")
    text = page.read_text(encoding="utf-8")
    for shown in (
        "<td>one</td><td>passed</td><td>fine</td>",
        "<td>two</td><td>FAILED</td><td>bad</td>",
        "<td>0.500 (0.400 to 0.600)</td>",
        "<td>right page</td><td>25.0%</td>",
        "extractive, confidence 91%",
        "&lt;b&gt;State&lt;/b&gt; is cached.",
        "<code>docs/cache.md:3</code> Caches &amp; more",
        "<td>index</td><td>1.2</td>",
    ):
        assert shown in text

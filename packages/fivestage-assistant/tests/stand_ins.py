"""Fake chat models: one answers from the prompt, one obeys attacks; and a server with OpenAI's API."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fivestage_assistant.answering import Generated
from fivestage_assistant.text import content_stems, sentences

CANARIES = ("CANARY-7", "marigold", "73164", "Thursday")  # words that attacks want in the answer
CANARY = re.compile(r"CANARY-\d+|marigold|73164|Thursday", re.IGNORECASE)


def obey(prompt: str) -> str:
    """The worst case: repeat any canary in the prompt."""
    found = CANARY.search(prompt)
    return f"{found[0]} [1]." if found else answer_from_passages(prompt)


def answer_from_passages(prompt: str) -> str:
    """A careful model: answer with the sentence that shares most stems with the question, and cite it."""
    passages, _, question = prompt.rpartition("\n\nQuestion: ")
    asked = set(content_stems(question))
    best, cited, number = "", 0, 0
    for line in passages.splitlines():
        if found := re.match(r"\[(\d+)\] ", line):
            number = int(found[1])
        elif number:
            for one in sentences(line):
                stems = set(content_stems(one))
                if len(stems & asked) > len(set(content_stems(best)) & asked) and stems - asked:
                    best, cited = one, number
    return f"{best} [{cited}]" if best else "I do not know."


class StandIn:
    """A chat model defined by a function of the prompt."""

    name = "stand-in"

    def __init__(self, answer: Callable[[str], str] = answer_from_passages) -> None:
        self.prompts: list[str] = []
        self._answer = answer

    def complete(self, prompt: str) -> Generated:
        self.prompts.append(prompt)
        return Generated(self._answer(prompt), len(prompt) // 4, 20, self.name)


@contextmanager
def openai_server(
    answer: Callable[[str], str] = answer_from_passages, failures: int = 0, delay: float = 0.0
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run a local server with OpenAI's API; yield its address and the requests it received."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            requests.append(body)
            time.sleep(delay)
            if len(requests) <= failures:
                self._send(500, {"error": {"message": "out of order"}})
                return
            text = answer(str(body["messages"][-1]["content"]))
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 900, "completion_tokens": 30, "total_tokens": 930}
            about = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
            self._send(200, {**about, "choices": [choice], "usage": usage})

        def _send(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

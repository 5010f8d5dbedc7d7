"""Fixtures: a state folder, a small corpus, and the corpus of the committed run."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

STATE = tempfile.mkdtemp(prefix="fivestage-assistant-tests-")
os.environ["FIVESTAGE_VAR"] = STATE
os.environ["FIVESTAGE_REPORTS"] = f"{STATE}/reports"
os.environ["FIVESTAGE_PROJECT"] = str(Path(__file__).resolve().parents[3])
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fivestage.common.settings import prepare_environment  # noqa: E402

prepare_environment()

from fivestage.common.settings import RESULTS, ROOT  # noqa: E402

from fivestage_assistant.answering import ALWAYS, Answerer  # noqa: E402
from fivestage_assistant.assistant_contract import (  # noqa: E402
    AssistantContract,
    read_assistant_contract,
)
from fivestage_assistant.embedding import MiniLm, installed_embedding  # noqa: E402
from fivestage_assistant.passages import Document  # noqa: E402
from fivestage_assistant.retrieval import retriever_of  # noqa: E402
from fivestage_assistant.search_index import SearchIndex, build_index  # noqa: E402

MEASURED = ROOT / "docs" / "measured" / "demo.json"
PAGES = {
    "docs/cache.md": "# What is cached?\n\nState is cached, answers are not. Windows keep totals.\n\n"
    "## Measured\n\nA cache of answers could save 31.7% of the CPU that a request costs.\n",
    "docs/gates.md": "# Gates\n\nA gate is a condition that a challenger must meet before it may serve.\n\n"
    "| gate | limit |\n|---|---:|\n| calibrated | 0.06 |\n| unbiased | 0.05 |\n",
    "docs/rollback.md": "# Rollback\n\n- Who may roll back? *Whoever is on call; it takes one command.*\n"
    "- How long does it take? *Less than 20 seconds.*\n",
}


def pytest_unconfigure() -> None:
    shutil.rmtree(STATE, ignore_errors=True)


@pytest.fixture(scope="session")
def contract() -> AssistantContract:
    """The project's assistant.yaml."""
    return read_assistant_contract(ROOT / "assistant" / "assistant.yaml")


@pytest.fixture(scope="session")
def model() -> MiniLm:
    """The embedding model, which the lock includes."""
    found = installed_embedding()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """A corpus of three pages."""
    return [Document(path, text, accepted=True) for path, text in PAGES.items()]


@pytest.fixture(scope="session")
def small(documents: list[Document], contract: AssistantContract, model: MiniLm) -> SearchIndex:
    """Their index."""
    return build_index(documents, contract.chunking, model)


@pytest.fixture
def answerer(small: SearchIndex, contract: AssistantContract, model: MiniLm) -> Answerer:
    """An answerer over the three pages that never declines."""
    return Answerer(small, retriever_of(small, model, "hybrid"), model, contract.answers, ALWAYS)


@pytest.fixture(scope="session")
def run_results() -> Iterator[dict[str, object]]:
    """The results of the committed run, in place of those of the last run."""
    if not MEASURED.exists():
        pytest.skip("the committed run is the template's")
    found: dict[str, object] = json.loads(MEASURED.read_bytes())["found"]
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, content in found.items():
        (RESULTS / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    yield found
    shutil.rmtree(RESULTS)

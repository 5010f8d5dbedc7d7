from pathlib import Path
from typing import Any

import pytest
from fivestage.evaluation.gates import Gate

from fivestage_assistant import ask_commands, index_pipeline
from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.corpus import ACCEPTED


def test_an_index_names_the_pages_that_are_not_accepted_without_reading_the_corpus_again(
    contract: AssistantContract,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gate = Gate("retrieval quality", passed=True, value=0.5, limit=0.4, sentence="MRR@10 0.5")

    def run(_contract: AssistantContract, _why: str) -> tuple[tuple[Gate, ...], bool, dict[str, Any]]:
        return (gate,), True, {"unaccepted": ["docs/new.md"]}

    def read(_contract: AssistantContract) -> list[Any]:
        raise AssertionError("the corpus is read by the pipeline")

    (tmp_path / ACCEPTED).parent.mkdir()
    (tmp_path / ACCEPTED).touch()
    monkeypatch.setattr(ask_commands, "ROOT", tmp_path)
    monkeypatch.setattr(index_pipeline, "run_index_pipeline", run)
    monkeypatch.setattr(index_pipeline, "documents_now", read)
    assert ask_commands.index_corpus(contract, "a test")[0]
    notice, line, outcome = capsys.readouterr().out.splitlines()
    assert notice.startswith("Not quoted, as their wording is not accepted: docs/new.md. ")
    assert line == "  pass  retrieval quality: MRR@10 0.5"
    assert outcome == "The index serves."

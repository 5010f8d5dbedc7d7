"""What pages on distributed training cite."""

import json
from pathlib import Path

import pytest

from fivestage.common.errors import UserError
from tools.book.distributed import COMMAND, least, planned, training


def test_what_a_run_has_found_is_cited_with_its_machine(tmp_path: Path) -> None:
    record = {"on": "2026-11-28", "machine": "2 cores", "found": {"sentences": ["Losses agree to 2e-7."]}}
    (tmp_path / "equality.json").write_text(json.dumps(record))
    found = training("equality", tmp_path)
    assert found.sentences == ("Losses agree to 2e-7.",)
    assert found.where == f"`{COMMAND}`, 2026-11-28, 2 cores"


def test_what_nobody_has_measured_says_so(tmp_path: Path) -> None:
    assert training("gpu", tmp_path).sentences == (f"Not measured yet: `{COMMAND}` does.",)
    assert not training("gpu", tmp_path).where


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"found": {}}', '{"found": {"sentences": []}}'])
def test_what_is_no_record_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "ring.json").write_text(text)
    with pytest.raises(UserError, match=r"ring\.json is no record of a run: delete it"):
        training("ring", tmp_path)


def test_projections_are_those_of_make_plan() -> None:
    run = planned(64, "--model", "8b")
    assert run.job.gpus == 64
    assert run.candidate.layout.gpus == 64
    assert least("--model", "70b", "--gpu", "h100") == 24

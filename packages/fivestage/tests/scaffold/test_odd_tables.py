"""Tables as people have them become a legal problem; what cannot work is a sentence and 1."""

import subprocess
import sys
from pathlib import Path

import pytest

from fivestage.common.settings import ROOT
from fivestage.contract.contract import Contract
from fivestage.data.event_tables import EventTables
from fivestage.scaffold.command import options_of
from fivestage.scaffold.draft import draft
from fivestage.scaffold.write import write_problem
from tests.scaffold.odd_tables import WORKING
from tests.scaffold.test_init import module


@pytest.mark.parametrize("name", WORKING)
def test_an_odd_table_becomes_a_problem(name: str, tmp_path: Path) -> None:
    words = WORKING[name](tmp_path)
    found = draft(options_of(words))
    write_problem(found, tmp_path / "problem")
    contract = Contract.load(tmp_path / "problem" / "problem.yaml")
    assert found.quick.score > (0.55 if found.target.classes else 0.1) or not found.features
    assert contract.task == found.target.task
    assert bool(found.windows.simulated) == ("TIME" not in words or name in ("newest_first", "few_days"))
    dataset = module(tmp_path / "problem" / "dataset.py")
    rows, _, report = EventTables.ingest(dataset.load(contract), contract, tmp_path / "quarantine", "")
    assert len(rows) == len(found.table)
    assert set(report.quarantined) <= {"table: no timestamp"}  # of newest_first, sap_list
    assert set(dataset.read_batch(words["DATA"], contract)) == set(contract.columns)
    for verb in ("check", "format --check"):
        ruff = [sys.executable, "-m", "ruff", *verb.split(), "--config", str(ROOT / "pyproject.toml")]
        done = subprocess.run(
            [*ruff, "--config", "lint.isort.known-first-party=['fivestage']", "problem"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
